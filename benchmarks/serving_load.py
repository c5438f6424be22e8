"""What the server promises under load: right answers, overload, a long run. Rows 15 to 17 of docs/reliability.md.

    python benchmarks/serving_load.py right --seconds 300            # 500 clients, lengths 1 to 512, greedy and beam 4
    python benchmarks/serving_load.py overload --seconds 60          # twice the requests that it can answer
    python benchmarks/serving_load.py soak --minutes 60 --requests 100000

The model has 2+2 layers of width 64 and random weights, in int8; the cache of answers is off. `right` compares each
answer (text, tokens and score) with that of `model.generate` of the same text alone. `soak` prints the memory of both
processes, their open files and threads each minute.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from http_client import Connection, Server, free_port

LONGEST, TEXTS = 512, 300
LETTERS = "abcdefghijklmnopqrstuvwxyz    "
SETTINGS = ({"beam_size": 1}, {"beam_size": 4})


def made(folder: Path) -> Any:
    """The model, which is saved into `folder`."""
    import torch

    from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
    from antiphon.generation.model import Model
    from antiphon.models.build import build_network
    from antiphon.models.folders.checkpoint import Parts
    from antiphon.text import train_tokenizer

    tokenizer = train_tokenizer(["a"], kind="bytes", vocab_size=300)
    config = ModelConfig(preset="tiny", d_model=64, ffn_dim=128, num_heads=4, max_length=LONGEST + 32)
    network = build_network(config, AttentionConfig(), source_vocab=tokenizer.vocab_size,
                            target_vocab=tokenizer.vocab_size, shared=True, seed=1).eval()  # fmt: skip
    with torch.no_grad():  # answers that depend on the text, and end
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.7)
        network.output.weight[tokenizer.end_id] *= 1.2
    settings = GenerationConfig(max_new_tokens=24)
    parts = Parts(network, config, AttentionConfig(), tokenizer, tokenizer, "text", settings)
    return Model.from_parts(parts).save(folder)


def texts(dice: random.Random) -> Iterator[str]:
    """Texts of 1 to LONGEST - 1 tokens, and their end; most are short."""
    while True:
        length = dice.randint(1, LONGEST - 1) if dice.random() < 0.1 else dice.randint(1, 60)
        yield "".join(dice.choice(LETTERS) for _ in range(length))


def serve(folder: Path, *flags: str) -> Server:
    port = free_port()
    command = [
        "-m",
        "antiphon",
        "serve",
        str(folder),
        "--quantize",
        "int8",
        "--cache-entries",
        "0",
        "--port",
        str(port),
    ]
    return Server("antiphon", [*command, *flags], port)


async def right(given: argparse.Namespace, folder: Path) -> bool:
    """Row 15."""
    import antiphon

    model = antiphon.load(folder, quantize="int8")
    dice = random.Random(0)
    some = [text for text, _ in zip(texts(dice), range(TEXTS), strict=False)]
    expected = {
        (text, place): model.generate(text, **asked)[0].as_json()
        for text in some
        for place, asked in enumerate(SETTINGS)
    }
    server = serve(folder)
    counts: collections.Counter[str] = collections.Counter()
    try:
        await server.ready("/v1/generate", {"inputs": "aa"})
        until = time.monotonic() + given.seconds

        async def client(seed: int) -> None:
            dice, connection = random.Random(seed), await Connection.open(server.port)
            while time.monotonic() < until:
                text, place = dice.choice(some), dice.randrange(len(SETTINGS))
                status, headers, body = await connection.post("/v1/generate", {"inputs": text, **SETTINGS[place]})
                counts[str(status)] += 1
                if status == 200:
                    answer = json.loads(body)["answers"][0]
                    mine = expected[text, place]
                    counts["different"] += any(answer[key] != mine[key] for key in ("text", "tokens", "score"))
                elif status in (429, 503):
                    await asyncio.sleep(min(5.0, float(headers["retry-after"])) * dice.random())

        await asyncio.gather(*(client(seed) for seed in range(given.clients)))
    finally:
        counts["exit"] = server.end()
    print(f"{given.clients} clients, {given.seconds} s: {dict(counts)}")
    return counts["different"] == 0 and not any(key.startswith("5") and key != "503" for key in counts)


async def overload(given: argparse.Namespace, folder: Path) -> bool:
    """Row 16."""
    queue, running = 64, 32
    server = serve(folder, "--max-queue", str(queue), "--max-running", str(running))
    dice = random.Random(1)
    source = texts(dice)
    latencies: dict[int, list[float]] = collections.defaultdict(list)
    lacking = 0

    async def one(connection: Connection) -> int:
        nonlocal lacking
        began = time.perf_counter()
        status, headers, _ = await connection.post("/v1/generate", {"inputs": next(source), "beam_size": 1})
        latencies[status].append(time.perf_counter() - began)
        lacking += status in (429, 503) and "retry-after" not in headers
        return status

    try:
        await server.ready("/v1/generate", {"inputs": "aa"})

        async def closed(until: float) -> int:
            connection, count = await Connection.open(server.port), 0
            while time.monotonic() < until:
                count += await one(connection) == 200
            return count

        seconds = given.seconds / 3
        found = await asyncio.gather(*(closed(time.monotonic() + seconds) for _ in range(running)))
        capacity = sum(found) / seconds
        latencies.clear()
        free = collections.deque([await Connection.open(server.port) for _ in range(8 * (queue + running))])
        tasks: set[asyncio.Task[None]] = set()

        async def send(connection: Connection) -> None:
            await one(connection)
            free.append(connection)

        began, sent = time.monotonic(), 0
        while (passed := time.monotonic() - began) < given.seconds:
            while sent < 2 * capacity * passed and free:
                tasks.add(task := asyncio.create_task(send(free.popleft())))
                task.add_done_callback(tasks.discard)
                sent += 1
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        took = time.monotonic() - began
    finally:
        server.end()
    accepted = sorted(latencies[200])
    refused = sorted(latencies[429] + latencies[503])
    bound = 1.2 * (queue + running) / capacity
    p99 = accepted[int(0.99 * (len(accepted) - 1))]
    late = refused[int(0.99 * (len(refused) - 1))] if refused else 0.0
    good = len(accepted) / took / capacity
    statuses = {status: len(value) for status, value in latencies.items()}
    print(f"capacity {capacity:.0f}/s, sent {sent / took:.0f}/s; accepted {len(accepted)}, p99 {p99:.2f} s (bound "
          f"{bound:.2f} s); refused {len(refused)}, p99 {1000 * late:.0f} ms, without Retry-After {lacking}; goodput "
          f"{100 * good:.0f} % of capacity; statuses {statuses}")  # fmt: skip
    return p99 <= bound and late <= 0.05 and good >= 0.9 and lacking == 0


def held(pid: int) -> tuple[int, int, int]:
    """Resident memory in kB, open files and threads of a process and its children."""
    total = [0, 0, 0]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    total[0] = int(status["VmRSS"].split()[0])
    total[1] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    total[2] = int(status["Threads"])
    for child in children:
        for place, value in enumerate(held(int(child))):
            total[place] += value
    return total[0], total[1], total[2]


async def soak(given: argparse.Namespace, folder: Path) -> bool:
    """Row 17."""
    server = serve(folder)
    dice = random.Random(2)
    source, counts = texts(dice), collections.Counter()
    rows: list[tuple[int, int, int]] = []
    until = 0.0

    async def client(pause: float) -> None:
        while counts["sent"] < given.requests and time.monotonic() < until:
            connection = await Connection.open(server.port)
            for _ in range(dice.randint(1, 50)):
                counts["sent"] += 1
                asked = {"inputs": next(source), "beam_size": dice.choice([1, 1, 4]), "stream": False}
                if dice.random() < 0.02:  # it leaves before the answer
                    connection.send("POST /v1/generate", json.dumps({**asked, "stream": True}).encode())
                    await asyncio.sleep(0.01)
                    break
                status, _, _ = await connection.post("/v1/generate", asked)
                counts[str(status)] += 1
                await asyncio.sleep(pause * dice.expovariate(1.0))
            connection.close()

    async def watch() -> None:
        while True:
            await asyncio.sleep(60)
            rows.append(held(server.process.pid))
            print(f"minute {len(rows)}: {counts['sent']} sent, {rows[-1][0] / 1024:.1f} MB, {rows[-1][1]} files, "
                  f"{rows[-1][2]} threads", flush=True)  # fmt: skip

    try:
        await server.ready("/v1/generate", {"inputs": "aa"})
        base, until = held(server.process.pid), time.monotonic() + 60 * given.minutes
        clients = 32
        watching = asyncio.create_task(watch())
        await asyncio.gather(*(client(clients * 60 * given.minutes / given.requests) for _ in range(clients)))
        await asyncio.sleep(40)  # idle connections are closed after 30 s
        watching.cancel()
        after = held(server.process.pid)
    finally:
        counts["exit"] = server.end()
    early = rows[min(9, len(rows) - 1)][0]
    growth = after[0] / early - 1
    print(f"{dict(counts)}; memory {early / 1024:.1f} -> {after[0] / 1024:.1f} MB ({100 * growth:+.1f} %), files "
          f"{base[1]} -> {after[1]}, threads {base[2]} -> {after[2]}")  # fmt: skip
    return growth <= 0.02 and after[1] <= base[1] + 2 and after[2] <= base[2] + 2


RUNS = {"right": right, "overload": overload, "soak": soak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=RUNS)
    parser.add_argument("--clients", type=int, default=500, help="of `right`")
    parser.add_argument("--seconds", type=float, default=300, help="of `right` and `overload`")
    parser.add_argument("--minutes", type=float, default=60, help="of `soak`, at most")
    parser.add_argument("--requests", type=int, default=100_000, help="of `soak`, evenly over its time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder) / "model")
        met = asyncio.run(RUNS[given.what](given, Path(folder) / "model"))
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
