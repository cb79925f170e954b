"""Inference: run a network over photos of any size on any device."""
