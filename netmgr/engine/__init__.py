"""The rules: no clock, entropy, socket, file, thread or log."""
