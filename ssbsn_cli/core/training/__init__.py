"""Training: configurations, runs, the loop, and adapting."""
