"""Fast decoding: steps are run by the network's own code, by kernels that replay a recording, or as a CUDA graph."""

from __future__ import annotations

from antiphon.runtime.lowerings import install

install()
