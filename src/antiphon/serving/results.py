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
    """The maps of an object of `POST /v1/attention`; null, for a head without weights, becomes NaN."""
    import torch

    from antiphon.generation.attention.maps import AttentionMaps

    sources, targets = len(found["source_tokens"]), len(found["target_tokens"])
    shapes = {"cross": (targets, sources), "encoder": (sources, sources), "decoder": (targets, targets)}

    def tensor(role: str) -> Tensor | None:
        """The weights of a role (L,H,Q,K)."""
        if found[role] is None:
            return None
        missing = torch.full(shapes[role], torch.nan)
        heads = [[missing if head is None else torch.tensor(head) for head in layer] for layer in found[role]]
        return torch.stack([torch.stack(layer) for layer in heads])

    return AttentionMaps(
        cross=tensor("cross"),
        encoder=tensor("encoder"),
        decoder=tensor("decoder"),
        source_tokens=list(found["source_tokens"]),
        target_tokens=list(found["target_tokens"]),
        source_special=list(found["source_special"]),
        target_special=list(found["target_special"]),
        start=found["start"],
    )
