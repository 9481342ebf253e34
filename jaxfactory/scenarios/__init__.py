"""Doom's scenarios: the built-in table, .cfg files, rewards, action heads, matches."""
