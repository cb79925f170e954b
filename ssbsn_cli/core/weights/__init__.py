"""Weights: where they come from, how they are checked, loaded and saved."""
