"""The work itself: networks, weights, photographs, inference. Knows nothing of the command line."""
