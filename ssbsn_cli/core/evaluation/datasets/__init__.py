"""What evaluations run on: the benchmarks, and photographs of one's own."""
