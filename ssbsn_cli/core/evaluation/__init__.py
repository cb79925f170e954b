"""Scores against clean photographs, and submissions to benchmarks that keep theirs secret."""
