"""Kernels in C for one step of decoding on a CPU, compiled on first use, and Python functions that call them."""
