"""Controls: what every published method must beat."""
