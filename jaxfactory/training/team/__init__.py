"""What training with several processes and devices adds to training with one."""
