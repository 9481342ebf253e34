"""Pools of environments, one folder for each family, and standard interfaces."""
