"""The work itself: networks, weights, photos, inference; independent of the command line."""
