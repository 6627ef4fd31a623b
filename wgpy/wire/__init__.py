"""Bytes: formats to values and back; no state."""
