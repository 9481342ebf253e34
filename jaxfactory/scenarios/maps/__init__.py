"""Map files: finding them, reading them, and recording which one a run used."""
