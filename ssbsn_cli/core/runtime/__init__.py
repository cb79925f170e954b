"""What the machine offers: devices, threads, files; and what PyTorch does not promise."""
