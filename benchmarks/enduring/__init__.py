"""The measurements of benchmarks/reliability.py: soak, kills, chaos."""
