"""What people read: tables, progress and figures, from records alone; nothing here measures."""
