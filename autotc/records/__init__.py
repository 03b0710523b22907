"""What measurements return: plain records, below the rooms that measure and the reports that show them."""
