"""Benchmarks: scripts, not tests. Each prints a ratio against what it measured in the same run, and writes a JSON."""
