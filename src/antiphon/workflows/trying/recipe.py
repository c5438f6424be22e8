"""A recipe tried on this machine, or planned without a trial if its network is too large for it.

tokens, costs, planned, problem = try_recipe(config, task, found, device, extra)
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from antiphon.config import ModelConfig, TokenizerConfig, TrainConfig
from antiphon.data import Batches, Pair
from antiphon.errors import AntiphonError, argument, memory_ran_out
from antiphon.inspection.estimate import Estimate, estimated
from antiphon.inspection.planning import planned_run
from antiphon.inspection.scaling.memory import least_bytes
from antiphon.inspection.scaling.plan import PlannedRun
from antiphon.inspection.scaling.shape import NetworkShape, network_shape
from antiphon.inspection.survey import Survey
from antiphon.inspection.tokens import TokenReport, count_tokens
from antiphon.models.build import build_network
from antiphon.models.footprint import available_bytes
from antiphon.settings import SettingError
from antiphon.text import Task
from antiphon.workflows.run_data import RunData
from antiphon.workflows.tokenizers import build_tokenizers
from antiphon.workflows.trying.sample import on_sample
from antiphon.workflows.trying.trial import epoch_of, try_run

WHOLE_PAIRS = 40_000  # up to so many pairs the trial has all of the data; else a sample of that size


def is_sampled(found: Survey) -> bool:
    """Whether the recipe is tried on a sample of its training pairs."""
    return found.kept > WHOLE_PAIRS


Tried = tuple[TokenReport | None, Estimate | None, PlannedRun | None, str]


def try_recipe(config: TrainConfig, task: Task, found: Survey, device: torch.device, extra: int) -> Tried:
    """The tokens, the costs and the run to plan; or why it could not be tried."""
    pairs = found.pairs
    if not pairs:
        return None, None, None, "the data must hold at least one pair to learn from, but holds none"
    with tempfile.TemporaryDirectory(prefix="antiphon-inspect-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unreadable rows are a finding
        whole = not is_sampled(found)
        tried = config if whole else on_sample(config, task, found, Path(folder))
        # What is too long is a finding; the trial goes on without it.
        overflow = "skip" if config.data.overflow == "error" else config.data.overflow
        tried = replace(tried, data=replace(tried.data, overflow=overflow, bad_rows="skip"))
        scale = 1.0 if whole else found.kept / len(pairs)
        try:
            if problem := _too_large(config, device):
                return _untried(config, tried, task, pairs, scale, problem)
            trial = try_run(tried, device=device, base_bytes=extra)
        except SettingError:
            raise
        except (AntiphonError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not isinstance(error, AntiphonError) and not memory_ran_out(error):
                raise
            return None, None, None, str(error) or type(error).__name__
    measured = trial.measured
    windows = config.data.overflow == "window"
    known: dict[str, Any] = {"max_length": measured.max_length, "windows": windows, "kind": trial.kind}
    tokens = count_tokens(pairs, trial.tokenizers, **known)
    costs = estimated(config, measured, pairs=round(measured.pairs * scale), start_scale=scale)
    if trial.kind is not None:  # the arithmetic of a plan is that of texts
        return tokens, costs, None, ""
    return tokens, costs, planned_run(config, trial.shape, trial.epoch, scale=scale, teacher=trial.teacher), ""


def _too_large(config: TrainConfig, device: torch.device) -> str:
    """Why the run cannot be tried on this machine: a new network that does not fit into its memory; else ""."""
    if not isinstance(config.model, ModelConfig) or not isinstance(config.tokenizer, TokenizerConfig):
        return ""
    training = config.training
    shape = _shape(config, *(config.tokenizer.of(side).vocab_size for side in ("source", "target")))
    needed = least_bytes(shape, training.optimizer_name, training.optimizer_settings, copies=int(training.ema > 0))
    there = available_bytes(device)
    if there is None or needed <= there:
        return ""
    return (
        f"the run must fit the memory of this machine, of which {there / 1e9:.1f} GB are available, but its weights, "
        f"gradients and optimizer take {needed / 1e9:.1f} GB"
    )


def _shape(config: TrainConfig, source_vocab: int, target_vocab: int) -> NetworkShape:
    """The sizes of a new network of the recipe, for which no memory is allocated."""
    assert isinstance(config.model, ModelConfig) and isinstance(config.tokenizer, TokenizerConfig)
    with torch.device("meta"):
        network = build_network(
            config.model,
            config.attention,
            source_vocab=source_vocab,
            target_vocab=target_vocab,
            shared=config.tokenizer.shared,
            folder=Path(config.folder) if config.folder else None,
            warn=False,
        )
    return network_shape(network)


def _untried(
    config: TrainConfig, tried: TrainConfig, task: Task, pairs: Sequence[Pair], scale: float, problem: str
) -> Tried:
    """The tokens, and the run to plan, of a network that is too large for this machine."""
    assert isinstance(config.model, ModelConfig)
    tokenizers = build_tokenizers(tried, task)
    training = config.training
    data = RunData(tried, task)
    corpus = data.load(tokenizers, initial=None)
    kind = None if data.media is None else data.media["train"].kind
    max_length, windows = config.data.max_length or config.model.max_length, config.data.overflow == "window"
    tokens = count_tokens(pairs, tokenizers, max_length=max_length, windows=windows, kind=kind)
    if kind is not None:
        return tokens, None, None, f"{problem}. Train it elsewhere"
    epoch = epoch_of(Batches(corpus, batch_tokens=training.batch_tokens, seed=training.seed))
    shape = _shape(config, *(tokenizer.vocab_size for tokenizer in tokenizers))
    remedy = f"Train it elsewhere: {argument('world', flag='--world')} plans it on other devices"
    return tokens, None, planned_run(config, shape, epoch, scale=scale), f"{problem}. {remedy}"
