"""Importing agents and experiments of Sample Factory 2."""
