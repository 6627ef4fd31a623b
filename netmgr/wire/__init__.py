"""The bytes: messages, signed objects, files and the local API; no state."""
