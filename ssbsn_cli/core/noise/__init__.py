"""Noise: finding it in photographs, making every kind of it, giving detail back."""
