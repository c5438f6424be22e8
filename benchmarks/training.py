"""A training step by Antiphon's loop and by transformers, on the same weights and batches.

    make bench                                                    # after decoding
    python benchmarks/training.py --shapes small --batches 96x20  # rows x tokens, on either side
    python benchmarks/training.py --batches text                  # Multi30k, from $ANTIPHON_DATA
    python benchmarks/training.py --profile                       # where our own time goes, by operation

Ours is the step of `training/loop.py` itself: collation, dropout 0.1, label smoothing 0.1, clipping, AdamW, figures.
transformers' is a plain loop over the model that our weights were saved as (Pegasus: pre-norm, sinusoids), with the
same collation, dropout, smoothing, clipping and fused AdamW, and no figures: `transformers` with its fused attention,
`transformers-eager` without. `bfloat16` is autocast on both sides. Each engine has a process of its own, which reports
the most memory that it held; all step in turns. Milliseconds are those of the processor, all threads together, so that
what else the machine does disturbs them less; medians of the rounds with the fastest and the slowest; tokens a second
are real source and target tokens; `of rate` is the share of the product rate that the processor reaches in float32 on
4096 x 1024 x 1024, of the products that the step needs (6 for each weight that a token passes); attention's own are
left out. `ready_s` is what the first steps took beyond later ones, compilation above all, with the compilers that were
started: set TORCHINDUCTOR_COMPILE_THREADS=1, or those that still run are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from attention import Row, head, machine, say
from engines import Worker, most_held, once_a_source, product_rate

VOCABULARY = 8000
SHAPES: dict[str, dict[str, Any]] = {  # what transformers can express, in the sizes of our presets
    "small": {},
    "tiny": {"d_model": 128, "ffn_dim": 512, "encoder_layers": 2, "decoder_layers": 2},
}
KINDS = "antiphon:float32,transformers:float32,transformers-eager:float32,antiphon:bfloat16,transformers:bfloat16"
COLUMNS = (
    "shape", "batch", "engine", "ms", "fastest", "slowest",
    "tokens_s", "x_first", "of_rate", "peak_MB", "ready_s", "loss",
)  # fmt: skip
SMOOTHING, CLIP, RATE, BETAS, DECAY = 0.1, 1.0, 1e-4, (0.9, 0.98), 0.01
PAD, START, END = 0, 1, 2
Pair = tuple[list[int], list[int]]


class Job(NamedTuple):
    """Batches of (source, target) ids, to make a step of each; `dropout` False: without, to compare the losses."""

    batches: list[list[Pair]]
    dropout: bool = True


class Engine(Protocol):
    """`step` trains on one batch and gives its loss, a mean over its labels."""

    def step(self, batch: list[Pair]) -> float: ...
    def dropout(self, on: bool) -> None: ...


class Ours:
    def __init__(self, folder: Path, kind: str, *, compile: bool = False) -> None:
        import antiphon
        from antiphon.batch import Example
        from antiphon.config import TrainingConfig
        from antiphon.config.interval import Interval
        from antiphon.training.loop import Loop, LoopParts
        from antiphon.training.optim import build_optimizer
        from antiphon.training.reporting.record import RunLog, make_display
        from antiphon.training.snapshot import SnapshotStore

        self.example, self.waiting = Example, []
        network = antiphon.load(folder / "antiphon", device="cpu").network
        settings = TrainingConfig(lr=RATE, weight_decay=DECAY, precision=kind, compile=compile)
        parts = LoopParts(
            network=network,
            batches=self,
            optimizer=build_optimizer(network, settings),
            schedule=lambda step: RATE,
            validate=None,
            save_best=lambda network: None,
            record=RunLog(folder, make_display(total_steps=None, quiet=True)),
            store=SnapshotStore(folder / "snapshots", keep=None),
            pad_id=PAD,
            start_id=START,
        )
        self.loop = Loop(parts, settings, validate_every=Interval(1, "steps"))
        self.forward = self.loop.forward
        self.drops = [part for part in network.modules() if hasattr(part, "p") and hasattr(part, "site")]
        self.p = [part.p for part in self.drops]

    epoch = 0

    def __next__(self) -> list[Any]:
        return self.waiting.pop()

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass

    def dropout(self, on: bool) -> None:
        for part, p in zip(self.drops, self.p, strict=True):
            part.p = p if on else 0.0
        # Without dropout a compiled network would be compiled once more.
        self.loop.forward = self.forward if on else self.loop.network

    def step(self, batch: list[Pair]) -> float:
        self.waiting.append([self.example(source, target, index) for index, (source, target) in enumerate(batch)])
        before = self.loop.progress.window.loss, self.loop.progress.window.counted
        self.loop.step()
        window = self.loop.progress.window
        return (window.loss - before[0]) / (window.counted - before[1])


class Transformers:
    def __init__(self, folder: Path, kind: str, *, attention: str = "sdpa") -> None:
        from transformers import AutoModelForSeq2SeqLM
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        path = folder / "transformers"
        self.model = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32, attn_implementation=attention)
        self.model.train()
        self.short = kind == "bfloat16"
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY, eps=1e-9, fused=True
        )

    def dropout(self, on: bool) -> None:
        self.model.train(on)

    def step(self, batch: list[Pair]) -> float:
        source, there = padded([source for source, _ in batch], PAD)
        read, _ = padded([[START, *target[:-1]] for _, target in batch], PAD)
        labels, _ = padded([target for _, target in batch], -100)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.short):
            logits = self.model(input_ids=source, attention_mask=there, decoder_input_ids=read, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.float().view(-1, logits.shape[-1]), labels.view(-1), ignore_index=-100, label_smoothing=SMOOTHING
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())


def padded(rows: list[list[int]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids as one tensor, and which of them are there."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [fill] * (width - len(row)) for row in rows])
    return ids, (ids != fill).long()


def make(name: str, folder: Path) -> Engine:
    """The engine `library:type`."""
    library, kind = name.split(":")
    if library.startswith("antiphon"):
        return Ours(folder, kind, compile=library.endswith("-compiled"))
    return Transformers(folder, kind, attention="eager" if library.endswith("-eager") else "sdpa")


def spent() -> float:
    """Seconds of the processor, by this process and those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def serve(name: str, folder: Path, threads: int, asked: Connection) -> None:
    """A process: trains on jobs until it is told None; milliseconds, losses and peak in bytes of each."""
    torch.set_num_threads(threads)
    engine = make(name, folder)
    asked.send(None)
    while (job := asked.recv()) is not None:
        engine.dropout(job.dropout)
        began = spent()
        losses = [engine.step(batch) for batch in job.batches]
        took = 1000 * (spent() - began) / len(job.batches)
        asked.send((took, statistics.fmean(losses), most_held()))


def build(shape: str, texts: list[str] | None, folder: Path, kinds: list[str]) -> tuple[Any, tuple[int, int]]:
    """The same random weights in the form that each engine reads: the tokenizer, and the weights that a source token
    passes, and a target token."""
    from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
    from antiphon.generation.model import Model
    from antiphon.models.build import build_network
    from antiphon.models.folders.checkpoint import LoopParts
    from antiphon.text import train_tokenizer

    kind = "words" if texts is None else "bpe"
    words = [" ".join(f"w{i}" for i in range(VOCABULARY))] * 2
    tokenizer = train_tokenizer(texts or words, kind=kind, vocab_size=VOCABULARY)
    config, attention, size = ModelConfig(preset="small", **SHAPES[shape]), AttentionConfig(), tokenizer.vocab_size
    network = build_network(config, attention, source_vocab=size, target_vocab=size, shared=True)
    parts = LoopParts(network.eval(), config, attention, tokenizer, tokenizer, "text", GenerationConfig())
    assert (Model.from_parts(parts).special_tokens.pad, Model.from_parts(parts).special_tokens.start) == (PAD, START)
    Model.from_parts(parts).save(folder / "antiphon")
    if any(name.startswith("transformers") for name in kinds):
        Model.from_parts(parts).save(folder / "transformers", format="huggingface")
    once = once_a_source(network)
    return tokenizer, (once, sum(part.numel() for part in network.parameters()) - once)


def random_pairs(shape: str, count: int) -> Iterator[list[list[Pair]]]:
    """Endless batches of `ROWSxTOKENS`, `count` at a time."""
    rows, length = map(int, shape.split("x"))
    dice = torch.Generator().manual_seed(rows)
    while True:
        ids = torch.randint(260, VOCABULARY, (count, rows, 2, length), generator=dice)
        yield [[(source, target) for source, target in batch] for batch in ids.tolist()]


def multi30k(part: str = "train") -> list[tuple[str, str]]:
    """The pairs of a part, English and German."""
    from antiphon.data.lines import LineReader

    folder = Path(os.environ.get("ANTIPHON_DATA", "../shared/data")) / "multi30k" / "tok"
    names = [folder / f"{part}.lc.norm.tok.{side}.gz" for side in ("en", "de")]
    if not names[0].exists():
        raise SystemExit(
            f"Multi30k must be there, but `{names[0]}` is not. Set ANTIPHON_DATA to the folder that holds it."
        )
    return list(zip(*(LineReader(str(name)) for name in names), strict=True))


def text_batches(pairs: list[tuple[str, str]], tokenizer: Any, budget: int, count: int) -> Iterator[list[list[Pair]]]:
    """Batches of like lengths under a budget of tokens, as our own loop makes them, `count` at a time."""
    from antiphon.batch import Example
    from antiphon.data.batching import length_batches

    sides = [tokenizer.encode_batch([pair[side] for pair in pairs]) for side in (0, 1)]
    examples = [Example([*s, END], [*t, END], i) for i, (s, t) in enumerate(zip(*sides, strict=True))]
    batches = [[(e.source, e.target) for e in batch] for batch in length_batches(examples, batch_tokens=budget)]
    random.Random(0).shuffle(batches)
    while True:
        yield from (batches[at : at + count] for at in range(0, len(batches) - count, count))


def compare(workers: list[Worker], batches: Iterator[list[list[Pair]]], flags: Row) -> list[Row]:
    """A row for each engine, which train in turns."""
    first = next(batches)
    early: dict[str, float] = {}
    for worker in workers:
        loss = worker.ask(Job(first[:1], dropout=False))[1]  # of the same weights, where nothing was trained yet
        print(f"    {worker.name} without dropout: loss {loss:.5f}")
        early[worker.name] = worker.ask(Job(first))[0]
    taken: dict[str, list[tuple[float, float, int]]] = {worker.name: [] for worker in workers}
    counts: list[tuple[float, ...]] = []
    for job in islice(batches, flags["rounds"]):
        counts.append(
            (sum(len(s) for b in job for s, _ in b) / len(job), sum(len(t) for b in job for _, t in b) / len(job))
        )
        for worker in workers:
            taken[worker.name].append(worker.ask(Job(job)))
    source, target = (statistics.fmean(side) for side in zip(*counts, strict=True))
    work = 6 * (flags["weights"][0] * source + flags["weights"][1] * target)
    rows: list[Row] = []
    for name, found in taken.items():
        times = [each[0] for each in found]
        middle = statistics.median(times)
        rows.append(
            {"shape": flags["shape"], "batch": flags["batch"], "engine": name, "ms": round(middle, 1)}
            | {"fastest": round(min(times), 1), "slowest": round(max(times), 1)}
            | {"tokens_s": round(1000 * (source + target) / middle)}
            | {"x_first": round((rows[0]["ms"] if rows else middle) / middle, 2)}
            | {"of_rate": f"{work / (middle / 1000) / flags['rate']:.0%}"}
            | {"peak_MB": round(found[-1][2] / 1e6)}
            | {"ready_s": round((early[name] - middle) * len(first) / 1000, 1), "loss": round(found[-1][1], 3)}
        )
        say(rows[-1], keys=COLUMNS)
    return rows


def measure(flags: argparse.Namespace, rate: float) -> list[Row]:
    """All shapes and batches."""
    kinds, rows = flags.kinds.split(","), []
    pairs = multi30k() if "text" in flags.batches.split(",") else []
    for shape in flags.shapes.split(","):
        for batch in flags.batches.split(","):
            with tempfile.TemporaryDirectory() as made:
                texts = [text for pair in pairs for text in pair] if batch == "text" else None
                tokenizer, weights = build(shape, texts, Path(made), kinds)
                workers = [Worker(name, Path(made), flags.threads, serve=serve) for name in kinds]
                given = (
                    random_pairs(batch, flags.steps)
                    if texts is None
                    else text_batches(pairs, tokenizer, flags.batch_tokens, flags.steps)
                )
                fixed = {"shape": shape, "batch": batch, "weights": weights, "rate": rate, "rounds": flags.rounds}
                rows += compare(workers, given, fixed)
                for worker in workers:
                    worker.end()
    return rows


def profile(flags: argparse.Namespace) -> None:
    """The first kind, shape and batch under torch's profiler, in this process."""
    torch.set_num_threads(flags.threads)
    kind, shape, batch = (text.split(",")[0] for text in (flags.kinds, flags.shapes, flags.batches))
    with tempfile.TemporaryDirectory() as made:
        build(shape, None, Path(made), [kind])
        engine, batches = make(kind, Path(made)), next(random_pairs(batch, flags.steps + 1))
        engine.step(batches[0])
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
            for rows in batches[1:]:
                engine.step(rows)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=40, max_name_column_width=60))


def main() -> None:
    """Measure, print, and write down."""
    parser = argparse.ArgumentParser(description="A training step by several engines, on the same weights.")
    parser.add_argument("--shapes", default="tiny,small", help="between commas")
    parser.add_argument("--batches", default="96x20,128x16,text", help="rows x tokens, or text, between commas")
    parser.add_argument("--kinds", default=KINDS, help="engine:type, between commas; also antiphon-compiled:float32")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="of a batch of text")
    parser.add_argument("--steps", type=int, default=2, help="steps of an engine before the next one's turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="where our own time goes, instead of the table")
    parser.add_argument("--json", type=Path, help="where the figures go")
    flags = parser.parse_args()
    flags.device = "cpu"
    if flags.profile:
        profile(flags)
        return
    rate = product_rate(flags.threads, clock=time.process_time)
    print(f"{flags.threads} thread(s), products in float32: {rate / 1e9:.0f} GFLOP/s of processor time")
    head(COLUMNS)
    rows = measure(flags, rate)
    if flags.json:
        flags.json.write_text(json.dumps({"machine": machine(flags), "product_rate": rate, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
