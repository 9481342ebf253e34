"""What every other package may use: errors, paths, signals, readers of plain files."""
