"""Scores against clean photos, and submissions to benchmarks that keep theirs secret."""
