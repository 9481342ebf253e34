"""Proximal policy optimization: advantages, targets, losses, optimizer, update."""
