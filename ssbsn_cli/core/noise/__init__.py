"""Noise: finding it in photos, and parts without it; making all kinds of it; giving detail back."""
