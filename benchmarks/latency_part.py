"""One part of latency.py in a process of its own: prints a name and a figure on each line."""

import sys

from benchmarks.latency import cold_stat, operations

if __name__ == "__main__":
    _, part, root, large_bytes = sys.argv
    figures = cold_stat(root) if part == "cold_stat" else operations(root, int(large_bytes))
    for name, value in figures.items():
        print(f"{name}\t{value}")
