"""The time and memory of `antiphon inspect` on many short pairs.

    python benchmarks/inspect_speed.py                 # a million pairs, and a quarter of them: memory must not grow
    python benchmarks/inspect_speed.py --pairs 100000

The pairs are those of small_parallel_enja (50,000, English and Japanese, 4 to 16 words), each several times with two of
its words exchanged, so that few are equal. Timed is the whole command, with the start of Python, the training of the
tokenizer and the trial of the run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(os.environ.get("ANTIPHON_DATA", "../shared/data")).resolve() / "small_parallel_enja"
RECIPE = """
task: translation
data:
  train: {{source: train.en, target: train.ja}}
  valid: {{source: {folder}/dev.en.gz, target: {folder}/dev.ja.gz}}
tokenizer: {{kind: bpe, vocab_size: 4000, shared: false}}
model: {{preset: tiny, max_length: 64}}
training: {{batch_tokens: 1024, max_steps: 1000, lr: 1e-3, schedule: inverse_sqrt, warmup_steps: 100}}
validation: {{every_steps: 500, metrics: [bleu], beam_size: 1}}
output: run
"""


def lines(side: str) -> list[str]:
    with gzip.open(FOLDER / f"train.{side}.gz", "rt", encoding="utf-8", newline="\n") as stream:
        return stream.read().rstrip("\n").split("\n")


def write(folder: Path, pairs: int) -> int:
    """Write the pairs and the recipe; returns the bytes of text."""
    chance, total = random.Random(0), 0
    sides = {side: lines(side) for side in ("en", "ja")}
    with (
        (folder / "train.en").open("w", encoding="utf-8") as one,
        (folder / "train.ja").open("w", encoding="utf-8") as two,
    ):
        for number in range(pairs):
            for stream, side in ((one, "en"), (two, "ja")):
                words = sides[side][number % len(sides[side])].split(" ")
                if number >= len(sides[side]):
                    first, second = chance.randrange(len(words)), chance.randrange(len(words))
                    words[first], words[second] = words[second], words[first]
                total += stream.write(" ".join(words) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=FOLDER), encoding="utf-8")
    return total


def inspect(folder: Path, threads: int, *flags: str) -> tuple[float, float, float, dict]:
    """Seconds, processor seconds and peak bytes of the command, and what it says."""
    command = [sys.executable, "-m", "antiphon", "inspect", str(folder / "recipe.yaml"), "--json", "--quiet", *flags]
    began = time.perf_counter()
    child = subprocess.Popen([*command, "--threads", str(threads)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, said
    used = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - began, used, usage.ru_maxrss * 1024, json.loads(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data-only", action="store_true")
    flags = parser.parse_args()
    for pairs in (flags.pairs // 4, flags.pairs):
        with tempfile.TemporaryDirectory() as folder:
            size = write(Path(folder), pairs)
            seconds, used, peak, said = inspect(Path(folder), flags.threads, *["--data-only"] * flags.data_only)
        findings = ", ".join(f"{each['kind']} {each['count']:,}" for each in said["findings"])
        sys.stdout.write(
            f"{pairs:,} pairs, {size / 1e6:.0f} million characters: {seconds:.1f} s ({used:.1f} s of processor), "
            f"peak {peak / 2**20:.0f} MiB; {findings}"
            f"{'' if flags.data_only or said['estimate'] else '; no estimate: ' + said['problem']}\n"
        )


if __name__ == "__main__":
    main()
