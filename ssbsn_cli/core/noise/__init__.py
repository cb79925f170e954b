"""Noise: finding it in photos, making every kind of it, giving detail back."""
