"""Measures cowfs beside the file systems it competes with. `make bench` runs it; nothing here is installed."""
