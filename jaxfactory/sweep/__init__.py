"""Many runs from one file, here or as a Slurm job array."""
