"""What a run saves, how it is read back, and exports for other tools."""
