"""Trained agents: their scores, their videos, and acting with them."""
