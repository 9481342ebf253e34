"""Settings of runs with several agents: opponents from the past, and populations."""
