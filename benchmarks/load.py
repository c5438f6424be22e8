"""Load time and peak memory of a checkpoint folder: Antiphon against transformers, each in fresh processes.

    python benchmarks/load.py FOLDER                    # a folder of the Hugging Face hub
    python benchmarks/load.py /tmp/t5 --make            # a T5 of 248 M parameters with random weights, written first
    python benchmarks/load.py FOLDER --repeats 5 --dtype bfloat16 --json FILE

`load` is the time of the call that loads, with the library imported before; `answer` is that of the first forward of
one token, which reads every weight from the disk's cache; `peak` is what the process held at most after that, less
what it held before loading, as a multiple of the weights in the type asked for. Runs alternate, so that what else the
machine does falls on both; the median is given. transformers must be installed for its rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

MEASURE = """
import json, sys, time
import torch
torch.set_num_threads(1)
folder, dtype, library = sys.argv[1:4]

def held(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

ids = torch.tensor([[5]])
if library == "antiphon":
    import antiphon
    from antiphon.batch import Tokens
    from antiphon.generation.load import load
    before, start = held("VmRSS:"), time.perf_counter()
    network = load(folder, device="cpu", dtype=dtype).network
    loaded = time.perf_counter()
    with torch.inference_mode():
        place = Tokens(torch.zeros((1, 1), dtype=torch.long))
        memory = network.encode(ids, place)
        network.logits(network.decode(ids, place, memory, None)[0])
else:
    from transformers import AutoModelForSeq2SeqLM, T5ForConditionalGeneration
    before, start = held("VmRSS:"), time.perf_counter()
    network = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    loaded = time.perf_counter()
    with torch.inference_mode():
        network(input_ids=ids, decoder_input_ids=ids)
done = time.perf_counter()
weights = sum(p.numel() * p.element_size() for p in network.parameters())
peak = held("VmHWM:") - before
print(json.dumps({"load": loaded - start, "answer": done - loaded, "peak": peak / weights, "weights": weights}))
"""


def make(folder: Path) -> None:
    """A T5 1.1 of base size with random weights, and a tokenizer of words, as transformers writes it."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import T5Config, T5ForConditionalGeneration

    settings: dict[str, Any] = {
        "vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12,
        "decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
    }  # fmt: skip
    config = T5Config(**settings)
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(torch.randn(config.vocab_size, config.d_model))
    model.save_pretrained(folder)
    words = WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, 32000)}, unk_token="<unk>")
    Tokenizer(words).save(str(folder / "tokenizer.json"))


def measure(folder: Path, dtype: str, library: str) -> dict[str, float]:
    """One load in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), dtype, library], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{library} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", action="store_true", help="write a random T5 into FOLDER first")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.make:
        make(options.folder)
    found: dict[str, list[dict[str, float]]] = {"antiphon": [], "transformers": []}
    for _ in range(options.repeats):
        for library, runs in found.items():
            runs.append(measure(options.folder, options.dtype, library))
    table = {
        library: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for library, runs in found.items()
    }
    print(f"| {options.dtype} | load s | first forward s | peak / weights |\n|---|---|---|---|")
    for library, row in table.items():
        print(f"| {library} | {row['load']:.2f} | {row['answer']:.2f} | {row['peak']:.2f} |")
    if options.json is not None:
        options.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
