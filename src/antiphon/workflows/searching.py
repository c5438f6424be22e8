"""How a validation searches for answers: the recipe's `generation`, with what `validation` and `data` change of it.

    search = validation_search(parts, pairs, config)
    model.generate([source for source, _ in search.pairs], **search.settings)

`validation.beam_size` is the beam. Groups need a beam that they divide: they are left out where it is smaller than
their number, so that greedy validation goes with a grouped search. Long sources are read as `generation.overflow` says;
where that is `error`, as training reads them (`data.overflow`), so that loss and answers are of one task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from antiphon.config import TrainConfig
from antiphon.errors import ConfigError, DataError
from antiphon.generation.dry_run import try_search
from antiphon.generation.model import Model
from antiphon.inputs.limits import source_limit
from antiphon.models.folders.checkpoint import Parts
from antiphon.settings import SettingError

Pairs = Sequence[tuple[str, Sequence[str]]]  # sources, each with its references


@dataclass(frozen=True)
class ValidationSearch:
    """The pairs that are answered, the settings of `generate`, and what a run says about them."""

    pairs: Pairs
    settings: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def validation_search(parts: Parts, pairs: Pairs, config: TrainConfig) -> ValidationSearch:
    """The search of a run's validations. SettingError where the first validation could not search by it."""
    beam, groups = config.validation.beam_size, config.generation.beam_groups
    settings: dict[str, object] = {"beam_size": beam, "n_best": 1}
    notes: list[str] = []
    if beam < groups:
        settings |= {"beam_groups": 1, "diversity_penalty": 0.0}
        notes.append(
            f"validation searches without groups, since `validation.beam_size` is {beam} and "
            f"`generation.beam_groups` is {groups}"
        )
    elif beam % groups:
        problem = f"must be a multiple of `generation.beam_groups` ({groups}), or smaller than it, but is {beam}"
        raise SettingError(("validation", "beam_size"), problem)
    if config.generation.overflow == "error" and config.data.overflow != "error":
        pairs = _fit_to_data(parts, pairs, config, settings, notes)
    asked = pairs if config.validation.metrics else pairs[: config.validation.samples]
    if asked:
        _try(parts, asked, settings)
    return ValidationSearch(pairs, settings, tuple(notes))


def _fit_to_data(
    parts: Parts, pairs: Pairs, config: TrainConfig, settings: dict[str, object], notes: list[str]
) -> Pairs:
    """The pairs that are answered where long sources are treated as in training; notes it where there are any."""
    how, limit = config.data.overflow, source_limit(parts.network, parts.generation)
    encoded = Model.from_parts(parts).source_tokenizer.encode_batch([source for source, _ in pairs])
    kept = [pair for pair, ids in zip(pairs, encoded, strict=True) if len(ids) <= limit]
    long = len(pairs) - len(kept)
    if long and how == "skip":
        what = f"{long:,} of {len(pairs):,} validation sources are longer than {limit} tokens and are left out"
        notes.append(f"{what}, as `data.overflow: skip` says")
        return kept
    if how != "skip":
        settings["overflow"] = how
        if long:
            what = f"{long:,} of {len(pairs):,} validation sources are longer than {limit} tokens and are read"
            notes.append(f"{what} by `data.overflow: {how}`, since `generation.overflow` is error")
    return pairs


def _try(parts: Parts, pairs: Pairs, settings: dict[str, object]) -> None:
    try:
        try_search(Model.from_parts(parts), [source for source, _ in pairs], **settings)
    except (ConfigError, DataError) as error:
        problem = f"must allow an answer to each validation source, but: {str(error).rstrip('.')}"
        raise SettingError(("generation",), problem) from error
