"""A mesh of WireGuard nodes from one file: every node finds and reaches every other."""
