"""Map files: where they are found, what is in them, and which one a run used."""
