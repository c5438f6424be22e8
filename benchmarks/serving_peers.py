"""The peers of benchmarks/serving.py: two small translation servers with the route of LibreTranslate, as people write
them.

    python benchmarks/serving_peers.py transformers FOLDER --port 8101 --tokens 14
    python benchmarks/serving_peers.py ctranslate2 FOLDER --port 8102 --tokens 14

`transformers`: a handler around `generate`, one request at a time in a thread. `ctranslate2`: int8, with dynamic
batching: a queue is emptied every few milliseconds, and what is in it is translated as one batch.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

MAX_BATCH, WAIT_SECONDS = 64, 0.005


class Asked(BaseModel):
    q: str
    source: str = "en"
    target: str = "de"


def transformers_app(folder: Path, tokens: int) -> FastAPI:
    from transformers import AutoModelForSeq2SeqLM
    from transformers.utils import logging

    from antiphon.text import Tokenizer

    logging.set_verbosity_error()
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "transformers").eval()
    tokenizer = Tokenizer.load(folder / "antiphon" / "tokenizer.json")
    app = FastAPI()

    @app.post("/translate")
    def translate(asked: Asked) -> dict[str, str]:
        ids = torch.tensor([tokenizer.encode(asked.q)])
        with torch.inference_mode():
            found = model.generate(
                input_ids=ids, num_beams=1, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens
            )
        return {"translatedText": tokenizer.decode(found[0].tolist())}

    return app


def ctranslate2_app(folder: Path, tokens: int) -> FastAPI:
    import ctranslate2

    from antiphon.text import Tokenizer

    home = folder / "int8"
    translator = ctranslate2.Translator(str(home), compute_type="int8", intra_threads=torch.get_num_threads())
    source, target = (Tokenizer.load(home / f"{side}_tokenizer") for side in ("source", "target"))
    ids = json.loads((home / "ids.json").read_text())
    words, names = (json.loads((home / ids["vocabularies"][side]).read_text()) for side in ("source", "target"))
    never, numbers = [[token] for token in ids["never"]], {token: id for id, token in enumerate(names)}
    waiting: asyncio.Queue[tuple[list[str], asyncio.Future[str]]] = asyncio.Queue()

    def translated(rows: list[list[str]]) -> list[str]:
        found = translator.translate_batch(
            rows, beam_size=1, suppress_sequences=never, min_decoding_length=tokens, max_decoding_length=tokens
        )
        return [target.decode([numbers[token] for token in each.hypotheses[0]]) for each in found]

    async def run() -> None:
        while True:
            some = [await waiting.get()]
            await asyncio.sleep(WAIT_SECONDS)
            while len(some) < MAX_BATCH and not waiting.empty():
                some.append(waiting.get_nowait())
            answers = await asyncio.to_thread(translated, [row for row, _ in some])
            for (_, future), answer in zip(some, answers, strict=True):
                future.set_result(answer)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(run())
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.post("/translate")
    async def translate(asked: Asked) -> dict[str, str]:
        future = asyncio.get_running_loop().create_future()
        await waiting.put(([words[id] for id in source.encode(asked.q)], future))
        return {"translatedText": await future}

    return app


APPS: dict[str, Callable[[Path, int], Any]] = {"transformers": transformers_app, "ctranslate2": ctranslate2_app}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=APPS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True, help="of each answer")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    uvicorn.run(APPS[given.kind](given.folder, given.tokens), port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
