"""Batch work on whole bursts: offload headers, segmentation, coalescing.

Pure functions of bytes, with numpy where a burst is treated as a matrix of packets.
"""
