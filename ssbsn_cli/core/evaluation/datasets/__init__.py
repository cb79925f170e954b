"""The data sets of evaluations: benchmarks, and one's own photos."""
