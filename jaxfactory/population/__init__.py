"""Several policies in one run: rows, rollouts, settings, and their selection."""
