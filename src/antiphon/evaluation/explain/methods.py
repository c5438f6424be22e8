"""The methods of explanations by name, each with what its numbers are and what it cannot say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.evaluation.explain.deletion import leave_one_out
from antiphon.evaluation.explain.gradients import Completeness, input_x_gradient, integrated_gradients
from antiphon.evaluation.explain.pair import ExplainedPair
from antiphon.evaluation.explain.rollout import attention_rollout
from antiphon.registry import nearest

Result = tuple[Tensor, Completeness | None]


@dataclass(frozen=True)
class Method:
    """A method: its `title`, the `unit` of its numbers, its `source` in the literature, its `caveat`, and the function
    that computes the attributions (U, S) of a pair."""

    title: str
    unit: str
    source: str
    caveat: str
    compute: Callable[[ExplainedPair], Result]
    signed: bool = True  # whether a number below zero lowers the probability


METHODS = {
    "integrated-gradients": Method(
        "integrated gradients",
        "nats of log-probability",
        "Sundararajan et al. 2017",
        "The attributions depend on the baseline, which has the vector of the unknown token in place of each token. "
        "They are of the source alone; what the words of the answer before a word contribute is not in them.",
        integrated_gradients,
    ),
    "input-x-gradient": Method(
        "input x gradient",
        "nats of log-probability",
        "Shrikumar et al. 2017",
        "A first-order estimate at the source. Where the probability is near 1 the gradient is near 0 although the "
        "token matters, and the attributions do not add up to anything.",
        lambda pair: (input_x_gradient(pair), None),
    ),
    "rollout": Method(
        "attention rollout",
        "share of the attention",
        "Abnar and Zuidema 2020",
        "Attention says where vectors were read from, not what the answer depends on. Values, feed-forward layers and "
        "signs are ignored, and each residual connection counts one half.",
        lambda pair: (attention_rollout(pair), None),
        signed=False,
    ),
    "leave-one-out": Method(
        "leave-one-out",
        "nats of log-probability",
        "Li et al. 2016",
        "A source with a missing token may be unlike any training text. Tokens that say the same hide each other: "
        "deleting one of them changes nothing.",
        lambda pair: (leave_one_out(pair), None),
    ),
}


def method_of(name: str) -> Method:
    """The method of this name; ConfigError, with the nearest one, if there is none."""
    if name not in METHODS:
        known = ", ".join(METHODS)
        raise ConfigError(f"`method` must be one of {known}, but is `{name}`{nearest(str(name), list(METHODS)) or '.'}")
    return METHODS[name]
