"""How one decoding step is run fast: the network's own code, kernels that replay a recorded step, or a CUDA graph."""
