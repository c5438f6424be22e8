"""The search settings of validations: the recipe's `generation`, modified by `validation` and `data`.

    search = validation_search(parts, pairs, config)
    model.generate([source for source, _ in search.pairs], **search.settings)

The beam is `validation.beam_size`. `generation.beam_groups` must divide it; it is ignored if the beam is smaller, so
that greedy validation is possible with a grouped search. Long sources are treated by `generation.overflow`; if that is
`error`, by `data.overflow`, so that loss and answers are measured on the same inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from antiphon.config import TrainConfig
from antiphon.data.media.references import Reference
from antiphon.errors import ConfigError, DataError
from antiphon.generation.dry_run import try_search
from antiphon.generation.model import Model
from antiphon.inputs import input_kind
from antiphon.inputs.limits import source_limit
from antiphon.models.folders.checkpoint import Parts
from antiphon.settings import SettingError

_MEDIA_TRIED = 8  # images or recordings of which a search is tried: to read all of them would take long
Pairs = Sequence[tuple[str, Sequence[str]]]  # sources, each with its references


@dataclass(frozen=True)
class ValidationSearch:
    """The validation pairs, the settings of `generate`, and messages for the log."""

    pairs: Pairs
    settings: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def validation_search(parts: Parts, pairs: Pairs, config: TrainConfig) -> ValidationSearch:
    """The search of a run's validations. SettingError if the first validation would fail with it."""
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
    media = not input_kind(parts.model.family, parts.model.input_settings).has_tokens
    if config.generation.overflow == "error" and config.data.overflow != "error" and not media:
        pairs = _fit_to_data(parts, pairs, config, settings, notes)
    asked = pairs if config.validation.metrics else pairs[: config.validation.samples]
    if asked:
        _try(parts, asked[:_MEDIA_TRIED] if media else asked, settings)
    return ValidationSearch(pairs, settings, tuple(notes))


def _fit_to_data(
    parts: Parts, pairs: Pairs, config: TrainConfig, settings: dict[str, object], notes: list[str]
) -> Pairs:
    """The pairs to answer if long sources are treated as in training; adds a message if there are any."""
    how, limit = config.data.overflow, source_limit(parts.network, parts.generation)
    model = Model.from_parts(parts)
    encoded = model.source_tokenizer.encode_batch(
        ["" if isinstance(source, Reference) else source for source, _ in pairs]
    )
    lengths = [
        model.input_kind.joined_length(source.prompt) if isinstance(source, Reference) else len(ids)
        for (source, _), ids in zip(pairs, encoded, strict=True)
    ]
    kept = [pair for pair, length in zip(pairs, lengths, strict=True) if length <= limit]
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
