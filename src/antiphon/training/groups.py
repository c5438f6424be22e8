"""Parameter groups for an optimizer: learning rate, weight decay and freezing by name pattern and by layer.

    groups = parameter_groups(network, settings)    # [{"params": [...], "lr_scale": 1.0, "weight_decay": 0.01, ...}]

By default weight decay applies to the weights of linear layers, not to biases, norms and embeddings. Frozen parameters
are in no group and get no gradient. Layer-wise rates: Howard and Ruder 2018 (ULMFiT), section 3.1; as powers of one
factor, Clark et al. 2020 (ELECTRA), appendix.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from antiphon.config import GroupConfig, TrainingConfig
from antiphon.settings import SettingError

_LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.")
_LOWEST = re.compile(r"(source|target|encoder|decoder)\.")


def parameter_groups(network: nn.Module, settings: TrainingConfig) -> list[dict[str, Any]]:
    """The groups of the trainable parameters; the others of `network` are frozen.

    SettingError for a pattern that matches no parameter, and if every parameter is frozen.
    """
    named = dict(network.named_parameters())
    linear = {id(module.weight) for module in network.modules() if isinstance(module, nn.Linear)}
    _check(settings.groups, named)
    depths = _depths(named)
    made: dict[tuple[bool, float, float], dict[str, Any]] = {}
    # Linear weights first, so that groups with weight decay come before those without.
    for name, parameter in sorted(named.items(), key=lambda item: id(item[1]) not in linear):
        rule = next((rule for rule in settings.groups if fnmatchcase(name, rule.match)), GroupConfig("*"))
        if rule.freeze:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:  # also true for the base weights below an adapter
            continue
        is_linear = id(parameter) in linear
        usual = settings.weight_decay if is_linear else 0.0
        decay = usual if rule.weight_decay is None else rule.weight_decay
        scale = rule.lr_scale * settings.layer_decay ** _distance(name, depths)
        group = {"params": [], "lr_scale": scale, "weight_decay": decay, "linear": is_linear}
        made.setdefault((is_linear, scale, decay), group)["params"].append(parameter)
    if not made:
        raise SettingError(
            ("training", "groups"), "freezes every parameter, so that nothing learns", remedy="Freeze fewer."
        )
    return list(made.values())


def _depths(names: Iterable[str]) -> dict[str, int]:
    """The number of layers of each stack."""
    found = [match for match in map(_LAYER.match, names) if match]
    return {
        stack: max((int(match[2]) + 1 for match in found if match[1] == stack), default=0)
        for stack in ("encoder", "decoder")
    }


def _distance(name: str, depths: dict[str, int]) -> int:
    """The number of layers above a parameter: 0 for a stack's top layer, what follows it, and the output projection.

    Embeddings lie below the deeper of the two stacks. A score rule that the layers of a stack share counts as part of
    the lowest layer.
    """
    if layer := _LAYER.match(name):
        return depths[layer[1]] - 1 - int(layer[2])
    below = _LOWEST.match(name)
    if below is None or ".final." in f".{name}" or name.startswith("encoder.project."):
        return 0
    if below[1] in ("source", "target"):
        return max(depths.values())
    return max(0, depths[below[1]] - 1)


def _check(rules: Iterable[GroupConfig], named: Iterable[str]) -> None:
    names = list(named)
    for number, rule in enumerate(rules):
        if any(fnmatchcase(name, rule.match) for name in names):
            continue
        # Suggest full names, and prefixes of names that end at a dot.
        known = names + sorted({name[:end] for name in names for end in _dots(name)})
        bare = rule.match.strip("*").replace("*", "").rstrip(".")
        close = difflib.get_close_matches(bare, known, n=3, cutoff=0.3) or names[:3]
        raise SettingError(
            ("training", "groups", str(number), "match"),
            f"must match the name of a parameter, but `{rule.match}` matches none",
            remedy=f"The nearest are {', '.join(close)}.",
        )


def _dots(name: str) -> list[int]:
    return [place for place, letter in enumerate(name) if letter == "."]
