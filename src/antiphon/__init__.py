"""Antiphon: a toolkit for encoder-decoder Transformers, from pairs of texts to a model that answers.

    import antiphon
    run = antiphon.train("recipe.yaml")
    model = antiphon.load("runs/demo")
    model.generate("in 3 hours")[0].text

The names below are the public ones. Each is imported when it is first used (PEP 562), so that `import antiphon` costs
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {  # public name -> the module that defines it
    "load": "antiphon.generation.load",
    "Model": "antiphon.generation.model",
    "Generation": "antiphon.generation.answers",
    "Client": "antiphon.serving.client",
    "train": "antiphon.workflows",
    "batches": "antiphon.workflows.batches",
    "inspect": "antiphon.workflows.inspect",
    "TrainConfig": "antiphon.config",
    "evaluate": "antiphon.evaluation.evaluate",
    "compare": "antiphon.evaluation.comparing",
    "explain": "antiphon.evaluation.explain.explain",
    "rerank": "antiphon.evaluation.reranking.rerank",
    "report": "antiphon.reports.run_report",
    "sweep": "antiphon.sweeps.run_sweep",
    "register": "antiphon.registry",
    "from_torch": "antiphon.models.by_hand.from_torch",
    "check_attention": "antiphon.conformance",
    "AntiphonError": "antiphon.errors",
    "UsageError": "antiphon.errors",
    "ConfigError": "antiphon.errors",
    "DataError": "antiphon.errors",
    "ModelError": "antiphon.errors",
    "WorkError": "antiphon.errors",
    "NonFiniteError": "antiphon.errors",
    "DiskError": "antiphon.errors",
    "AttentionError": "antiphon.errors",
}

if TYPE_CHECKING:
    from antiphon.config import TrainConfig
    from antiphon.conformance import check_attention
    from antiphon.errors import (
        AntiphonError,
        AttentionError,
        ConfigError,
        DataError,
        DiskError,
        ModelError,
        NonFiniteError,
        UsageError,
        WorkError,
    )
    from antiphon.evaluation.comparing import compare
    from antiphon.evaluation.evaluate import evaluate
    from antiphon.evaluation.explain.explain import explain
    from antiphon.evaluation.reranking.rerank import rerank
    from antiphon.generation.answers import Generation
    from antiphon.generation.load import load
    from antiphon.generation.model import Model
    from antiphon.models.by_hand.from_torch import from_torch
    from antiphon.registry import register
    from antiphon.reports.run_report import report
    from antiphon.serving.client import Client
    from antiphon.sweeps.run_sweep import sweep
    from antiphon.workflows import train
    from antiphon.workflows.batches import batches
    from antiphon.workflows.inspect import inspect

__all__ = [
    "__version__",
    "load",
    "Model",
    "Generation",
    "Client",
    "train",
    "batches",
    "inspect",
    "TrainConfig",
    "evaluate",
    "compare",
    "explain",
    "rerank",
    "report",
    "sweep",
    "register",
    "from_torch",
    "check_attention",
    "AntiphonError",
    "UsageError",
    "ConfigError",
    "DataError",
    "ModelError",
    "WorkError",
    "NonFiniteError",
    "DiskError",
    "AttentionError",
]


def __getattr__(name: str) -> Any:
    if name == "ray":  # a part of its own, with an extra of its own
        return importlib.import_module("antiphon.ray")
    if name not in _HOME:
        from antiphon.synonyms import PUBLIC

        hint = f", a name of another library: {PUBLIC[name]}." if name in PUBLIC else ""
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}{hint}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
