"""Start-up of the command line, split: PyTorch's import, --help, our import, loading, the first answer.

    python benchmarks/startup.py                        # a small model with random weights
    python benchmarks/startup.py --model runs/demo --json FILE

Every figure is a fresh process, started in turns so that what else the machine does falls on all; medians of
`--repeats`, with the fastest and the slowest. `cpu` is processor time, `clock` seconds; `beyond` is the clock's median
less that of PyTorch's import. `import`, `load` and `answer` each hold the row before it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORT = "from antiphon.generation.load import load"
COLUMNS = ("what", "clock", "fastest", "slowest", "cpu", "beyond")


def made(folder: Path) -> Path:
    """A model folder with random weights: preset tiny, a tokenizer of 300 ids."""
    from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
    from antiphon.models.build import build_network
    from antiphon.models.folders.checkpoint import Parts, save_model_folder
    from antiphon.text import train_tokenizer

    tokenizer = train_tokenizer(["one two three four five six seven eight"] * 4, kind="bpe", vocab_size=300)
    model, attention, size = ModelConfig(preset="tiny"), AttentionConfig(), tokenizer.vocab_size
    network = build_network(model, attention, source_vocab=size, target_vocab=size, shared=True, seed=3)
    generation = GenerationConfig(beam_size=1, max_new_tokens=8)
    parts = Parts(network, model, attention, tokenizer, tokenizer, "translation", generation)
    return save_model_folder(folder / "model", parts)


def commands(model: str) -> dict[str, list[str]]:
    """What is measured, by the name of its row."""
    load = f"{IMPORT}; model = load({model!r})"
    return {
        "import torch": ["-c", "import torch"],
        "--help": ["-m", "antiphon", "--help"],
        "generate --help": ["-m", "antiphon", "generate", "--help"],
        "import": ["-c", IMPORT],
        "load": ["-c", load],
        "answer": ["-c", f"{load}; model.generate('one two')"],
        "antiphon generate": ["-m", "antiphon", "generate", model, "--quiet"],
    }


def timed(words: list[str]) -> tuple[float, float]:
    """Seconds by the clock and of the processor that a process took."""
    began = time.perf_counter()
    before = os.times()
    subprocess.run([sys.executable, *words], input=b"one two\n", stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


def rows(model: str, *, repeats: int) -> list[dict[str, str | float]]:
    """The table: one row a command."""
    asked = commands(model)
    for words in asked.values():  # what was never read comes from the disk, and is compiled
        timed(words)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
    for _ in range(repeats):
        for name, words in asked.items():
            taken[name].append(timed(words))
    torch = statistics.median(clock for clock, _ in taken["import torch"])
    table: list[dict[str, str | float]] = []
    for name, pairs in taken.items():
        clocks, used = zip(*pairs, strict=True)
        clock = statistics.median(clocks)
        spread = {"fastest": round(min(clocks), 2), "slowest": round(max(clocks), 2)}
        cpu = round(statistics.median(used), 2)
        beyond = "" if "help" in name else round(clock - torch, 2)
        table.append({"what": name, "clock": round(clock, 2), **spread, "cpu": cpu, "beyond": beyond})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model folder or a run folder (default: one that is made)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the table there, too")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = rows(flags.model or str(made(Path(folder))), repeats=flags.repeats)
    print("  ".join(f"{name:>17}" for name in COLUMNS))
    for row in table:
        print("  ".join(f"{row[name]!s:>17}" for name in COLUMNS))
    if flags.json is not None:
        flags.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
