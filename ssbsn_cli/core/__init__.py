"""The work itself: networks, weights, photographs, inference; independent of the command line."""
