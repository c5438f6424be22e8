"""The process in COMET's environment: reads a request as JSON from standard input, writes the answer to standard
output.

{"check": true} checks that the package is installed; {"model", "batch_size", "items": [[source, answer, reference]]}
requests a score for each item. Only the standard library and `comet` may be imported, and the syntax must be Python
3.8's: this package is not installed in that environment.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request."""
    there = find_spec("comet") is not None
    return {"there": there} if "check" in request else scored(request)


def scored(request: dict[str, Any]) -> dict[str, Any]:
    """One score for each item, and the version of the package."""
    from importlib.metadata import version

    import torch
    from comet import download_model, load_from_checkpoint  # pyright: ignore[reportMissingImports]

    name = request["model"]
    model = load_from_checkpoint(name if os.path.exists(name) else download_model(name))
    data = [{"src": source, "mt": translation, "ref": reference} for source, translation, reference in request["items"]]
    gpus = 1 if torch.cuda.is_available() else 0
    found = model.predict(data, batch_size=request["batch_size"], gpus=gpus)
    return {"scores": [float(score) for score in found.scores], "version": version("unbabel-comet")}


def main() -> None:
    """Answer the request on standard input."""
    # Python puts the folder of this file first in sys.path, where `comet` is another module.
    del sys.path[0]
    # Output of libraries must not mix with the answer, so their standard output is redirected to standard error.
    channel = os.dup(1)
    os.dup2(2, 1)
    result = answer(json.loads(sys.stdin.buffer.read()))
    with os.fdopen(channel, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


if __name__ == "__main__":
    main()
