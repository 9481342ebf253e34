"""The contenders of fps.py, and how they are measured."""
