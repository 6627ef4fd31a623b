"""A userspace WireGuard node in Python."""
