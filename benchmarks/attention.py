"""What attention costs: back ends by length, memory by length, rules in a training step and in a decode step.

    python benchmarks/attention.py                      # back ends: milliseconds forward and backward, memory
    python benchmarks/attention.py --memory             # a long row in training, a long target in decoding
    python benchmarks/attention.py --rules              # rules in a training step and a decode step of a preset
    python benchmarks/attention.py --json FILE          # the same as JSON

On a CPU times are those of the processor, not of the clock, so that what else runs disturbs them less (it still takes
cache and bandwidth: take a quiet machine for a figure to quote); medians of `--repeats`. On a GPU they are the clock's.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.batch import Example, Tokens, collate
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.models.build import build_network, build_rule
from antiphon.nn.attend import BACKENDS, attend, choose, plan
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.rules import ScoreRule

HEADS, DIM = 8, 64
KINDS: dict[str, object] = {
    "full": "full",
    "alibi": "alibi",
    "relative": "relative",
    "window 128": {"window": 128},
    "alibi, window 128": {"all": ["alibi", {"window": 128}]},
    "relative, window 128": {"all": ["relative", {"window": 128}]},
}
Row = dict[str, Any]


def main() -> None:
    """Measure what the flags ask for, print it, and write it down."""
    parser = argparse.ArgumentParser(description="What attention costs.")
    parser.add_argument("--memory", action="store_true", help="memory of long rows and long targets")
    parser.add_argument("--rules", action="store_true", help="rules in a training step and in a decode step")
    parser.add_argument("--preset", default="base", help="the model of --rules")
    parser.add_argument("--rows", type=int, default=8, help="rows of a step of --rules")
    parser.add_argument("--length", type=int, default=128, help="tokens of each, on either side")
    parser.add_argument("--longest", type=int, default=8192, help="longest row, in tokens")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of a call, at least one row")
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    parser.add_argument("--kinds", default="", help="names of rules, between semicolons")
    parser.add_argument("--forward", action="store_true", help="without backward")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the figures go")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    measure = memory if flags.memory else rules if flags.rules else back_ends
    rows = list(measure(flags))
    if flags.json:
        flags.json.write_text(json.dumps({"machine": machine(flags), "rows": rows}, indent=1) + "\n")


def machine(flags: argparse.Namespace) -> Row:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        name = found[1] if found else name
    card = torch.cuda.get_device_name() if flags.device == "cuda" else None
    return {"processor": name, "card": card, "torch": torch.__version__, "threads": flags.threads, "argv": sys.argv[1:]}


def say(row: Row, *, keys: tuple[str, ...]) -> None:
    """A row of the table."""
    print("  ".join(f"{row[key]:>{max(10, len(key))}}" for key in keys), flush=True)


def head(keys: tuple[str, ...]) -> None:
    """The names of its columns."""
    print("  ".join(f"{key:>{max(10, len(key))}}" for key in keys), flush=True)


def milliseconds(run: Callable[[], object], *, repeats: int, device: str) -> float:
    """The median time of `run`: of the processor on a CPU, of the clock on a GPU."""
    run()
    times = []
    for _ in range(repeats):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter() if device == "cuda" else time.process_time()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() if device == "cuda" else time.process_time()) - began)
    return 1000 * statistics.median(times)


@contextmanager
def peak(device: str) -> Iterator[Row]:
    """The most memory in use above what was in use before, as `megabytes`: of the process, or of the card."""
    found: Row = {}
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found["megabytes"] = round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD: what is large is taken from the system, and given back at once
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
    before = _status("VmRSS")
    yield found
    found["megabytes"] = round((_status("VmHWM") - before) / 1e6, 1)


def _status(key: str) -> int:
    """Bytes, from what Linux says of this process."""
    found = re.search(rf"{key}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def made(kind: object, role: str = "decoder") -> ScoreRule:
    """The rule that a recipe calls so."""
    rule = build_rule(kind)
    assert isinstance(rule, ScoreRule)
    rule.setup(num_heads=HEADS, head_dim=DIM, role=role)
    return rule


def two_layers(
    name: str, rule: ScoreRule, tokens: Tokens, parts: tuple[Tensor, ...], *, backward: bool
) -> Callable[[], None]:
    """Attention of two layers, which share what the rule says."""

    def run() -> None:
        with torch.set_grad_enabled(backward):
            scores = plan(rule, tokens.fresh(), tokens, causal=True, num_heads=HEADS)
            outs = [attend(*parts, scores, scale=DIM**-0.5, backend=name) for _ in range(2)]
            if backward:
                torch.autograd.grad(torch.stack([out.sum() for out in outs]).sum(), parts)

    return run


def back_ends(flags: argparse.Namespace) -> Iterator[Row]:
    """Each back end on each rule by length, causal self-attention of 8 heads of 64, until one is far too slow."""
    keys = ("rule", "length", "rows", "backend", "ms", "megabytes", "chosen")
    head(keys)
    kinds = [name for name in KINDS if not flags.kinds or name in flags.kinds.split(";")]
    for kind in kinds:
        rule, length = made(KINDS[kind]).to(flags.device), 16
        while length <= flags.longest:
            rows = max(1, flags.tokens // length)
            shape, dtype = (rows, HEADS, length, DIM), getattr(torch, flags.dtype)
            q, k, v = (
                torch.randn(shape, dtype=dtype, device=flags.device).requires_grad_(not flags.forward) for _ in "qkv"
            )
            tokens = Tokens(torch.arange(length, device=flags.device).expand(rows, -1).contiguous())
            for name in BACKENDS:
                scores = plan(rule, tokens.fresh(), tokens, causal=True, num_heads=HEADS)
                if (name == "eager" and length > 4096) or BACKENDS[name].refuses(q, k, scores) is not None:
                    continue
                if name == "flex" and flags.device == "cpu":
                    continue  # uncompiled it is the definition, slowly

                run = two_layers(name, rule, tokens, (q, k, v), backward=not flags.forward)
                repeats = flags.repeats if length <= 1024 else 1
                ms = milliseconds(run, repeats=repeats, device=flags.device)
                with peak(flags.device) as found:
                    run()
                row = {"rule": kind, "length": length, "rows": rows, "backend": name, "ms": round(ms, 2), **found}
                row["chosen"] = "*" if choose(q, k, scores, dropout=None) == name else ""
                say(row, keys=keys)
                yield row
            length *= 2


def network(kind: object, *, preset: str, longest: int, layers: int | None = None, backend: str = "auto"):  # noqa: ANN201
    """A model whose self-attention is of a kind."""
    few = {} if layers is None else {"encoder_layers": layers, "decoder_layers": layers}
    model = ModelConfig(preset=preset, max_length=longest, positions="none", dropout=0.0, **few)
    attention = AttentionConfig(encoder=kind, decoder=kind, backend=backend)  # type: ignore[arg-type]
    return build_network(model, attention, source_vocab=8000, target_vocab=8000, shared=True)


def batch_of(rows: int, source: int, target: int) -> Any:
    """Rows of random ids."""
    generator = torch.Generator().manual_seed(1)

    def draw(length: int) -> list[int]:
        return torch.randint(4, 8000, (length,), generator=generator).tolist()

    return collate([Example(draw(source), draw(target), i) for i in range(rows)], pad_id=0, start_id=1)


def memory(flags: argparse.Namespace) -> Iterator[Row]:
    """With a window of 128: training on one long source, and decoding to a long target."""
    keys = ("what", "length", "by", "megabytes", "cache_kB")
    head(keys)
    lengths = [512 << i for i in range(20) if 512 << i <= flags.longest]
    runs = [("training", "blocks"), ("decoding", "ring"), ("decoding", "growing"), ("training", "sdpa")]
    for what, by in runs:
        for length in lengths:
            measure = _training_memory if what == "training" else _decoding_memory
            row = {"what": what, "length": length, "by": by, **measure(by, length, flags.device)}
            say(row, keys=keys)
            yield row


def _training_memory(by: str, length: int, device: str) -> Row:
    """One row through two encoder layers and one decoder layer, forward and backward."""
    net = network({"window": 128}, preset="tiny", longest=length, layers=2, backend=by)
    net.decoder.layers = net.decoder.layers[:1]
    net, batch = net.to(device).train(), batch_of(1, length, 16).to(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # across, nothing is bounded, and another back end takes its place
        net(batch, CrossEntropy()).objective.backward()  # what is made once is there
        with peak(device) as found:
            net(batch, CrossEntropy()).objective.backward()
    return {**found, "cache_kB": "-"}


@torch.no_grad()
def _decoding_memory(by: str, length: int, device: str) -> Row:
    """One row: chunks of 256 tokens and, at the end, steps."""
    net = network({"window": 128} if by == "ring" else "full", preset="tiny", longest=length).to(device).eval()
    source = batch_of(1, 16, 1).to(device)
    ids = torch.full((1, 256), 5, device=device)
    read = net.encode(source.source, source.source_tokens)
    with peak(device) as found:
        state = net.begin(read, width=1, capacity=length)
        first = 0
        while first < length:
            size = 1 if length - first <= 8 else min(256, length - 8 - first)
            tokens = Tokens(torch.arange(first, first + size, device=device)[None])
            _, state = net.decode(ids[:, :size], tokens, read, state)
            first += size
    assert state is not None
    size = sum(leaf.numel() * leaf.element_size() for own, _ in state.layers for leaf in own.hypothesis.values())
    return {**found, "cache_kB": size // 1024}


def rules(flags: argparse.Namespace) -> Iterator[Row]:
    """What a rule in the self-attention of a preset adds to a training step and to a decode step of plain attention.

    The models take turns, so that what else runs on the machine hits them alike: the median of the times and of their
    ratios, and the least times and their ratio.
    """
    keys = ("rule", "step", "ms", "over_plain", "least_ms", "least_over")
    head(keys)
    kinds: dict[str, object] = {**KINDS, "shaw": "shaw"}
    asked = ["full", *(name for name in flags.kinds.split(";") if name)] if flags.kinds else list(kinds)
    kinds = {name: kinds[name] for name in asked}
    nets = {name: network(kind, preset=flags.preset, longest=512) for name, kind in kinds.items()}
    for step, run, turns in (("training", _train_step(flags), 1), ("decoding", _decode_step(flags), 10)):
        times: dict[str, list[float]] = {name: [] for name in nets}
        for turn in range(flags.repeats * turns + 1):
            names = list(nets)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:  # nobody always follows the same one
                began = time.process_time()
                run(nets[name])
                if turn:
                    times[name].append(1000 * (time.process_time() - began))
        plain = times["full"]
        for name, own in times.items():
            over = statistics.median(one / other for one, other in zip(own, plain, strict=True)) - 1
            row = {"rule": name, "step": step, "ms": round(statistics.median(own), 1), "over_plain": f"{over:+.1%}"}
            row |= {"least_ms": round(min(own), 1), "least_over": f"{min(own) / min(plain) - 1:+.1%}"}
            say(row, keys=keys)
            yield row


def _train_step(flags: argparse.Namespace) -> Callable[[Any], None]:
    batch = batch_of(flags.rows, flags.length, flags.length)

    def run(net: Any) -> None:
        net.train().zero_grad()
        net(batch, CrossEntropy()).objective.backward()

    return run


def _decode_step(flags: argparse.Namespace) -> Callable[[Any], None]:
    """A step behind the first half of a target, and behind those that were measured before."""
    source, half = batch_of(flags.rows, flags.length, 1), flags.length // 2
    read: dict[int, Any] = {}
    states: dict[int, Any] = {}

    @torch.no_grad()
    def run(net: Any) -> None:
        if id(net) not in states:
            net.eval()
            read[id(net)] = net.encode(source.source, source.source_tokens)
            states[id(net)] = net.begin(read[id(net)], width=1, capacity=512)
            first = torch.full((flags.rows, half), 5)
            net.decode(first, Tokens(torch.arange(half)[None]), read[id(net)], states[id(net)])
        memory, state = read[id(net)], states[id(net)]
        place = int(state.layers[0][0].common.hypothesis["count"].max())
        hidden, _ = net.decode(torch.full((flags.rows, 1), 5), Tokens(torch.tensor([[place]])), memory, state)
        net.logits(hidden)

    return run


if __name__ == "__main__":
    main()
