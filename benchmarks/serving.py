"""Requests a second of `antiphon serve` beside two peers on the same weights, and beside the offline engine.

    python benchmarks/serving.py --input ../shared/data/multi30k/raw/test_2016_flickr.en.gz

Preset base with random weights in int8 and a vocabulary trained on the sentences; every answer is made to have
`--tokens` tokens. `--clients` connections send one sentence after the other to `POST /translate`, without pauses.
Servers are asked in turns, `--requests` at a time, so that what else the machine does falls on all of them; figures are
medians of the rounds. `offline` is `model.generate` on the same sentences. The cache of answers is off.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from engines import formats
from http_client import Connection, Server, free_port

HERE = Path(__file__).parent


def made(folder: Path, texts: Sequence[str], tokens: int) -> None:
    """The model of preset base with random weights, in the form of each server."""
    from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
    from antiphon.generation.model import Model
    from antiphon.models.build import build_network
    from antiphon.models.folders.checkpoint import Parts
    from antiphon.text import train_tokenizer

    tokenizer = train_tokenizer(list(texts), kind="bpe", vocab_size=8000)
    config, attention, size = ModelConfig(preset="base"), AttentionConfig(), tokenizer.vocab_size
    network = build_network(config, attention, source_vocab=size, target_vocab=size, shared=True)
    settings = GenerationConfig(beam_size=1, min_new_tokens=tokens - 1, max_new_tokens=tokens)
    parts = Parts(network.eval(), config, attention, tokenizer, tokenizer, "translation", settings)
    formats(Model.from_parts(parts), folder, ["antiphon:int8", "ctranslate2:int8", "transformers:float32"])


async def asked(port: int, texts: Sequence[str], *, clients: int) -> tuple[list[float], dict[int, int]]:
    """Send each text once. Returns the seconds of each request, and how often each status came."""
    waiting, times, statuses = iter(texts), [], {}

    async def client() -> None:
        connection = await Connection.open(port)
        for text in waiting:
            began = time.perf_counter()
            status, _, _ = await connection.post("/translate", one(text))
            times.append(time.perf_counter() - began)
            statuses[status] = statuses.get(status, 0) + 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(min(clients, len(texts)))))
    return times, statuses


def one(text: str) -> dict[str, str]:
    return {"q": text, "source": "en", "target": "de", "format": "text"}


def offline(folder: Path, texts: Sequence[str], threads: int) -> float:
    """Sentences a second of `model.generate`, in a process of its own."""
    code = (
        "import sys, time, torch, antiphon; torch.set_num_threads(int(sys.argv[2])); "
        "model = antiphon.load(sys.argv[1], quantize='int8'); texts = sys.stdin.read().splitlines(); "
        "model.generate(texts[:64]); began = time.perf_counter(); model.generate(texts); "
        "print(len(texts) / (time.perf_counter() - began))"
    )
    command = [sys.executable, "-c", code, str(folder / "antiphon"), str(threads)]
    found = subprocess.run(command, input="\n".join(texts), capture_output=True, text=True, check=True)
    return float(found.stdout)


async def measure(given: argparse.Namespace, folder: Path, texts: list[str]) -> None:
    ports = [free_port() for _ in range(3)]
    threads = ["--threads", str(given.threads)]
    peers = HERE / "serving_peers.py"
    peer = [str(folder), "--tokens", str(given.tokens), *threads]
    ours = ["-m", "antiphon", "serve", str(folder / "antiphon"), "--quantize", "int8", "--cache-entries", "0", *threads]
    servers = [
        Server("antiphon", [*ours, "--port", str(ports[0])], ports[0]),
        Server("transformers", [str(peers), "transformers", *peer, "--port", str(ports[1])], ports[1]),
        Server("ctranslate2", [str(peers), "ctranslate2", *peer, "--port", str(ports[2])], ports[2]),
    ]
    rates: dict[str, list[float]] = {server.name: [] for server in servers} | {"offline": []}
    times: dict[str, list[float]] = {server.name: [] for server in servers}
    try:
        for server in servers:
            await server.ready("/translate", one("a man ."))
        for turn in range(given.rounds):
            for server in servers:
                count = given.requests if server.name != "transformers" else max(64, given.requests // 4)
                some = [texts[(turn * given.requests + i) % len(texts)] for i in range(count)]
                began = time.perf_counter()
                took, statuses = await asked(server.port, some, clients=given.clients)
                rates[server.name].append(count / (time.perf_counter() - began))
                times[server.name] += took
                if set(statuses) != {200}:
                    print(f"{server.name}: {statuses}")
            some = [texts[(turn * given.requests + i) % len(texts)] for i in range(given.requests)]
            rates["offline"].append(await asyncio.to_thread(offline, folder, some, given.threads))
            print(
                f"round {turn + 1}: " + ", ".join(f"{name} {values[-1]:.1f}/s" for name, values in rates.items()),
                flush=True,
            )
    finally:
        for server in servers:
            server.end()
    best = statistics.median(rates["antiphon"])
    print(f"{'server':14}{'requests/s':>12}{'x':>7}{'p50 ms':>9}{'p99 ms':>9}")
    for name, values in rates.items():
        rate, taken = statistics.median(values), sorted(times.get(name, []))
        shown = "".join(f"{1000 * taken[int(part * (len(taken) - 1))]:9.0f}" for part in (0.5, 0.99)) if taken else ""
        print(f"{name:14}{rate:12.1f}{best / rate:7.2f}{shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="sentences, one a line, may be .gz")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=512, help="of a round; the peer transformers gets a quarter")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=14, help="of each answer")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    opened = gzip.open if given.input.suffix == ".gz" else open
    with opened(given.input, "rt", encoding="utf-8") as lines:
        texts = lines.read().splitlines()
    print(f"{platform.processor() or platform.machine()}, {given.threads} threads, {given.clients} clients", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder), texts, given.tokens)
        asyncio.run(measure(given, Path(folder), texts))


if __name__ == "__main__":
    main()
