"""Decoding by several engines, on the same weights and inputs: Antiphon, CTranslate2 and transformers.

    make bench                                                  # presets small and base, batches 1, 32 and 128
    python benchmarks/engines.py --model runs/multi30k-en-fr --input test.en.gz     # a file, tokenization included
    python benchmarks/engines.py --shapes base --batches 32 --beams 1 --kinds antiphon:float32,ctranslate2:int8

A preset has random weights and a vocabulary of 16,000 ids; every answer is made to have `--tokens` tokens. A file is
answered whole, with the model's own tokenizer, each engine free to batch as it likes. Each engine has a process of its
own, which reports the most memory that it held; all answer in turns, so that what else the machine does falls on all.
Figures are medians of the rounds by the clock, with the fastest and the slowest; tokens a second count the best
hypothesis, its end included; `of limit` is the share of the product rate that this machine reaches on 4096 x 1024 x
1024, of the products that decoding needs (2 for each weight that a token passes, the encoder once a source, the decoder
and the output once a hypothesis).

Where there is a GPU, presets have a second table, of `--gpu-kinds` and `--gpu-batches` on it (engine:type:cuda). Its
clock is read when the GPU has done all, its peak is what PyTorch's allocator gave out at most, which does not know of
CTranslate2's memory, and its limit the rate of bfloat16 products of 8192 x 8192 x 8192. That section was not run yet.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from attention import Row, head, machine, say

VOCABULARY, SOURCE = 16_000, 24  # ids; tokens of a source of a preset
KINDS = "antiphon:int8,antiphon:float32,ctranslate2:int8,ctranslate2:float32,transformers:float32"
GPU_KINDS = "antiphon:bfloat16:cuda,ctranslate2:float16:cuda,transformers:bfloat16:cuda,transformers:float16:cuda"
COLUMNS = ("shape", "engine", "batch", "beam", "tokens_s", "slowest", "fastest", "x_first", "of_limit", "peak_MB")


class Job(NamedTuple):
    """What is asked of an engine: rows of ids or texts, and how to search."""

    rows: list[Any]
    beam: int
    tokens: int | None  # of each answer; None: as the model ends it


class Name(NamedTuple):
    """What an engine is called, between colons: antiphon:bfloat16:cuda."""

    library: str
    kind: str
    device: str = "cpu"


def read_name(text: str) -> Name:
    return Name(*text.split(":"))


class Engine(Protocol):
    """`answer` gives the number of tokens of the best hypotheses, their ends included."""

    def answer(self, job: Job) -> int: ...


class Ours:
    def __init__(self, folders: dict[str, str], kind: str, device: str) -> None:
        import antiphon

        quantize, dtype = (kind, None) if kind == "int8" else (None, kind)
        self.model = antiphon.load(folders["antiphon"], device=device, dtype=dtype, quantize=quantize)

    def answer(self, job: Job) -> int:
        from antiphon.search import engine
        from antiphon.settings import override

        if isinstance(job.rows[0], str):
            # A beam ends as the other engine's does: when as many of its hypotheses have ended.
            found = self.model.generate(job.rows, beam_size=job.beam, patience=1.0)
            return sum(len(answer.tokens) + answer.finished for answer in found)
        asked = {"beam_size": job.beam, "min_new_tokens": job.tokens, "max_new_tokens": job.tokens}
        config = override(self.model.generation, asked)
        answers = engine.answer(self.model.network, job.rows, config, self.model.special_tokens)
        return sum(len(answer[0].ids) for answer in answers)


class CTranslate2:
    def __init__(self, folders: dict[str, str], kind: str, device: str) -> None:
        import ctranslate2

        from antiphon.text import Tokenizer

        folder = Path(folders[f"ctranslate2:{kind}"])
        threads = torch.get_num_threads()
        self.translator = ctranslate2.Translator(str(folder), device=device, compute_type=kind, intra_threads=threads)
        self.source = Tokenizer.load(folder / "source_tokenizer")
        self.target = Tokenizer.load(folder / "target_tokenizer").as_target()
        ids = json.loads((folder / "ids.json").read_text())
        names = [json.loads((folder / ids["vocabularies"][side]).read_text()) for side in ("source", "target")]
        self.words, self.never = names[0], [[token] for token in ids["never"]]
        self.numbers = {token: id for id, token in enumerate(names[1])}

    def answer(self, job: Job) -> int:
        texts = isinstance(job.rows[0], str)
        rows = self.source.encode_batch(job.rows) if texts else job.rows
        limits = {} if job.tokens is None else {"min_decoding_length": job.tokens, "max_decoding_length": job.tokens}
        found = self.translator.translate_batch(
            [[self.words[id] for id in row] for row in rows],
            beam_size=job.beam,
            suppress_sequences=self.never,
            # A file: the batches that its documentation advises for speed.
            **({"max_batch_size": 1024, "batch_type": "tokens"} if texts else {"max_batch_size": len(rows)}),
            **limits,
        )
        answers = [[self.numbers[token] for token in each.hypotheses[0]] for each in found]
        if texts:
            for ids in answers:
                self.target.decode(ids)
        return sum(len(ids) + texts for ids in answers)


class Transformers:
    def __init__(self, folders: dict[str, str], kind: str, device: str) -> None:
        from transformers import AutoModelForSeq2SeqLM
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        dtype = getattr(torch, kind)
        model = AutoModelForSeq2SeqLM.from_pretrained(folders["transformers"], dtype=dtype)
        self.model = model.eval().to(device)

    def answer(self, job: Job) -> int:
        ids = torch.tensor(job.rows, device=self.model.device)
        with torch.inference_mode():
            found = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                num_beams=job.beam,
                do_sample=False,
                min_new_tokens=job.tokens,
                max_new_tokens=job.tokens,
            )
        return int(found.shape[0] * (found.shape[1] - 1))


ENGINES: dict[str, type] = {"antiphon": Ours, "ctranslate2": CTranslate2, "transformers": Transformers}


def serve(name: str, folders: dict[str, str], threads: int, asked: Connection) -> None:
    """A process: answers jobs until it is told None; (seconds, tokens, peak in bytes) of each."""
    torch.set_num_threads(threads)
    library, kind, device = read_name(name)
    engine: Engine = ENGINES[library](folders, kind, device)
    asked.send(None)
    while (job := asked.recv()) is not None:
        wait_for(device)
        began = time.perf_counter()
        tokens = engine.answer(job)
        wait_for(device)
        took = time.perf_counter() - began
        asked.send((took, tokens, most_held() if device == "cpu" else torch.cuda.max_memory_allocated()))


def wait_for(device: str) -> None:
    """Until a GPU has done all that it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def most_held() -> int:
    """The most memory that this process held, in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


class Worker:
    """An engine in a process of its own."""

    def __init__(self, name: str, weights: Any, threads: int, *, serve: Callable[..., None] = serve) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.asking, other = context.Pipe()
        self.process = context.Process(target=serve, args=(name, weights, threads, other), daemon=True)
        self.process.start()
        other.close()
        try:
            self.asking.recv()  # loaded
        except EOFError:
            raise SystemExit(f"{name} could not be loaded; what it said stands above.") from None

    def ask(self, job: NamedTuple) -> Any:
        """What `serve` sends for the job."""
        self.asking.send(job)
        return self.asking.recv()

    def end(self) -> None:
        self.asking.send(None)
        self.process.join()


def preset(shape: str, folder: Path, kinds: list[str]) -> tuple[dict[str, str], tuple[int, int]]:
    """The same random weights in the form that each engine reads; and the weights that a token of the source passes,
    and one of a hypothesis."""
    from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
    from antiphon.generation.model import Model
    from antiphon.models.build import build_network
    from antiphon.models.folders.checkpoint import Parts
    from antiphon.text import train_tokenizer

    words = [f"w{i}" for i in range(VOCABULARY)]
    tokenizer = train_tokenizer([" ".join(words)] * 2, kind="words", vocab_size=VOCABULARY)
    config, attention, size = ModelConfig(preset=shape), AttentionConfig(), tokenizer.vocab_size
    network = build_network(config, attention, source_vocab=size, target_vocab=size, shared=True)
    model = Model.from_parts(Parts(network.eval(), config, attention, tokenizer, tokenizer, "text", GenerationConfig()))
    once = once_a_source(network)
    return formats(model, folder, kinds), (once, sum(p.numel() for p in network.parameters()) - once)


def once_a_source(network: Any) -> int:
    """The weights that a token of the source passes: the encoder's, and those of the keys and values across."""
    read = [network.encoder, *(part for layer in network.decoder.layers for part in (layer.cross.k, layer.cross.v))]
    return sum(weight.numel() for part in read for weight in part.parameters())


def formats(model: Any, folder: Path, kinds: list[str]) -> dict[str, str]:
    """`model` in the form that each engine of `kinds` reads."""
    from antiphon.export import export_ctranslate2

    folders = {"antiphon": str(model.save(folder / "antiphon"))}
    for kind in {read_name(name).kind for name in kinds if name.startswith("ctranslate2")}:
        export_ctranslate2(model, folder / kind, kind=kind)
        folders[f"ctranslate2:{kind}"] = str(folder / kind)
    if any(name.startswith("transformers") for name in kinds):
        folders["transformers"] = str(model.save(folder / "transformers", format="huggingface"))
    return folders


def product_rate(threads: int, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Floating-point operations a second, by this clock, of float32 products on this machine."""
    torch.set_num_threads(threads)
    left, right = torch.randn(4096, 1024), torch.randn(1024, 1024)
    left @ right
    times = []
    for _ in range(5):
        began = clock()
        left @ right
        times.append(clock() - began)
    return 2 * 4096 * 1024 * 1024 / statistics.median(times)


def card_rate() -> float:
    """The same of bfloat16 products on a GPU, large enough for it."""
    size = 8192
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(8):
        wait_for("cuda")
        began = time.perf_counter()
        left @ right
        wait_for("cuda")
        times.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(times[3:])


def compare(workers: list[Worker], job: Job, *, rounds: int, fixed: Row, work: float, rate: float) -> list[Row]:
    """A row for each engine, which answer the job in turns."""
    for worker in workers:
        worker.ask(job)  # warms up
    taken: dict[str, list[tuple[float, int, int]]] = {worker.name: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            taken[worker.name].append(worker.ask(job))
    rows, first = [], 0.0
    for name, found in taken.items():
        speeds = [tokens / seconds for seconds, tokens, _ in found]
        middle = statistics.median(speeds)
        first = first or middle
        share = middle * work / rate
        rows.append(
            fixed
            | {"engine": name, "tokens_s": round(middle), "slowest": round(min(speeds)), "fastest": round(max(speeds))}
            | {"x_first": round(middle / first, 2), "of_limit": f"{share:.0%}" if work else ""}
            | {"peak_MB": round(found[-1][2] / 1e6) or ""}
        )
        say(rows[-1], keys=COLUMNS)
    return rows


def of_presets(flags: argparse.Namespace, kinds: list[str], batches: str, rate: float) -> list[Row]:
    """Random weights, answers of one length."""
    rows: list[Row] = []
    for shape in flags.shapes.split(","):
        with tempfile.TemporaryDirectory() as made:
            folders, (once, each) = preset(shape, Path(made), kinds)
            workers = [Worker(name, folders, flags.threads) for name in kinds]
            for batch in map(int, batches.split(",")):
                ids = sources(batch)
                for beam in map(int, flags.beams.split(",")):
                    fixed = {"shape": shape, "batch": batch, "beam": beam}
                    job = Job(ids, beam, flags.tokens)
                    work = 2 * (once * SOURCE / flags.tokens + each * beam)  # of a token of the best hypothesis
                    rows += compare(workers, job, rounds=flags.rounds, fixed=fixed, work=work, rate=rate)
            for worker in workers:
                worker.end()
    return rows


def of_file(flags: argparse.Namespace, kinds: list[str]) -> list[Row]:
    """A trained model and a file of texts."""
    import antiphon
    from antiphon.data.lines import LineReader

    texts = [line for _, line in zip(range(flags.lines), LineReader(flags.input), strict=False)]
    kinds = [name for name in kinds if not name.startswith("transformers")]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as made:
        folders = formats(antiphon.load(flags.model, device="cpu"), Path(made), kinds)
        workers = [Worker(name, folders, flags.threads) for name in kinds]
        for beam in map(int, flags.beams.split(",")):
            fixed = {"shape": "file", "batch": len(texts), "beam": beam}
            rows += compare(workers, Job(texts, beam, None), rounds=flags.rounds, fixed=fixed, work=0.0, rate=1.0)
        for worker in workers:
            worker.end()
    return rows


def profile(flags: argparse.Namespace) -> None:
    """The first kind, shape, batch and beam under Python's profiler, in this process."""
    import cProfile
    import pstats

    torch.set_num_threads(flags.threads)
    kind, shape = flags.kinds.split(",")[0], flags.shapes.split(",")[0]
    batch, beam = (int(text.split(",")[0]) for text in (flags.batches, flags.beams))
    with tempfile.TemporaryDirectory() as made:
        folders, _ = preset(shape, Path(made), [kind])
        name = read_name(kind)
        engine: Engine = ENGINES[name.library](folders, name.kind, name.device)
        job = Job(sources(batch), beam, flags.tokens)
        engine.answer(job)
        with cProfile.Profile() as found:
            for _ in range(flags.rounds):
                engine.answer(job)
    pstats.Stats(found).sort_stats("tottime").print_stats(25)


def sources(count: int) -> list[list[int]]:
    """Rows of ids, a function of their number."""
    dice = torch.Generator().manual_seed(count)
    return torch.randint(260, VOCABULARY, (count, SOURCE), generator=dice).tolist()


def main() -> None:
    """Measure, print, and write down."""
    parser = argparse.ArgumentParser(description="Decoding by several engines, on the same weights.")
    parser.add_argument("--shapes", default="small,base", help="presets, between commas")
    parser.add_argument("--batches", default="1,32,128")
    parser.add_argument("--beams", default="1,4")
    parser.add_argument("--kinds", default=KINDS, help="engine:type, between commas")
    parser.add_argument("--gpu-kinds", default=GPU_KINDS, help="engine:type:cuda, between commas; where there is a GPU")
    parser.add_argument("--gpu-batches", default="1,64")
    parser.add_argument("--tokens", type=int, default=24, help="tokens of each answer of a preset")
    parser.add_argument("--model", help="a run or model folder, to answer --input with")
    parser.add_argument("--input", help="a file of texts, also .gz")
    parser.add_argument("--lines", type=int, default=1000, help="of the file")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="where our own time goes, instead of the table")
    parser.add_argument("--json", type=Path, help="where the figures go")
    flags = parser.parse_args()
    flags.device = "cuda" if torch.cuda.is_available() and flags.model is None else "cpu"
    named = [*flags.kinds.split(","), *flags.gpu_kinds.split(",")]
    if unknown := [name for name in named if name.split(":")[0] not in ENGINES or name.count(":") not in (1, 2)]:
        parser.error(f"--kinds must be of {', '.join(ENGINES)}, each with a type (antiphon:float32), not {unknown[0]}")
    if (flags.model is None) != (flags.input is None):
        parser.error("--model and --input go together")
    if flags.profile:
        profile(flags)
        return
    rate, kinds = product_rate(flags.threads), flags.kinds.split(",")
    print(f"{flags.threads} thread(s), products in float32: {rate / 1e9:.0f} GFLOP/s")
    head(COLUMNS)
    rows = of_file(flags, kinds) if flags.model else of_presets(flags, kinds, flags.batches, rate)
    if flags.device == "cuda":
        rate_there = card_rate()
        print(f"{torch.cuda.get_device_name()}, products in bfloat16: {rate_there / 1e12:.0f} TFLOP/s")
        head(COLUMNS)
        rows += of_presets(flags, flags.gpu_kinds.split(","), flags.gpu_batches, rate_there)
    if flags.json:
        flags.json.write_text(json.dumps({"machine": machine(flags), "product_rate": rate, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
