"""The data of a run: the corpus that it trains on, and the validation pairs, read as the recipe says.

data = RunData(config, task)                 # before anything slow: filters and objectives are looked up
data.load((source_tokenizer, target_tokenizer), initial=None)
data.train                                   # the corpus
validate, notes = data.validator(parts, metrics)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from antiphon.config import ModelConfig, TokenizerConfig, TrainConfig
from antiphon.data import (
    Batches,
    DataProfile,
    Filters,
    InMemory,
    Streamed,
    cases,
    filters_of,
    load_corpus,
    load_objectives,
)
from antiphon.data.denoising import Objective
from antiphon.data.media.loaders import LoadedBatches, LoaderPool
from antiphon.distributed.world import World
from antiphon.errors import ReadError, argument
from antiphon.evaluation.metrics import Metric
from antiphon.generation.languages import as_answer
from antiphon.generation.model import Model
from antiphon.models.folders.checkpoint import Parts
from antiphon.settings import inside
from antiphon.text import Task, Tokenizer
from antiphon.training.snapshot import SnapshotStore
from antiphon.workflows.media import media_of, readable_pairs
from antiphon.workflows.searching import validation_search
from antiphon.workflows.tokenizers import Samplers, build_samplers
from antiphon.workflows.validate import Validate


@contextmanager
def saying_what_is_kept(store: SnapshotStore) -> Iterator[None]:
    """A context that adds to a ReadError which step is saved, and how the run is continued."""
    try:
        yield
    except ReadError as error:
        how = argument("antiphon.train(recipe, resume=True)", flag="--resume")
        newest = store.newest()
        saved = "Nothing is saved yet; start again" if newest is None else f"Step {newest.step} is saved; go on"
        error.kept = f"{saved} with {how}."
        raise


class RunData:
    """The training corpus `train` of a recipe, with the `profile` of its first pairs, and its validation pairs."""

    tokenizers: tuple[Tokenizer, Tokenizer]
    train: InMemory | Streamed
    initial: Parts | None

    def __init__(self, config: TrainConfig, task: Task) -> None:
        self.config, self.task = config, task
        folder = Path(config.folder) if config.folder else None
        self.filters = filters_of(config)
        self.objectives: dict[str, dict[int, Objective]] = {}
        for side in ("train", "valid"):
            with inside("data"), inside(side):
                self.objectives[side] = load_objectives(getattr(config.data, side), folder=folder)
        self.profile = DataProfile()
        self.media = media_of(config, folder)

    def load(self, tokenizers: tuple[Tokenizer, Tokenizer], *, initial: Parts | None) -> InMemory | Streamed:
        """Read the training corpus. With the model `initial` that the run starts from, targets are encoded as its
        answers."""
        self.tokenizers, self.initial = tokenizers, initial
        if self.media is not None:
            self.media = {name: each.encoding(tokenizers[0]) for name, each in self.media.items()}
        self.train = self._corpus(self.config.data.train, training=self.filters)
        return self.train

    def validator(self, parts: Parts, metrics: list[Metric]) -> tuple[Validate | None, tuple[str, ...]]:
        """The validator of the run and messages for its log; None without validation pairs."""
        data, limit, bad = self.config.data.valid, self.config.validation.max_examples, self.config.data.bad_rows
        if data is None:
            return None, ()
        held = self._corpus(data)
        assert isinstance(held, InMemory)
        examples = list(islice(held, limit))
        pairs = [(source, targets) for source, targets, _ in islice(cases(data, self.task, bad_rows=bad), limit)]
        if self.media is not None:
            pairs = readable_pairs(pairs, self.media["valid"])
        search = validation_search(parts, pairs, self.config)
        settings, batch_tokens = self.config.validation, self.config.training.batch_tokens
        made = Validate(parts, examples, search.pairs, settings, metrics, batch_tokens, search.settings)
        return made, (*search.notes, *made.notes)

    def _corpus(self, data: object, *, training: Filters | None = None) -> InMemory | Streamed:
        """The corpus of `data`. With `training` filters: filtered, sampled, mixed and streamed as the recipe says.

        Without: validation pairs, unchanged and in memory; plain text is corrupted identically each time.
        """
        config = self.config
        assert isinstance(config.model, ModelConfig)
        trained = training is not None
        return load_corpus(
            data,
            task=self.task,
            source_tokenizer=self.tokenizers[0],
            target_tokenizer=self.tokenizers[1],
            max_length=config.data.max_length or config.model.max_length,
            overflow=config.data.overflow,
            streaming=config.data.streaming if trained else "never",
            samplers=self._samplers() if trained else (None, None),
            filters=training,
            shares=config.data.shares if trained else None,
            objectives=self.objectives["train" if trained else "valid"],
            fixed=not trained,
            as_target=self._as_target(),
            bad_rows=config.data.bad_rows,
            profile=self.profile if trained else None,
            open_shards=config.data.open_shards,
            workers=config.data.workers if trained else 0,
            media=None if self.media is None else self.media["train" if trained else "valid"],
        )

    def batches(self, world: World) -> Batches | LoadedBatches:
        """The batches of the training corpus; of images and sound loaded ahead by `data.workers` processes."""
        training, workers = self.config.training, self.config.data.workers
        batches = Batches(self.train, batch_tokens=training.batch_tokens, seed=training.seed)
        if self.media is None or not workers:
            return batches
        pool = LoaderPool(self.media["train"], workers)
        return LoadedBatches(batches, pool, own=lambda n: n % training.accumulate % world.size == world.rank)

    def _as_target(self) -> Callable[[list[int]], list[int]] | None:
        """The function that turns encoded target ids into the ids of an answer of the base."""
        if self.initial is None:
            return None
        special_tokens = Model.from_parts(self.initial).special_tokens
        return partial(as_answer, tokenizer=self.tokenizers[1], special_tokens=special_tokens)

    def _samplers(self) -> Samplers:
        if not isinstance(self.config.tokenizer, TokenizerConfig):
            return None, None
        return build_samplers(self.config.tokenizer, *self.tokenizers)
