"""Utilities that every package may use: errors, paths, signals, safe readers."""
