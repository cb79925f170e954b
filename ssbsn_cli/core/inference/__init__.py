"""Inference: run a network over photographs of any size on any device."""
