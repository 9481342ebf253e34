"""The workers of update.py."""
