"""Environments from Gymnasium's registry, behind the pool's interface."""
