"""Settings: defaults, bounds, presets and flags, and the run that records them."""
