"""Results of the server, from JSON to the objects that a local model returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from antiphon.generation.answers import Generation

if TYPE_CHECKING:
    from torch import Tensor

    from antiphon.generation.attention.maps import AttentionMaps


def generation_of(found: Mapping[str, Any]) -> Generation:
    """The answer of an object of `antiphon generate --json`, with or without `alternatives`."""
    return Generation(
        text=found["text"],
        tokens=list(found["tokens"]),
        score=found["score"],
        confidence=found["confidence"],
        finished=found["finished"],
        alternatives=[generation_of(each) for each in found.get("alternatives", ())],
        probabilities=found.get("probabilities"),
    )


def maps_of(found: Mapping[str, Any]) -> AttentionMaps:
    """The maps of an object of `POST /v1/attention`; null, for a layer without weights, becomes NaN."""
    from antiphon.generation.attention.maps import AttentionMaps

    return AttentionMaps(
        cross=_tensor(found["cross"]),
        encoder=_tensor(found["encoder"]),
        decoder=_tensor(found["decoder"]),
        source_tokens=list(found["source_tokens"]),
        target_tokens=list(found["target_tokens"]),
        source_special=list(found["source_special"]),
        target_special=list(found["target_special"]),
        start=found["start"],
    )


def _tensor(weights: list[Any] | None) -> Tensor | None:
    import torch

    return None if weights is None else torch.tensor(_with_nan(weights), dtype=torch.float32)


def _with_nan(weights: Any) -> Any:
    if isinstance(weights, list):
        return [_with_nan(each) for each in weights]
    return float("nan") if weights is None else weights
