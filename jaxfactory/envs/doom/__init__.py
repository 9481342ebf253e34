"""Doom: the C++ pool and what its engines are started with."""
