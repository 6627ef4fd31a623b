"""Batch kernels: what a burst of packets needs done, many packets a call."""
