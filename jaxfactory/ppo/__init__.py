"""Proximal policy optimisation: advantages, targets, losses, optimizer, update."""
