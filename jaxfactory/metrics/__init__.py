"""Episode statistics and timers, and the writers that metrics go to."""
