"""Training on several devices, and in several processes on one or more machines."""
