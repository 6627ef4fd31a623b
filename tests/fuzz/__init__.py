"""Fuzzing: any bytes give a value or the one documented error; see `targets`."""
