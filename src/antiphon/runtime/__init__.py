"""How one decoding step is run fast: the network's own code, kernels that replay a recorded step, or a CUDA graph."""

from __future__ import annotations

from antiphon.runtime.lowerings import install

install()
