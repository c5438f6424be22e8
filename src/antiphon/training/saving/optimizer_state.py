"""The state of an optimizer by the names of the parameters, so that it can be loaded in another order and sharding.

    tensors, plain = split_optimizer(optimizer, network)     # {"encoder.layers.0.….weight.exp_avg": …}, JSON values
    join_optimizer(optimizer, network, tensors, plain)

A parameter that several modules share has one state, under its first name. Snapshots of before have the number of the
parameter in the optimizer instead of its name; they are read too.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.errors import ModelError


class OptimizerNames:
    """The parameters of an optimizer by number, as in its `state_dict`, and by name."""

    def __init__(self, optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        self.parameters: list[Tensor] = [each for group in optimizer.param_groups for each in group["params"]]
        # A parameter that an optimizer made for itself has no name in the network.
        self.names = [names.get(id(each), f"#{number}") for number, each in enumerate(self.parameters)]
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def number(self, stored: str | int) -> int:
        """The number of the parameter with a name, or with the number of an older snapshot. ModelError if unknown."""
        by_number = isinstance(stored, int) or (stored.isdigit() and stored not in self._numbers)
        number = int(stored) if by_number else self._numbers.get(str(stored), -1)
        if not 0 <= number < len(self.names):
            raise ModelError(
                f"the snapshot has the optimizer state of `{stored}`, which this run does not train. Continue with the "
                "recipe of the run, or start a new run."
            )
        return number

    def split(self, stored: str) -> tuple[int, str]:
        """The number of the parameter and the key of a saved tensor."""
        name, _, key = stored.rpartition(".")
        return self.number(name), key


def split_optimizer(optimizer: torch.optim.Optimizer, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors, named `parameter.key`, and the rest as JSON values.

    ModelError for a state that is neither.
    """
    names = OptimizerNames(optimizer, network).names
    content = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for number, entries in content["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{names[number]}.{key}"] = value
            else:
                values.setdefault(names[number], {})[key] = _json_value(value, key)
    groups = [{**group, "params": [names[number] for number in group["params"]]} for group in content["param_groups"]]
    return tensors, {"values": values, "groups": groups}


def join_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, tensors: dict[str, Tensor], plain: dict[str, Any]
) -> None:
    """The inverse of `split_optimizer`. Each parameter gets the settings of the saved group that holds it."""
    known = OptimizerNames(optimizer, network)
    state: dict[int, dict[str, Any]] = {known.number(name): dict(entries) for name, entries in plain["values"].items()}
    for name, tensor in tensors.items():
        number, key = known.split(name)
        state.setdefault(number, {})[key] = tensor
    saved = {known.number(name): group for group in plain["groups"] for name in group["params"]}
    groups = []
    for group in optimizer.state_dict()["param_groups"]:
        numbers = group["params"]
        missing = [known.names[number] for number in numbers if number not in saved]
        if missing:
            raise ModelError(
                f"the snapshot lacks the optimizer's settings for `{missing[0]}`, which this run trains. Continue with "
                "the recipe of the run, or start a new run."
            )
        groups.append({**saved[numbers[0]], "params": numbers})
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _json_value(value: Any, key: str) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise ModelError(
            f"the state `{key}` of the optimizer must be a tensor or a JSON value, but is a {type(value).__name__}. "
            "Take an optimizer whose state can be saved."
        ) from None
    return value
