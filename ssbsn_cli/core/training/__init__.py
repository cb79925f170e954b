"""Training: runs, what they log, and what is shown of them."""
