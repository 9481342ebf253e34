"""What this process may use of the machine: its limits and those of containers."""
