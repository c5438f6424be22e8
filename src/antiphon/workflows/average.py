"""Averages of the last snapshots of a run (Vaswani et al. 2017, section 6.1: the last 5 of base, 20 of big)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load as deserialize
from torch import Tensor, nn

from antiphon.errors import ConfigError, DiskError, ModelError
from antiphon.models.checkpoint import Parts, load_parts, put_weights, save_model_folder
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.loop import Validator
from antiphon.training.progress import Progress
from antiphon.training.record import Record
from antiphon.training.resume import WEIGHTS
from antiphon.training.snapshot import Snapshot, SnapshotStore


def average_weights(snapshots: Sequence[Snapshot]) -> dict[str, Tensor]:
    """The mean of the snapshots' weights, summed in float64."""
    total: dict[str, Tensor] = {}
    types: dict[str, torch.dtype] = {}
    for snapshot in snapshots:
        for name, tensor in deserialize(snapshot.read(WEIGHTS)).items():
            types[name] = tensor.dtype
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(snapshots)).to(types[name]) for name, tensor in total.items()}


def average_run(run: str | Path, *, last: int, output: str | Path) -> Path:
    """Write to `output` the model whose weights are the mean of the last `last` snapshots of a run folder."""
    run, output = Path(run), Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"the output `{output}` must not exist yet, but does. Choose another --output.")
    if last < 1:
        raise ConfigError(f"`last` must be at least 1, but is {last}.")
    found = SnapshotStore(run / "snapshots", keep=last).last(last)
    if len(found) < last:
        raise ModelError(
            f"the run `{run}` must have {last} whole snapshots, but has {len(found)}. "
            "Average fewer, or train with a larger `training.keep_last`."
        )
    parts = load_parts(run / "model")
    with torch.no_grad():
        put_weights(parts.network, average_weights(found), where=str(run / "snapshots"))
    try:
        return save_model_folder(output, parts)
    except DiskError:
        shutil.rmtree(
            output, ignore_errors=True
        )  # half a model would be taken for one, and bar the way of a second try
        raise


def average_and_compare(
    parts: Parts,
    store: SnapshotStore,
    last: int,
    progress: Progress,
    validate: Validator | None,
    record: Record,
    keep: Callable[[nn.Module], None],
) -> None:
    """At the end of a run: keep the average of the last snapshots if it scores better, or if nothing is scored."""
    network = parts.network
    found = store.last(last)
    if last == 1 or len(found) < 2:
        if validate is None:
            keep(network)
        return
    weights = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    with torch.no_grad():
        put_weights(network, average_weights(found), where=str(store.folder))
    network.eval()
    if _better(network, progress, validate, record, len(found)):
        keep(network)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            tensor.copy_(weights[name])


def _better(
    network: EncoderDecoder, progress: Progress, validate: Validator | None, record: Record, count: int
) -> bool:
    """Whether the averaged network is to be the model; its figures are said."""
    if validate is None:
        return True
    result = validate(network, lambda: False)
    assert result is not None
    better = progress.best is None or result.score > progress.best
    figures = "  ".join(f"{name} {value:.3f}" for name, value in result.figures.items())
    record.say(
        f"average of the last {count} snapshots: {figures}  ({'kept' if better else 'not better than the best'})"
    )
    row = {"step": progress.step, "time_seconds": round(progress.seconds, 3), "averaged": count, **result.figures}
    record.note_row(row)
    return better
