"""A recipe with a sample of its training pairs, in files of a temporary folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from antiphon.config import SourceConfig, TrainConfig, source_list
from antiphon.data import Pair
from antiphon.data.media.references import Reference, Spool
from antiphon.data.sources import cases
from antiphon.inspection.survey import Survey
from antiphon.text import CLASSIFICATION, Task


def on_sample(config: TrainConfig, task: Task, found: Survey, folder: Path) -> TrainConfig:
    """The recipe with the sampled pairs, in files that have what the task made of the data; those of images and sound
    are pairs in memory, of which each names its file."""
    if any(isinstance(pair.source, Reference) for pair in found.pairs):
        return _with_files(config, task, found)
    sources = source_list(config.data.train)
    made = []
    for number, sample in found.samples.items():
        if not sample.pairs:  # every pair of this source was dropped
            continue
        known = sources[number] if sources else None
        path = folder / f"sample-{number}.jsonl"
        if known is not None and known.is_text:
            path = path.with_suffix(".txt")
            path.write_text("".join(f"{' '.join(pair.target.split())}\n" for pair in sample.pairs), encoding="utf-8")
            made.append(SourceConfig(text=str(path), objective=known.objective, tag=known.tag, prefix=known.prefix))
            continue
        _write_pairs(path, sample.pairs)
        tag, prefix, weight = (known.tag, known.prefix, known.weight) if known is not None else (None, None, None)
        made.append(SourceConfig(path=str(path), tag=tag, prefix=prefix, weight=weight))
    train = made[0] if len(made) == 1 else tuple(made)
    named = task.name == CLASSIFICATION
    # The filters have acted already; those that learn would learn from a tenth of what they learn from in the run.
    data = replace(config.data, train=train, filters=None, labels=tuple(sorted(set(task.labels.values()))))
    if not named:
        data = replace(data, labels=(), valid=_again(config.data.valid, task, folder / "valid.jsonl"))
    return replace(config, task=config.task if named else "text", data=data)


def _with_files(config: TrainConfig, task: Task, found: Survey) -> TrainConfig:
    """The recipe with the sampled pairs of images or sound, after its filters."""
    train = [(_prefixed(pair), pair.target) for pair in found.pairs]
    data, named, spool = replace(config.data, train=train, filters=None), task.name == CLASSIFICATION, Spool()
    if data.valid is not None:
        pairs = cases(data.valid, task, bad_rows="skip")
        kept = ((spool.keep(one) if isinstance(one, Reference) else one, targets[0]) for one, targets, _ in pairs)
        data = replace(data, valid=list(kept))
    data = replace(data, labels=tuple(sorted(set(task.labels.values()))) if named else ())
    return replace(config, task=config.task if named else "text", data=data)


def _prefixed(pair: Pair) -> str:
    return pair.source if isinstance(pair.source, Reference) else pair.row.source_prefix + pair.source


def _again(data: object, task: Task, path: Path) -> object:
    """`data` in a file that has what the task made of it; plain text is left as it is."""
    if data is None or any(source.is_text for source in source_list(data)):
        return data
    with path.open("w", encoding="utf-8") as stream:
        for source, targets, _ in cases(data, task, bad_rows="skip"):
            stream.write(json.dumps({"source": source, "target": targets}, ensure_ascii=True) + "\n")
    return SourceConfig(path=str(path))


def _write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for pair in pairs:
            stream.write(json.dumps({"source": pair.source, "target": pair.target}, ensure_ascii=True) + "\n")
