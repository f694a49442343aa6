"""Buffers that share memory instead of copying it: `__array_interface__` on the host, CUDA's on a GPU."""
