"""How much processor time training takes to a validation loss: `antiphon.train` and transformers' `Seq2SeqTrainer`.

    ANTIPHON_DATA=../shared/data python benchmarks/to_loss.py --seconds 300 --json to_loss.json

Multi30k, English to German, one tokenizer and one shape of model for both, Pegasus's on the other side. Ours trains by
the settings of `OURS`, those of `recipes/multi30k-en-fr.yaml`; theirs by `THEIRS` (batches grouped by length, fused
AdamW, label smoothing, linear decay). Their rate, then their batch, then their warm-up are those that give the lowest
loss in trials of `--trial` seconds, each with a schedule of its own that ends there. A third run is ours with AdamW at
the rate, warm-up and decay that theirs takes, so that what the optimizer does and what the engine does stand apart.
Each schedule ends where its seconds end, by the time that a step took in a short run or a trial. Time is that of the
process, which takes no notice of what else runs, validation apart. The loss is nats a target token on the validation
pairs, end included, without smoothing. Processes run at once.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from attention import machine
from training import END, PAD, START, multi30k, padded

MODEL = {"preset": "small", "d_model": 128, "num_heads": 4, "ffn_dim": 512, "dropout": 0.1, "max_length": 256}
OURS: dict[str, Any] = {"optimizer": "muon", "lr": 4e-3, "schedule": "cosine", "batch_tokens": 1024}
THEIRS: dict[str, Any] = {
    "train_sampling_strategy": "group_by_length",
    "lr_scheduler_type": "linear",
    "adam_beta2": 0.98,
}
SMOOTHING, CALIBRATION = 0.1, 12  # steps of a short run that tells what a step takes


class Point(NamedTuple):
    """A validation: after how many steps and seconds of the processor, and what it found."""

    step: int
    seconds: float
    loss: float


class Choice(NamedTuple):
    """Settings that are chosen by trial."""

    rate: float
    batch: int  # pairs
    warmup: float  # share of the steps


class Asked(NamedTuple):
    """A run of one engine."""

    engine: str  # antiphon, antiphon-adamw, transformers
    folder: Path  # tokenizer.json, model/, transformers/
    layers: int
    steps: int
    every: int  # steps from validation to validation
    choice: Choice  # `antiphon` takes the warm-up alone, `antiphon-adamw` no batch
    short: bool = False  # to tell what a step takes

    @property
    def warmup_steps(self) -> int:
        return round(self.choice.warmup * self.steps)


def ours(asked: Asked, train: Sequence[Any], valid: Sequence[Any]) -> list[Point]:
    """By `antiphon.train`, which measures the loss itself."""
    import antiphon

    rows: list[tuple[float, Mapping[str, Any]]] = []

    def reporter(folder: Path) -> Callable[[Mapping[str, Any]], None]:
        return lambda row: rows.append((time.process_time(), row))

    antiphon.register("reporter", "processor_time")(reporter)
    with tempfile.TemporaryDirectory() as made:
        own = {"optimizer": "adamw", "lr": asked.choice.rate, "schedule": "linear"} if "adamw" in asked.engine else {}
        recipe = {
            "task": "translation",
            "data": {"train": list(train), "valid": list(valid)},
            "tokenizer": {"kind": str(asked.folder / "source.json"), "shared": True},
            "model": {**MODEL, "encoder_layers": asked.layers, "decoder_layers": asked.layers},
            "training": {
                **OURS,
                **own,
                "max_steps": asked.steps,
                "warmup_steps": asked.warmup_steps,
                "label_smoothing": SMOOTHING,
                "log_every_steps": 1,
                "save_every_steps": 10 * asked.steps,
            },
            "validation": {"every_steps": asked.every, "samples": 0},
            "output": f"{made}/run",
        }
        antiphon.train(recipe, quiet=True)
    return points(rows)


def points(rows: list[tuple[float, Mapping[str, Any]]]) -> list[Point]:
    """The validations among rows that were written behind each step, with the time of the steps alone. The first step,
    before which the data was read, counts as the mean of the others of its interval."""
    found: list[Point] = []
    spent, before = 0.0, rows[0][0]
    for now, row in rows:
        if "valid_loss" in row:
            first = spent / (row["step"] - 1) if not found else 0.0
            spent += first
            found.append(Point(row["step"], spent, row["valid_loss"]))
        else:
            spent += now - before
        before = now
    return found


def theirs(asked: Asked, train: Sequence[Any], valid: Sequence[Any]) -> list[Point]:
    """By `Seq2SeqTrainer`; the loss is measured between its steps."""
    from transformers import (
        AutoModelForSeq2SeqLM,
        PrinterCallback,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        TrainerCallback,
    )
    from transformers.utils import logging

    from antiphon.text import Tokenizer

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = Tokenizer.load(asked.folder / "source.json")
    model = AutoModelForSeq2SeqLM.from_pretrained(asked.folder / "transformers", dtype=torch.float32)
    sets = [encoded(tokenizer, pairs) for pairs in (train, valid)]
    held = sorted(sets[1], key=lambda row: (len(row["input_ids"]), len(row["labels"])))
    found: list[Point] = []

    class Watch(TrainerCallback):
        began, spent = 0.0, 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began = self.began or time.process_time()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % asked.every and state.global_step < asked.steps:
                return
            self.spent += time.process_time() - self.began
            found.append(Point(state.global_step, self.spent, held_loss(model, held)))
            model.train()
            self.began = time.process_time()

    with tempfile.TemporaryDirectory() as made:
        settings = Seq2SeqTrainingArguments(
            output_dir=made,
            max_steps=asked.steps,
            learning_rate=asked.choice.rate,
            per_device_train_batch_size=asked.choice.batch,
            warmup_steps=asked.warmup_steps,
            label_smoothing_factor=SMOOTHING,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            **THEIRS,
        )
        trainer = Seq2SeqTrainer(model=model, args=settings, train_dataset=sets[0], data_collator=collated)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Watch())
        trainer.train()
    return found


def encoded(tokenizer: Any, pairs: Sequence[Any]) -> list[dict[str, list[int]]]:
    """Pairs as ids, each side with its end."""
    sides = [tokenizer.encode_batch([pair[side] for pair in pairs]) for side in (0, 1)]
    return [{"input_ids": [*s, END], "labels": [*t, END]} for s, t in zip(*sides, strict=True)]


def collated(rows: Sequence[Mapping[str, list[int]]]) -> dict[str, torch.Tensor]:
    """A batch as transformers' models take it."""
    source, there = padded([row["input_ids"] for row in rows], PAD)
    labels, _ = padded([row["labels"] for row in rows], -100)
    read, _ = padded([[START, *row["labels"][:-1]] for row in rows], PAD)
    return {"input_ids": source, "attention_mask": there, "decoder_input_ids": read, "labels": labels}


@torch.no_grad()
def held_loss(model: Any, rows: Sequence[Mapping[str, list[int]]]) -> float:
    """Nats a target token, end included, without smoothing or dropout."""
    model.eval()
    total = labels = 0.0
    for start in range(0, len(rows), 64):
        batch = collated(rows[start : start + 64])
        wanted = batch.pop("labels")
        logits = model(**batch, use_cache=False).logits
        total += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum"))
        labels += int((wanted >= 0).sum())
    return total / labels


def prepare(folder: Path, pairs: Sequence[Any], *, vocab_size: int, layers: int) -> None:
    """One tokenizer, and a model with random weights as transformers reads it."""
    from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
    from antiphon.generation.model import Model
    from antiphon.models.build import build_network
    from antiphon.models.folders.checkpoint import Parts
    from antiphon.text import train_tokenizer

    tokenizer = train_tokenizer([text for pair in pairs for text in pair], kind="bpe", vocab_size=vocab_size)
    tokenizer.save(folder, "source")
    config, attention = ModelConfig(**MODEL, encoder_layers=layers, decoder_layers=layers), AttentionConfig()
    size = tokenizer.vocab_size
    network = build_network(config, attention, source_vocab=size, target_vocab=size, shared=True)
    parts = Parts(network.eval(), config, attention, tokenizer, tokenizer, "translation", GenerationConfig())
    Model.from_parts(parts).save(folder / "transformers", format="huggingface")


def run(asked: Asked, threads: int) -> list[Point]:
    """A run in a process of its own."""
    torch.set_num_threads(threads)
    train, valid = multi30k(), multi30k("val")
    if asked.short:  # one whole epoch of theirs, since batches grouped by length begin with the longest
        train, valid = train[: asked.steps * asked.choice.batch], valid[:64]
    curve = (theirs if asked.engine == "transformers" else ours)(asked, train, valid)
    print(asked.engine, *asked.choice, f"{asked.steps} steps", line(curve), flush=True)
    return curve


def line(curve: Sequence[Point]) -> str:
    """A curve as text."""
    return "  ".join(f"{point.seconds:.0f}s {point.loss:.3f}" for point in curve)


def step_seconds(curve: Sequence[Point]) -> float:
    """What a step took, its first interval apart."""
    first, last = curve[0], curve[-1]
    return (last.seconds - first.seconds) / (last.step - first.step)


def seconds_to(curve: Sequence[Point], loss: float) -> float | None:
    """When the curve first was at `loss`, between its points by a line; None: never."""
    for before, after in pairwise(curve):
        if after.loss <= loss < before.loss:
            share = (before.loss - loss) / (before.loss - after.loss)
            return before.seconds + share * (after.seconds - before.seconds)
    return None


class Bench:
    """Runs in processes of their own, by the seconds that they may take."""

    def __init__(self, folder: Path, flags: argparse.Namespace, pool: Executor) -> None:
        self.folder, self.flags, self.pool = folder, flags, pool
        self.trials: dict[Choice, float] = {}  # their losses
        self.costs: dict[int, float] = {}  # seconds of a step of theirs, by pairs

    def start(
        self, engine: str, choice: Choice, *, steps: int, points: int, short: bool = False
    ) -> Future[list[Point]]:
        """A run of so many steps."""
        asked = Asked(engine, self.folder, self.flags.layers, steps, max(2, steps // points), choice, short)
        return self.pool.submit(run, asked, self.flags.threads)

    def cost(self, engine: str, choice: Choice) -> float:
        """Seconds of a step, by a short run."""
        return step_seconds(self.start(engine, choice, steps=CALIBRATION, points=2, short=True).result())

    def whole(self, engine: str, choice: Choice, cost: float) -> Future[list[Point]]:
        """A run of `--seconds`, whose step takes `cost`."""
        return self.start(engine, choice, steps=round(self.flags.seconds / cost), points=self.flags.points)

    def better(self, choices: Sequence[Choice]) -> Choice:
        """The best of all that were tried, after these were."""
        for choice in choices:
            if choice.batch not in self.costs:
                self.costs[choice.batch] = self.cost("transformers", choice)
        left = [choice for choice in choices if choice not in self.trials]
        for _ in range(3):  # once more where a step took another time, so that all have had the same
            steps = [round(self.flags.trial / self.costs[choice.batch]) for choice in left]
            counted = zip(left, steps, strict=True)
            begun = [self.start("transformers", choice, steps=count, points=2) for choice, count in counted]
            curves = {choice: future.result() for choice, future in zip(left, begun, strict=True)}
            for choice, curve in curves.items():
                self.trials[choice], self.costs[choice.batch] = curve[-1].loss, step_seconds(curve)
            left = [choice for choice, curve in curves.items() if not 0.9 < curve[-1].seconds / self.flags.trial < 1.1]
        return min(self.trials, key=lambda choice: self.trials[choice])


def measure(bench: Bench, flags: argparse.Namespace) -> dict[str, list[Point]]:
    """The curves of all three."""
    rates, batches, warmups = (numbers(text) for text in (flags.rates, flags.batches, flags.warmups))
    best = Choice(rates[0], round(batches[0]), warmups[0])
    cost = bench.cost("antiphon", best)
    begun = {"antiphon": bench.whole("antiphon", best, cost)}
    best = bench.better([best._replace(rate=rate) for rate in rates])
    best = bench.better([best._replace(batch=round(batch)) for batch in batches])
    best = bench.better([best._replace(warmup=warmup) for warmup in warmups])
    print(f"theirs takes {best}, {bench.costs[best.batch]:.3f} s a step", flush=True)
    begun["transformers"] = bench.whole("transformers", best, bench.costs[best.batch])
    begun["antiphon-adamw"] = bench.whole("antiphon-adamw", best, cost)
    return {engine: future.result() for engine, future in begun.items()}


def numbers(text: str) -> list[float]:
    """Those between commas."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Measure, print, and write down."""
    parser = argparse.ArgumentParser(description="Processor time to a validation loss, by two engines.")
    parser.add_argument("--seconds", type=float, default=300, help="of the processor, that each run trains for")
    parser.add_argument("--trial", type=float, default=60, help="seconds in which a setting of theirs is tried")
    parser.add_argument("--rates", default="2e-3,4e-3,8e-3", help="theirs, between commas")
    parser.add_argument("--batches", default="32,16,64", help="theirs in pairs, between commas; rates by the first")
    parser.add_argument("--warmups", default="0.1,0.05,0.2", help="theirs as shares of the steps; ours has the first")
    parser.add_argument("--layers", type=int, default=3, help="of each stack")
    parser.add_argument("--vocabulary", type=int, default=6000)
    parser.add_argument("--points", type=int, default=12, help="validations of each run")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--processes", type=int, default=4, help="at once")
    parser.add_argument("--json", type=Path, help="where the figures go")
    flags = parser.parse_args()
    flags.device = "cpu"
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max_workers=flags.processes, mp_context=spawn, max_tasks_per_child=1)
    with pool, tempfile.TemporaryDirectory() as made:
        prepare(Path(made), multi30k(), vocab_size=flags.vocabulary, layers=flags.layers)
        bench = Bench(Path(made), flags, pool)
        curves = measure(bench, flags)
    for engine, curve in curves.items():
        print(engine, line(curve), sep="  ")
    goal = max(curve[-1].loss for curve in curves.values())
    times = {engine: seconds_to(curve, goal + 1e-9) for engine, curve in curves.items()}
    print(f"seconds to {goal:.3f}: {times}")
    if flags.json:
        trials = [{**choice._asdict(), "loss": loss} for choice, loss in bench.trials.items()]
        found = {"machine": machine(flags), "trials": trials, "goal": goal, "seconds": times, "curves": curves}
        flags.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
