"""Kernels of our own for inference on a CPU, and the recording of a step that runs them without Python between them.

Nothing here is needed for a right answer: where there is no compiler, PyTorch computes the same. `compiler` builds the
kernels, `kernels` calls them, `record` and `program` write a step down and run it again.
"""
