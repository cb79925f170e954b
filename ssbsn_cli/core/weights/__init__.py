"""Weights: find, fetch, check, load and save them."""
