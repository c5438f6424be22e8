"""From a recipe to a run folder: `train(config)`.

A run folder holds `config.yaml` (resolved), `tokenizers/`, `metrics.jsonl`, `samples.jsonl`, `snapshots/step-N/` and
`model/` (ready to load). Nothing is written before the data, the tokenizers and the network are there, so that a
mistake leaves no folder behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from antiphon.config import BaseConfig, ModelConfig, TokenizerConfig, TrainConfig
from antiphon.data import Batches, Filters, InMemory, Streamed, cases, load_corpus, load_filters, load_objectives
from antiphon.data.denoising import Objective
from antiphon.errors import ConfigError, DiskError, ModelError
from antiphon.evaluation.metrics import know_labels, parse_metrics
from antiphon.generation.fronts import fronts_of
from antiphon.generation.languages import as_answer, speaking
from antiphon.generation.model import Model
from antiphon.models.build import build_network
from antiphon.models.checkpoint import (
    WEIGHTS,
    Parts,
    load_weights,
    put_weights,
    replace_file,
    save_model_folder,
    saved_spec,
)
from antiphon.models.stack import count_parameters
from antiphon.nn.attention import describe_backends
from antiphon.recipe import dump_yaml, from_mapping, placed, read_recipe, read_yaml, to_mapping
from antiphon.registry import lookup, names
from antiphon.settings import SettingError, inside, saying
from antiphon.text import Tokenizer, load_task
from antiphon.training.adapters import Adapter
from antiphon.training.lock import alone
from antiphon.training.loop import Loop
from antiphon.training.loop import Parts as LoopParts
from antiphon.training.optim import build_optimizer, build_schedule, find_optimizer
from antiphon.training.record import Record, make_display, read_rows
from antiphon.training.snapshot import SnapshotStore
from antiphon.workflows.average import average_and_compare
from antiphon.workflows.base import BASE, Begin, check_same_base, find_base, keep_base, settled
from antiphon.workflows.labels import check_labels, with_labels
from antiphon.workflows.searching import validation_search
from antiphon.workflows.teacher import load_teacher
from antiphon.workflows.tokenizers import Samplers, build_samplers, build_tokenizers
from antiphon.workflows.validate import Validate

TOKENIZERS, CONFIG = "tokenizers", "config.yaml"
FREE_TO_CHANGE = ("max_", "save_", "log_")  # settings of `training` that a resumed run may change


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the best model, and the rows of `metrics.jsonl`."""

    folder: Path
    model: Model
    metrics: list[dict[str, Any]]
    reason: str


def train(
    config: TrainConfig | Mapping[str, Any] | str | Path,
    resume: bool = False,
    *,
    device: str | torch.device = "cpu",
    quiet: bool = False,
) -> Run:
    """Train as `config` says (a TrainConfig, a mapping, or the path of a recipe) and return the run.

    `resume` continues the newest snapshot that verifies, or starts where there is no run. Raises ConfigError or
    DataError before anything is written; NonFiniteError or DiskError with the last snapshot untouched.
    """
    if isinstance(config, (str, Path)):
        config = read_recipe(config)
    elif isinstance(config, Mapping):
        config = from_mapping(config)
    elif not isinstance(config, TrainConfig):
        raise ConfigError(f"`config` must be a TrainConfig, a mapping or the path of a recipe, but is {config!r}.")
    folder = Path(config.output)
    fresh = _check_folder(folder, config, resume=resume)
    try:
        base = find_base(config, folder) if isinstance(config.model, BaseConfig) else None
        job = _Job(config, folder, torch.device(device), base=base, quiet=quiet)
    except SettingError as error:
        raise placed(error, config) from None
    reason = job.run(fresh=fresh)
    return Run(folder, job.best(), read_rows(folder), reason)


class _Job:
    """The parts of one run; `base` is what it begins with."""

    def __init__(
        self, asked: TrainConfig, folder: Path, device: torch.device, *, base: Begin | None, quiet: bool
    ) -> None:
        # What the languages of `generation` are is known from here on, also where targets are encoded.
        self.base, self.begin = base, None if base is None else replace(base.parts, generation=asked.generation)
        config = asked if self.begin is None else settled(asked, self.begin)
        self.asked, self.config, self.folder = asked, config, folder
        assert isinstance(config.model, ModelConfig)
        self.model: ModelConfig = config.model
        self.place = Path(config.folder) if config.folder else None
        with saying("task"):
            self.task = with_labels(load_task(config.task, folder=self.place), config)
        self.metrics = know_labels(parse_metrics(config.validation.metrics), sorted(set(self.task.labels.values())))
        for role in ("encoder", "decoder", "cross"):
            saved_spec(getattr(config.attention, role))  # refuses now what could not be saved after hours of training
        schedule = build_schedule(config.training, folder=self.place)  # first, since they may refuse the recipe
        find_optimizer(config.training, folder=self.place)
        filters = load_filters(config.data.filters, folder=self.place)
        self.objectives: dict[str, dict[int, Objective]] = {}
        for side in ("train", "valid"):
            with inside("data"), inside(side):
                self.objectives[side] = load_objectives(getattr(config.data, side), folder=self.place)
        self.source_tokenizer, self.target_tokenizer = self._tokenizers()
        check_labels(self.task.labels.values(), self.target_tokenizer, self.model.max_length)
        self.corpus = self._corpus(config.data.train, training=filters)
        self.batches = Batches(self.corpus, batch_tokens=config.training.batch_tokens, seed=config.training.seed)
        self.parts = self._parts(device)
        self.network = self.parts.network
        marks = Model(self.parts).marks
        teacher = load_teacher(config, self.network, self.source_tokenizer, self.target_tokenizer, marks)
        self.adapter = self._adapter(device)
        self.notes: tuple[str, ...] = ()  # about its validations, said once
        self.validate = self._validate()
        display = make_display(total_steps=config.training.max_steps, quiet=quiet)
        # A registered reporter is a function of the run folder that gives a function of each row of metrics.jsonl.
        reporters = [lookup("reporter", name)(folder) for name in names("reporter")]
        self.record = Record(folder, display, reporters=reporters)
        self.store = SnapshotStore(folder / "snapshots", keep=config.training.keep_last, say=self.record.say)
        self.loop = Loop(
            LoopParts(
                network=self.network,
                batches=self.batches,
                optimizer=build_optimizer(self.network, config.training, folder=self.place),
                schedule=schedule,
                validate=self.validate,
                keep=self.keep,
                record=self.record,
                store=self.store,
                pad_id=marks.pad,
                start_id=marks.start,
                teacher=teacher,
            ),
            config.training,
            validate_every_steps=config.validation.every_steps,
        )

    def _parts(self, device: torch.device) -> Parts:
        """The run's model: that of the base, or a network with fresh weights."""
        config, sides = self.config, (self.source_tokenizer, self.target_tokenizer)
        fronts, labels = fronts_of(config.data.train), self.task.labels
        if self.begin is not None:
            network = self.begin.network.to(device)
            return replace(
                self.begin,
                network=network,
                task=config.task,
                generation=config.generation,
                labels=labels,
                fronts=tuple(dict.fromkeys((*fronts, *self.begin.fronts))),
            )
        network = build_network(
            self.model,
            config.attention,
            source_vocab=sides[0].vocab_size,
            target_vocab=sides[1].vocab_size,
            shared=sides[0] is sides[1],
            seed=config.training.seed,
            folder=self.place,
        ).to(device)
        known = (config.task, config.generation, labels)
        return Parts(network, self.model, config.attention, *sides, *known, fronts=fronts)

    def _adapter(self, device: torch.device) -> Adapter | None:
        """The adapter that learns in place of the weights, if the recipe has one."""
        training = self.config.training
        if training.adapter is None:
            return None
        if self.begin is None:
            raise SettingError(("training", "adapter"), "needs a model to adapt, but `model.base` is not given")
        adapter = Adapter(self.network, training.adapter, seed=training.seed)
        self.network.to(device)
        return adapter

    def run(self, *, fresh: bool) -> str:
        """Train to the end; why it ended."""
        try:
            if fresh:
                self._create()
            with alone(self.folder):
                return self._run(fresh=fresh)
        finally:
            self.record.display.close()

    def _run(self, *, fresh: bool) -> str:
        self.record.say(self._describe())
        if self.adapter is not None:
            self.record.say(self.adapter.describe())
        for change in () if self.base is None else self.base.changes:
            self.record.say(change)
        if self.begin is not None and self.begin.account is not None and self.begin.account.new:
            self.record.say(f"attention was replaced: {self.begin.account}")
        if backends := describe_backends(self.network, longest=self.model.max_length):
            self.record.say(f"attention by {backends}")
        for note in self.notes:
            self.record.say(note)
        if not fresh:
            self.loop.resume()
        reason = self.loop.run()
        average_and_compare(self.loop)
        self.record.say(f"{reason}; the model is in `{self.folder / 'model'}`")
        return reason

    def keep(self, network: torch.nn.Module) -> None:
        """Make the weights of `network`, which is the run's own, the run's model."""
        if self.adapter is None:
            save_model_folder(self.folder / "model", self.parts)
            return
        assert isinstance(self.asked.model, BaseConfig) and self.base is not None
        # With another vocabulary, the adapter is one of the run's own copy.
        base = str(self.folder / BASE) if self.base.changes else self.asked.model.base
        self.adapter.save(self.folder / "adapter", base=base)
        save_model_folder(self.folder / "model", self.parts, weights=self.adapter.merged())

    def best(self) -> Model:
        """The run's model with the weights that were kept; the recipe's own parts, so nothing is imported anew."""
        file = self.folder / "model" / WEIGHTS
        if self.adapter is not None:
            self.adapter.remove()
        with torch.no_grad():
            put_weights(self.network, load_weights(file), where=str(file))
        self.network.eval()
        return Model(self.parts)

    def _create(self) -> None:
        try:
            (self.folder / TOKENIZERS).mkdir(parents=True, exist_ok=True)
            if self.base is not None:
                weights = None if self.adapter is None else self.adapter.base()
                keep_base(self.folder, self.base, self.asked, weights=weights)
            for name, tokenizer in self._named_tokenizers():
                tokenizer.save(self.folder / TOKENIZERS, name)
            # Last: a folder with a config.yaml is a run.
            replace_file(self.folder / CONFIG, dump_yaml(to_mapping(self.asked)).encode())
        except OSError as error:
            raise DiskError(
                f"the run folder `{self.folder}` cannot be made ({error.strerror}). Choose another `output`."
            ) from error

    def _named_tokenizers(self) -> Iterator[tuple[str, Tokenizer]]:
        yield "source", self.source_tokenizer
        if self.target_tokenizer is not self.source_tokenizer:
            yield "target", self.target_tokenizer

    def _tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """Those of the run that is resumed, else loaded from the path in the recipe, else trained on the data."""
        if self.begin is not None:
            with inside("generation"):
                spoken = speaking(self.begin)
            return spoken.source_tokenizer, spoken.target_tokenizer
        kept = self.folder / TOKENIZERS
        if (self.folder / CONFIG).exists():
            found = {file.stem: Tokenizer.load(file) for file in sorted(kept.iterdir())}
            if "source" not in found:
                raise ModelError(
                    f"the run `{self.folder}` must hold a source tokenizer in `{kept}`, but has none. Start a new run."
                )
            return found["source"], found.get("target", found["source"])
        return build_tokenizers(self.config, self.task)

    def _corpus(self, data: object, *, training: Filters | None = None) -> InMemory | Streamed:
        """The corpus of `data`; of `training` pairs, which these filters keep, split, shared out and streamed as set.

        Validation pairs are taken as they are, in memory, and plain text is corrupted once and for all.
        """
        config = self.config
        trained = training is not None
        return load_corpus(
            data,
            task=self.task,
            source_tokenizer=self.source_tokenizer,
            target_tokenizer=self.target_tokenizer,
            max_length=config.data.max_length or self.model.max_length,
            overflow=config.data.overflow,
            streaming=config.data.streaming if trained else "never",
            samplers=self._samplers() if trained else (None, None),
            filters=training,
            shares=config.data.shares if trained else None,
            objectives=self.objectives["train" if trained else "valid"],
            fixed=not trained,
            as_target=self._as_target(),
            bad_rows=config.data.bad_rows,
        )

    def _as_target(self) -> Callable[[list[int]], list[int]] | None:
        """What a base makes of an encoded target, as generation does."""
        if self.begin is None:
            return None
        return partial(as_answer, tokenizer=self.target_tokenizer, marks=Model(self.begin).marks)

    def _samplers(self) -> Samplers:
        if not isinstance(self.config.tokenizer, TokenizerConfig):
            return None, None
        return build_samplers(self.config.tokenizer, self.source_tokenizer, self.target_tokenizer)

    def _validate(self) -> Validate | None:
        data, limit, bad = self.config.data.valid, self.config.validation.max_examples, self.config.data.bad_rows
        if data is None:
            return None
        held = self._corpus(data)
        assert isinstance(held, InMemory)
        examples = list(islice(held, limit))
        pairs = [(source, targets) for source, targets, _ in islice(cases(data, self.task, bad_rows=bad), limit)]
        search = validation_search(self.parts, pairs, self.config)
        self.notes = search.notes
        settings, batch_tokens = self.config.validation, self.config.training.batch_tokens
        return Validate(self.parts, examples, search.pairs, settings, self.metrics, batch_tokens, search.settings)

    def _describe(self) -> str:
        """The run in a line."""
        model, base = self.model, self.asked.model
        origin = f"from {base.base}" if isinstance(base, BaseConfig) else model.preset
        tokenizers = {tokenizer.vocab_size for _, tokenizer in self._named_tokenizers()}
        return (
            f"{count_parameters(self.network):,} parameters "
            f"({origin}: {model.encoder_layers}+{model.decoder_layers} layers, "
            f"d_model {model.d_model}), vocabulary {' and '.join(map(str, sorted(tokenizers)))}; {self.corpus.report}"
        )


def _check_folder(folder: Path, config: TrainConfig, *, resume: bool) -> bool:
    """Whether the run is new. ConfigError for a folder that is taken, or a run whose recipe differs."""
    file = folder / CONFIG
    if not resume:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"the run folder `{folder}` must not exist yet, but does. "
                "Continue it with --resume, or choose another --output."
            )
        return True
    if not file.exists():
        # A run that was killed while it was made holds its tokenizers and its base at most.
        if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {TOKENIZERS, BASE}):
            raise ConfigError(
                f"the folder `{folder}` must be a run or not exist, but holds other things and no {CONFIG}. "
                "Choose another --output."
            )
        return True
    if isinstance(config.model, BaseConfig) and (folder / BASE).is_dir():
        check_same_base(folder, config.model.base)
    was = _completed(read_yaml(file.read_text(encoding="utf-8"), str(file))[0], where=str(file))
    for key, before, now in _differences(was, to_mapping(config)):
        raise ConfigError(
            f"a resumed run must keep its recipe, but `{key}` was {before!r} and is {now!r} (`{file}`). "
            "Put it back, or choose another --output."
        )
    return False


def _completed(was: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """A run's recipe with the settings that the version which wrote it had not yet, at their defaults."""
    # Pairs from Python are only a text with their number and hash.
    pairs = {side: was["data"][side] for side in ("train", "valid", "test") if isinstance(was["data"].get(side), str)}
    whole = to_mapping(from_mapping({**was, "data": {**was["data"], **{side: [] for side in pairs}}}, where=where))
    return {**whole, "data": {**whole["data"], **pairs}}


def _differences(was: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The settings that differ and may not."""
    for key in {**was, **now}:
        name, before, after = f"{path}{key}", was.get(key), now.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{name}.")
        elif (
            before != after
            and name not in ("output", "folder", "data.test", "model.base")
            and not (path == "training." and key.startswith(FREE_TO_CHANGE))
        ):
            yield name, before, after
