"""The machine: devices, threads, files; and private operations of PyTorch."""
