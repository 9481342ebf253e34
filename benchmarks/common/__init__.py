"""What several benchmarks share: the machine, results, processes, training runs."""
