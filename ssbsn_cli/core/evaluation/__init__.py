"""Scores against clean photographs, and files for the benchmarks that keep theirs secret."""
