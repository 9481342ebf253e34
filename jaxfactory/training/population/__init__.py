"""Training several policies in one run."""
