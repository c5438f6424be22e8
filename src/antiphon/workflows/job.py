"""The parts of one training run: built from a recipe, then run in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from antiphon.config import ROLES, BaseConfig, ModelConfig, TrainConfig
from antiphon.data import LoadedBatches, Streamed
from antiphon.devices import bound_primitive_cache, describe_machine
from antiphon.distributed.world import World
from antiphon.errors import is_command_line
from antiphon.evaluation.metrics import know_labels, parse_metrics
from antiphon.generation.languages import speaking
from antiphon.generation.model import Model
from antiphon.inputs.leading_text import prefixes_of, template_of
from antiphon.models.attentions import saved_spec
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import (
    WEIGHTS,
    Parts,
    load_weights,
    named_weights,
    put_weights,
    save_model_folder,
)
from antiphon.models.stack import count_parameters
from antiphon.nn.attention import describe_backends
from antiphon.recipe import to_mapping
from antiphon.reports.run_report import write_end_report
from antiphon.settings import SettingError, inside, saying
from antiphon.text import Tokenizer, load_task
from antiphon.training.adapters import Adapter
from antiphon.training.lock import FolderLock
from antiphon.training.optim import build_schedule, find_optimizer
from antiphon.training.reporting.advice import advice
from antiphon.training.reporting.record import MutedLog, RunLog, make_display, read_rows
from antiphon.training.reporting.reporters import check_reporters
from antiphon.workflows.answer_settings import saved_search_settings
from antiphon.workflows.average import average_and_compare
from antiphon.workflows.base import BASE, InitialModel, apply_base
from antiphon.workflows.folder import RunStart
from antiphon.workflows.labels import check_labels, with_labels
from antiphon.workflows.media import check_trainable, with_media
from antiphon.workflows.ranks import build_loop, opened_run, shared_tokenizers
from antiphon.workflows.recording import RunRecorder, write_answers
from antiphon.workflows.run_data import RunData, saying_what_is_kept
from antiphon.workflows.teacher import load_teacher


class TrainingJob:
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
        world: World | None = None,
    ) -> None:
        bound_primitive_cache()
        self.fresh, self.overwrite, self.world = fresh, overwrite, world or World()
        # The languages of `generation` are needed from here on, also to encode targets.
        self.base, self.initial = base, None if base is None else replace(base.parts, generation=recipe.generation)
        config = recipe if self.initial is None else apply_base(recipe, self.initial)
        self.recipe, self.config, self.folder = recipe, config, folder
        assert isinstance(config.model, ModelConfig)
        self.model: ModelConfig = config.model
        with saying("task"):
            self.task = with_labels(with_media(load_task(config.task, folder=self.recipe_folder), config), config)
        self.metrics = know_labels(parse_metrics(config.validation.metrics), sorted(set(self.task.labels.values())))
        for role in ROLES:
            # An attention that cannot be saved is an error now, not after training.
            saved_spec(getattr(config.attention, role))
        schedule = build_schedule(config.training, folder=self.recipe_folder)
        find_optimizer(config.training, folder=self.recipe_folder)
        check_reporters(config.training.log_to, folder=self.recipe_folder)
        self.data = RunData(config, self.task)
        tokenizers = self._tokenizers()
        check_labels(self.task.labels.values(), tokenizers[1], self.model.max_length)
        self.data.load(tokenizers, initial=self.initial)
        self.batches = self.data.batches(self.world)
        self.parts = self._parts(device)
        self.network = self.parts.network
        special_tokens = Model.from_parts(self.parts).special_tokens
        teacher = load_teacher(config, self.network, *tokenizers, special_tokens)
        self.adapter = self._adapter(device)
        self.validate, notes = self.data.validator(self.parts, self.metrics)
        self.notes += notes
        self._lock: FolderLock | None = None
        display = make_display(total_steps=config.training.max_steps, quiet=quiet)
        self.record = RunLog(folder, display) if self.world.main else MutedLog(folder, display)
        known: dict[str, Any] = {"network": self.network, "batches": self.batches, "schedule": schedule}
        known |= {"validate": self.validate, "save_best": self.save_best, "record": self.record, "teacher": teacher}
        known |= {"check": self.check_lock, "pad_id": special_tokens.pad, "start_id": special_tokens.start}
        known["special_ids"] = tuple({special_tokens.start, special_tokens.end, *special_tokens.first})
        self.loop, said = build_loop(config, self.world, folder, known)
        self.notes += said

    @property
    def recipe_folder(self) -> Path | None:
        """The folder in which modules that the recipe names are found."""
        return Path(self.config.folder) if self.config.folder else None

    def _parts(self, device: torch.device) -> Parts:
        """The run's model: the base, or a freshly initialized network. Sources are read as in generation."""
        config, sides = self.config, self.data.tokenizers
        base, media = None if self.base is None else self.base.parts, self.task.media
        template = "" if media else template_of(config.data.train)
        generation, self.notes = saved_search_settings(
            config, base=base, corpus=self.data.train, max_length=self.model.max_length
        )
        if template:
            self.notes += (f"answers put each text into the template of the data, {template!r}",)
        prefixes = () if media else prefixes_of(config.data.train)
        prefixes += () if self.initial is None else self.initial.prefixes
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
        new = () if self.base is None else self.base.new_layers
        adapter = Adapter(self.network, training.adapter, seed=training.seed, new=new)
        self.network.to(device)
        return adapter

    def run(self) -> tuple[str, Model]:
        """Train to the end and write the report; returns the reason of the end, and the best model."""
        try:
            with opened_run(self.world, self.folder, self._start, overwrite=self.overwrite) as self._lock:
                reason = self._run()
                model = self._best()
                if self.world.main:
                    said = f"{reason}; the model is in `{self.folder / 'model'}`"
                    known: dict[str, Any] = {"model": model, "metrics": self.metrics, "say": self.record.say}
                    report = write_end_report(self.folder, to_mapping(self.recipe), **known)
                    self.record.say(said if report is None else f"{said}, a report in `{report}`")
                return reason, model
        finally:
            self.record.display.close()
            if isinstance(self.batches, LoadedBatches):
                self.batches.close()

    def _start(self) -> RunStart | None:
        """What the folder of a new run begins with; None if the run goes on."""
        if not self.fresh:
            return None
        weights = None if self.base is None or self.adapter is None else self.adapter.base()
        return RunStart(self.recipe, dict(self._named_tokenizers()), self.base, weights)

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
        for line in advice(self.config.training, self.loop.parts.schedule, **known):
            self.record.say(line)
        if not self.fresh:
            self.loop.resume()
            if self.world.main:
                self.record.display.begin(read_rows(self.folder))
        if not self.world.main:
            reason = self.loop.run()
            average_and_compare(self.loop)
            return reason
        step, device = self.loop.progress.step, self.network.device
        recorder = RunRecorder(self.recipe, self.folder, self.record.say, device=device, first_step=step)
        recorder.start["guards"] = self.loop.protection.events.rows
        with recorder.running(self.record):
            recorder.describe(self.network, self.data, self.validate)
            with saying_what_is_kept(self.loop.parts.store):
                reason = self.loop.run()
            average_and_compare(self.loop)
            recorder.reason = reason
            if isinstance(self.data.train, Streamed):  # counted while it was read
                recorder.describe(self.network, self.data, self.validate)
        return reason

    def check_lock(self) -> None:
        """LeaseLostError if another process has taken the run folder over."""
        if self._lock is not None:
            self._lock.check()

    def save_best(self, network: torch.nn.Module) -> None:
        """Save the weights of `network`, the network of this run, as the run's model, and the last answers."""
        self.check_lock()
        if not self.world.main:
            return
        self._save_model()
        if self.validate is not None:
            write_answers(self.folder, self.validate, step=self.loop.progress.step, say=self.record.say)

    def _save_model(self) -> None:
        if self.adapter is None:
            save_model_folder(self.folder / "model", self.parts)
            return
        assert isinstance(self.recipe.model, BaseConfig) and self.base is not None
        # If the vocabulary was changed or a layer is new, the base of the adapter is the run's copy.
        base = str(self.folder / BASE) if self.base.changes else self.recipe.model.base
        self.adapter.save(self.folder / "adapter", base=base)
        save_model_folder(self.folder / "model", self.parts, weights=self.adapter.merged())

    def _best(self) -> Model:
        """The run's model with the saved weights. It reuses the parts of the run, so nothing is imported again."""
        file = self.folder / "model" / WEIGHTS
        if self.adapter is not None:
            self.adapter.remove()
        with torch.no_grad():
            if self.world.main:
                put_weights(self.network, load_weights(file), where=str(file))
            self.world.copy(named_weights(self.network).values())
        self.network.eval()
        return Model.from_parts(self.parts)

    def _named_tokenizers(self) -> Iterator[tuple[str, Tokenizer]]:
        source, target = self.data.tokenizers
        yield "source", source
        if target is not source:
            yield "target", target

    def _tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """The tokenizers of the resumed run, else loaded from the path in the recipe, else trained on the data."""
        if self.initial is not None:
            with inside("generation"):
                spoken = speaking(self.initial)
            with saying("model", "base"):
                check_trainable(spoken)
            return spoken.source_tokenizer, spoken.target_tokenizer
        return shared_tokenizers(self.world, self.config, self.task, run=None if self.fresh else self.folder)

    def _describe(self) -> str:
        """A description of the run in one line."""
        model, base = self.model, self.recipe.model
        origin = f"from {base.base}" if isinstance(base, BaseConfig) else model.preset
        tokenizers = {tokenizer.vocab_size for _, tokenizer in self._named_tokenizers()}
        sizes, read = " and ".join(map(str, sorted(tokenizers))), self.data.train.report
        return (
            f"{count_parameters(self.network):,} parameters "
            f"({origin}: {model.encoder_layers}+{model.decoder_layers} layers, "
            f"d_model {model.d_model}), vocabulary {sizes}; {read}"
        )
