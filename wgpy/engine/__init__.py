"""Rules: what should happen. No clock, entropy, socket, file, thread or log."""
