"""What a run records beside its figures: `run.json`, the answers of its best validation, and its reporters.

recorder = RunRecorder(config, folder, say, device=device, first_step=0)
with recorder.running(log):                  # opens the reporters of `training.log_to`, and closes them
    recorder.describe(network, data, validate)
    recorder.reason = loop.run()
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from antiphon.config import TrainConfig
from antiphon.data import InMemory
from antiphon.data.fingerprint import fingerprints
from antiphon.errors import is_command_line
from antiphon.models.folders.files import replace_file
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import count_parameters
from antiphon.models.summary import attention_kinds
from antiphon.recipe import to_mapping
from antiphon.reports.answers import ANSWERS, ValidAnswer
from antiphon.reports.machine import command_line, machine_facts
from antiphon.reports.run_file import read_run_file, write_run_file
from antiphon.training.energy import EnergyMeter
from antiphon.training.reporting.record import RunLog
from antiphon.training.reporting.reporters import open_reporters
from antiphon.workflows.run_data import RunData
from antiphon.workflows.validate import Validate

WRITE_SECONDS = 60.0  # between two updates of run.json: a killed run then lacks at most a minute of its cost
MAX_WORD_COUNT = 1000  # larger counts of the words of references are recorded as this


class RunRecorder:
    """Records one start of a run, or its continuation from `first_step`. `reason` is why training ended; None: it did
    not."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        say: Callable[[str], None],
        *,
        device: torch.device,
        first_step: int,
    ) -> None:
        self.config, self.folder, self.say, self.first_step = config, folder, say, first_step
        self.reason: str | None = None
        self.content = read_run_file(folder) if first_step else {}
        self.start: dict[str, Any] = {
            "command": command_line() if is_command_line() else None,
            "first_step": first_step,
            "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **machine_facts(device),
        }
        self.energy = EnergyMeter(device)
        self._began = self._written = time.monotonic()
        self._failed = False

    @contextmanager
    def running(self, log: RunLog) -> Iterator[None]:
        """The context of training: rows go to the display, to the reporters, and to this object."""
        chosen = open_reporters(
            self.config.training.log_to,
            self.folder,
            recipe=to_mapping(self.config),
            resumed_at=self.first_step or None,
            say=self.say,
            search_folder=Path(self.config.folder) if self.config.folder else None,
        )
        log.reporters = [*chosen, self]
        starts = self.content.get("starts")
        self.content["starts"] = [*(starts if isinstance(starts, list) else []), self.start]
        try:
            yield
        finally:
            for reporter in chosen:
                reporter.close(failed=self.reason is None)
            self.write()

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take note of a row of figures."""
        self.energy.read()
        self.start["last_step"] = row["step"]
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.write()

    def describe(self, network: EncoderDecoder, data: RunData, validate: Validate | None) -> None:
        """Record what is trained on what."""
        train, profile = data.train, data.profile
        about: dict[str, Any] = {
            "pairs": train.report.kept,
            "read": str(train.report),
            "files": train.files,
            "tokens": train.tokens if isinstance(train, InMemory) else None,
            "profiled_pairs": profile.pairs,
            "source_tokens": profile.lengths("source"),
            "target_tokens": profile.lengths("target"),
        }
        self.content["data"] = {"train": about}
        if validate is not None:
            valid = {"pairs": len(validate.pairs), "files": fingerprints(self.config.data.valid)}
            self.content["data"]["valid"] = valid
            words = {word for _, references in validate.pairs for text in references for word in text.split()}
            counted = profile.frequencies(sorted(words)) if profile.pairs else {}
            self.content["word_counts"] = {word: min(count, MAX_WORD_COUNT) for word, count in counted.items()}
        self.content["network"] = {
            "parameters": count_parameters(network),
            "trainable": sum(each.numel() for each in network.parameters() if each.requires_grad),
            "encoder_layers": len(network.encoder.layers),
            "decoder_layers": len(network.decoder.layers),
            "vocabulary": list(network.table_sizes),
            "attention": attention_kinds(network),
        }
        self.write()

    def write(self) -> None:
        """Write `run.json`. A disk that is full is said once: nothing that training needs is in the file."""
        self.energy.read()
        self._written = time.monotonic()
        self.start |= {
            "seconds": round(self._written - self._began, 1),
            "energy_joules": {part: round(joules, 1) for part, joules in self.energy.joules.items()},
            "energy_unknown": self.energy.unknown,
            "ended": self.reason,
        }
        try:
            write_run_file(self.folder, self.content)
        except OSError as error:
            if not self._failed:
                self.say(f"`{self.folder / 'run.json'}` cannot be written ({error.strerror}); the run goes on")
            self._failed = True


def write_answers(folder: Path, validate: Validate, *, step: int, say: Callable[[str], None]) -> None:
    """Write the answers of the last validation to `valid_answers.jsonl`, atomically."""
    rows = [
        ValidAnswer(step, source, list(references), answer).as_json()
        for (source, references), answer in zip(validate.pairs, validate.last_answers, strict=False)
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        replace_file(folder / ANSWERS, text.encode("utf-8", "replace"))
    except OSError as error:
        say(f"`{folder / ANSWERS}` cannot be written ({error.strerror}); the run goes on")
