"""From a recipe to a run folder: `train(config)`.

A run folder holds `config.yaml` (resolved), `tokenizers/`, `metrics.jsonl`, `samples.jsonl`, `snapshots/step-N/` and
`model/` (ready to load). Nothing is written before the data, the tokenizers and the network have been built, so that an
invalid recipe leaves no folder behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from antiphon.config import ROLES, BaseConfig, ModelConfig, TokenizerConfig, TrainConfig
from antiphon.data import Batches, Filters, InMemory, Streamed, cases, load_corpus, load_filters, load_objectives
from antiphon.data.denoising import Objective
from antiphon.devices import choose_device, describe_machine
from antiphon.display import panel, table
from antiphon.errors import ConfigError, DiskError, ModelError, argument, is_command_line
from antiphon.evaluation.metrics import know_labels, parse_metrics
from antiphon.generation.languages import as_answer, speaking
from antiphon.generation.model import Model
from antiphon.inputs.leading_text import prefixes_of, template_of
from antiphon.keywords import known_keywords
from antiphon.models.attentions import saved_spec
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import (
    WEIGHTS,
    Parts,
    load_weights,
    put_weights,
    replace_file,
    save_model_folder,
)
from antiphon.models.stack import count_parameters
from antiphon.nn.attention import describe_backends
from antiphon.recipe import dump_yaml, from_mapping, placed, read_recipe, to_mapping
from antiphon.registry import lookup, names
from antiphon.settings import SettingError, inside, saying
from antiphon.text import Tokenizer, load_task
from antiphon.training.adapters import Adapter
from antiphon.training.lock import exclusive_lock
from antiphon.training.loop import Loop, LoopParts
from antiphon.training.optim import build_optimizer, build_schedule, find_optimizer
from antiphon.training.reporting.advice import advice
from antiphon.training.reporting.record import RunLog, make_display, read_rows
from antiphon.training.reporting.rows import MetricRows, summary_of
from antiphon.training.snapshot import SnapshotStore
from antiphon.watching import WatchPage, watch
from antiphon.workflows.answer_settings import saved_search_settings
from antiphon.workflows.average import average_and_compare
from antiphon.workflows.base import BASE, InitialModel, apply_base, find_base, save_base
from antiphon.workflows.folder import CONFIG, TOKENIZERS, check_folder, clear
from antiphon.workflows.labels import check_labels, with_labels
from antiphon.workflows.searching import validation_search
from antiphon.workflows.teacher import load_teacher
from antiphon.workflows.tokenizers import Samplers, build_samplers, build_tokenizers
from antiphon.workflows.validate import Validate


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the best model, and the rows of `metrics.jsonl`."""

    folder: Path
    model: Model
    metrics: MetricRows
    reason: str

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.reason}; {summary_of(self.metrics)})"

    def _repr_html_(self) -> str:
        """The folder, the reason of the end, the last figures and the curves, for notebooks."""
        facts = [["folder", str(self.folder)], ["ended", self.reason], ["last", summary_of(self.metrics)]]
        return panel("Run", table([], facts), self.metrics.curves())

    def watch(self, *others: str | Path, port: int | None = None) -> WatchPage:
        """Serve a page with the curves of this run and of `others`; a notebook shows it below the cell. `port`: None
        is 6007, or the next free one."""
        return watch(self.folder, *others, port=port)


@known_keywords("train")
def train(
    config: TrainConfig | Mapping[str, Any] | str | Path,
    resume: bool = False,
    *,
    device: str | torch.device = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> Run:
    """Train a model by `config` (a TrainConfig, a mapping, or the path of a recipe) and return the run.

    `resume` continues from the newest valid snapshot, or starts if there is no run. `overwrite` replaces the run in the
    folder, after the data, the tokenizers and the network of the new one have been built; a folder with other entries
    is an error. `device`: auto is the first available of CUDA, MPS and CPU. Raises ConfigError or DataError before
    anything is written; NonFiniteError or DiskError with the last snapshot untouched.
    """
    place = choose_device(device)
    if isinstance(config, (str, Path)):
        config = read_recipe(config)
    elif isinstance(config, Mapping):
        config = from_mapping(config)
    elif not isinstance(config, TrainConfig):
        raise ConfigError(f"`config` must be a TrainConfig, a mapping or the path of a recipe, but is {config!r}.")
    folder = Path(config.output)
    fresh = check_folder(folder, config, resume=resume, overwrite=overwrite)
    try:
        base = find_base(config, None if overwrite else folder) if isinstance(config.model, BaseConfig) else None
        job = _TrainingJob(config, folder, place, base=base, fresh=fresh, overwrite=overwrite, quiet=quiet)
    except SettingError as error:
        raise placed(error, config) from None
    reason = job.run()
    return Run(folder, job.best(), MetricRows(read_rows(folder)), reason)


class _TrainingJob:
    """Builds and holds the parts of one run. `base` is its initial model; None: trained from scratch."""

    def __init__(
        self,
        recipe: TrainConfig,
        folder: Path,
        device: torch.device,
        *,
        base: InitialModel | None,
        fresh: bool = True,
        overwrite: bool = False,
        quiet: bool,
    ) -> None:
        self.fresh, self.overwrite = fresh, overwrite
        # The languages of `generation` are needed from here on, also to encode targets.
        self.base, self.initial = base, None if base is None else replace(base.parts, generation=recipe.generation)
        config = recipe if self.initial is None else apply_base(recipe, self.initial)
        self.recipe, self.config, self.folder = recipe, config, folder
        assert isinstance(config.model, ModelConfig)
        self.model: ModelConfig = config.model
        self.recipe_folder = Path(config.folder) if config.folder else None
        with saying("task"):
            self.task = with_labels(load_task(config.task, folder=self.recipe_folder), config)
        self.metrics = know_labels(parse_metrics(config.validation.metrics), sorted(set(self.task.labels.values())))
        for role in ROLES:
            # An attention that cannot be saved is an error now, not after training.
            saved_spec(getattr(config.attention, role))
        self.schedule = build_schedule(config.training, folder=self.recipe_folder)
        find_optimizer(config.training, folder=self.recipe_folder)
        filters = load_filters(config.data.filters, folder=self.recipe_folder)
        self.objectives: dict[str, dict[int, Objective]] = {}
        for side in ("train", "valid"):
            with inside("data"), inside(side):
                self.objectives[side] = load_objectives(getattr(config.data, side), folder=self.recipe_folder)
        self.source_tokenizer, self.target_tokenizer = self._tokenizers()
        check_labels(self.task.labels.values(), self.target_tokenizer, self.model.max_length)
        self.corpus = self._corpus(config.data.train, training=filters)
        self.batches = Batches(self.corpus, batch_tokens=config.training.batch_tokens, seed=config.training.seed)
        self.parts = self._parts(device)
        self.network = self.parts.network
        special_tokens = Model.from_parts(self.parts).special_tokens
        teacher = load_teacher(config, self.network, self.source_tokenizer, self.target_tokenizer, special_tokens)
        self.adapter = self._adapter(device)
        self.validate = self._validate()
        self.record = RunLog(folder, make_display(total_steps=config.training.max_steps, quiet=quiet))
        self.loop = Loop(
            LoopParts(
                network=self.network,
                batches=self.batches,
                optimizer=build_optimizer(self.network, config.training, folder=self.recipe_folder),
                schedule=self.schedule,
                validate=self.validate,
                save_best=self.save_best,
                record=self.record,
                store=SnapshotStore(folder / "snapshots", keep=config.training.keep_last, say=self.record.say),
                pad_id=special_tokens.pad,
                start_id=special_tokens.start,
                teacher=teacher,
            ),
            config.training,
            validate_every=config.validation.interval,
        )

    def _parts(self, device: torch.device) -> Parts:
        """The run's model: the base, or a freshly initialized network. Sources are read as in generation."""
        config, sides = self.config, (self.source_tokenizer, self.target_tokenizer)
        base, template = None if self.base is None else self.base.parts, template_of(config.data.train)
        generation, self.notes = saved_search_settings(
            config, base=base, corpus=self.corpus, max_length=self.model.max_length
        )
        if template:
            self.notes += (f"answers put each text into the template of the data, {template!r}",)
        prefixes = (*prefixes_of(config.data.train), *(() if self.initial is None else self.initial.prefixes))
        known: dict[str, Any] = {"task": config.task, "generation": generation, "labels": self.task.labels}
        known |= {"prefixes": tuple(dict.fromkeys(prefixes)), "template": template}
        if self.initial is not None:
            parts = replace(self.initial, network=self.initial.network.to(device), **known)
        else:
            network = build_network(
                self.model,
                config.attention,
                source_vocab=sides[0].vocab_size,
                target_vocab=sides[1].vocab_size,
                shared=sides[0] is sides[1],
                seed=config.training.seed,
                folder=self.recipe_folder,
            ).to(device)
            parts = Parts(network, self.model, config.attention, *sides, **known)
        parts.network.source_window = generation.max_source_tokens
        return parts

    def _adapter(self, device: torch.device) -> Adapter | None:
        """The adapter to train instead of the weights, if the recipe has one."""
        training = self.config.training
        if training.adapter is None:
            return None
        if self.initial is None:
            raise SettingError(("training", "adapter"), "needs a model to adapt, but `model.base` is not given")
        adapter = Adapter(self.network, training.adapter, seed=training.seed)
        self.network.to(device)
        return adapter

    def run(self) -> str:
        """Train to the end and return the reason of the end."""
        try:
            with exclusive_lock(self._made_folder()):
                if self.fresh:
                    self._create()
                # A registered reporter is a function of the run folder that returns a function of a row.
                self.record.reporters = [lookup("reporter", name)(self.folder) for name in names("reporter")]
                return self._run()
        finally:
            self.record.display.close()

    def _made_folder(self) -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_made(error) from error
        return self.folder

    def _not_made(self, error: OSError) -> DiskError:
        where = argument("output", flag="--output")
        return DiskError(f"the run folder `{self.folder}` cannot be made ({error.strerror}). Choose another {where}.")

    def _run(self) -> str:
        if not is_command_line():  # the command line has printed it already
            self.record.say(describe_machine(self.network.device, self.config.training.precision))
        self.record.say(self._describe())
        if self.adapter is not None:
            self.record.say(self.adapter.describe())
        for change in () if self.base is None else self.base.changes:
            self.record.say(change)
        if self.initial is not None and self.initial.account is not None and self.initial.account.new:
            self.record.say(f"attention was replaced: {self.initial.account}")
        if backends := describe_backends(self.network, longest=self.model.max_length):
            self.record.say(f"attention by {backends}")
        for note in self.notes:
            self.record.say(note)
        per_epoch, based = self.batches.batches_per_epoch, self.initial is not None
        known = {"batches_per_epoch": per_epoch, "based": based, "device": self.network.device}
        for line in advice(self.config.training, self.schedule, **known):
            self.record.say(line)
        if not self.fresh:
            self.loop.resume()
            self.record.display.begin(read_rows(self.folder))
        reason = self.loop.run()
        average_and_compare(self.loop)
        self.record.say(f"{reason}; the model is in `{self.folder / 'model'}`")
        return reason

    def save_best(self, network: torch.nn.Module) -> None:
        """Save the weights of `network`, the network of this run, as the run's model."""
        if self.adapter is None:
            save_model_folder(self.folder / "model", self.parts)
            return
        assert isinstance(self.recipe.model, BaseConfig) and self.base is not None
        # If the vocabulary was changed, the base of the adapter is the run's copy.
        base = str(self.folder / BASE) if self.base.changes else self.recipe.model.base
        self.adapter.save(self.folder / "adapter", base=base)
        save_model_folder(self.folder / "model", self.parts, weights=self.adapter.merged())

    def best(self) -> Model:
        """The run's model with the saved weights. It reuses the parts of the run, so nothing is imported again."""
        file = self.folder / "model" / WEIGHTS
        if self.adapter is not None:
            self.adapter.remove()
        with torch.no_grad():
            put_weights(self.network, load_weights(file), where=str(file))
        self.network.eval()
        return Model.from_parts(self.parts)

    def _create(self) -> None:
        try:
            if self.overwrite:
                clear(self.folder)
            elif (self.folder / CONFIG).exists():
                raise ConfigError(f"the run folder `{self.folder}` was free, but another process has made a run there.")
            (self.folder / TOKENIZERS).mkdir(exist_ok=True)
            if self.base is not None:
                weights = None if self.adapter is None else self.adapter.base()
                save_base(self.folder, self.base, self.recipe, weights=weights)
            for name, tokenizer in self._named_tokenizers():
                tokenizer.save(self.folder / TOKENIZERS, name)
            # Written last: a folder with a config.yaml counts as a run.
            replace_file(self.folder / CONFIG, dump_yaml(to_mapping(self.recipe)).encode())
        except OSError as error:
            raise self._not_made(error) from error

    def _named_tokenizers(self) -> Iterator[tuple[str, Tokenizer]]:
        yield "source", self.source_tokenizer
        if self.target_tokenizer is not self.source_tokenizer:
            yield "target", self.target_tokenizer

    def _tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """The tokenizers of the resumed run, else loaded from the path in the recipe, else trained on the data."""
        if self.initial is not None:
            with inside("generation"):
                spoken = speaking(self.initial)
            return spoken.source_tokenizer, spoken.target_tokenizer
        kept = self.folder / TOKENIZERS
        if not self.fresh:
            found = {file.stem: Tokenizer.load(file) for file in sorted(kept.iterdir())}
            if "source" not in found:
                raise ModelError(
                    f"the run `{self.folder}` must hold a source tokenizer in `{kept}`, but has none. Start a new run."
                )
            return found["source"], found.get("target", found["source"])
        return build_tokenizers(self.config, self.task)

    def _corpus(self, data: object, *, training: Filters | None = None) -> InMemory | Streamed:
        """The corpus of `data`. With `training` filters: filtered, sampled, mixed and streamed as the recipe says.

        Without: validation pairs, unchanged and in memory; plain text is corrupted identically each time.
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
        """The function that turns encoded target ids into the ids of an answer of the base."""
        if self.initial is None:
            return None
        return partial(
            as_answer, tokenizer=self.target_tokenizer, special_tokens=Model.from_parts(self.initial).special_tokens
        )

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
        self.notes += search.notes
        settings, batch_tokens = self.config.validation, self.config.training.batch_tokens
        made = Validate(self.parts, examples, search.pairs, settings, self.metrics, batch_tokens, search.settings)
        self.notes += made.notes
        return made

    def _describe(self) -> str:
        """A description of the run in one line."""
        model, base = self.model, self.recipe.model
        origin = f"from {base.base}" if isinstance(base, BaseConfig) else model.preset
        tokenizers = {tokenizer.vocab_size for _, tokenizer in self._named_tokenizers()}
        return (
            f"{count_parameters(self.network):,} parameters "
            f"({origin}: {model.encoder_layers}+{model.decoder_layers} layers, "
            f"d_model {model.d_model}), vocabulary {' and '.join(map(str, sorted(tokenizers)))}; {self.corpus.report}"
        )
