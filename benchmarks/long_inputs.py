"""What a source that is far too long costs, by `overflow`: seconds, and memory beyond the loaded model.

    python benchmarks/long_inputs.py [--words 60000] [--folder T5]

Without a folder a tiny T5 with random weights is written first (d 64, 2+2 layers), whose answers rarely end: each runs
to its limit. Every row is measured in a process of its own, on one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURE = """
import json, sys, time
import torch
import antiphon
torch.set_num_threads(1)
def memory(name):
    return int(open("/proc/self/status").read().split(name + ":")[1].split()[0]) * 1024
folder, overflow, words = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = antiphon.load(folder)
before, clock, processor = memory("VmHWM"), time.perf_counter(), time.process_time()
try:
    result = f"{len(model.generate('word ' * words, overflow=overflow)[0].tokens):,} tokens"
except antiphon.DataError as error:
    result = f"one line of {len(str(error))} letters"
spent = time.perf_counter() - clock, time.process_time() - processor
print(json.dumps({"result": result, "seconds": spent, "bytes": memory("VmHWM") - before}))
"""


def make(folder: Path) -> None:
    """A tiny T5 with random weights and a tokenizer of words, as transformers writes it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=460, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "word": 3} | {f"w{i}": i for i in range(4, 460)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--words", type=int, default=60_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        if options.folder is None:
            make(folder)
        for overflow in ("error", "truncate", "window", "split"):
            command = [sys.executable, "-c", MEASURE, str(folder), overflow, str(options.words)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{overflow} failed: {done.stderr.strip().splitlines()[-1]}")
            row = json.loads(done.stdout.splitlines()[-1])
            clock, processor = row["seconds"]
            print(
                f"{overflow:<9}{row['result']:>26}{clock:8.1f} s, {processor:.1f} s of the processor, "
                f"{row['bytes'] / 1e9:.2f} GB",
                flush=True,
            )


if __name__ == "__main__":
    main()
