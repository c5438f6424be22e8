"""The model that a user holds: text in, text out.

    model = load("runs/demo")
    model.generate(["in 3 hours"], beam_size=4)[0].text      # 'in 3 Stunden'
    for piece in model.stream("in 3 hours"): ...             # pieces that are never taken back
    model.score(["in 3 hours"], ["in 3 Stunden"])            # [-0.02]

Search settings are keyword arguments; those that are not given come from the model's `generation.json`. An empty input has an empty answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from antiphon.config import AttentionConfig, GenerationConfig
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.generation import engine
from antiphon.generation.overflow import prepare
from antiphon.generation.search import Hypothesis, Marks
from antiphon.models.checkpoint import Parts, load_parts, save_model_folder
from antiphon.registry import nearest
from antiphon.settings import override, show
from antiphon.text import StreamDecoder, Tokenizer, clean_text

DTYPES = {
    "float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16, "float64": torch.float64, "fp64": torch.float64,
}  # fmt: skip


@dataclass(frozen=True)
class Generation:
    """An answer. `tokens` are without special ones; `score` is the model's own sum of log-probabilities in nats, before any processor or
    temperature, a forced prefix and the end included; `confidence` is exp(score / tokens), the geometric mean of their probabilities;
    `finished` tells whether it ended by itself; `alternatives` are the other hypotheses, best first by the search's ranking."""

    text: str
    tokens: list[str]
    score: float
    confidence: float
    finished: bool
    alternatives: list[Generation] = field(default_factory=list)


EMPTY = Generation(text="", tokens=[], score=0.0, confidence=1.0, finished=True)


class Model:
    """A network with its tokenizers and search settings, made from `parts`."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.network = parts.network
        self.source_tokenizer, self.target_tokenizer = parts.source_tokenizer, parts.target_tokenizer
        self.marks = Marks(
            pad=self.target_tokenizer.pad_id, start=self.target_tokenizer.start_id, end=self.target_tokenizer.end_id
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """The source's tokenizer, which is the target's too unless the model has two."""
        return self.source_tokenizer

    @property
    def generation(self) -> GenerationConfig:
        """The search settings that are used where none are given."""
        return self.parts.generation

    def generate(self, texts: str | Sequence[str], **settings: object) -> list[Generation]:
        """One answer for each text, in their order. Raises ConfigError for a wrong setting, DataError for a text that is too long."""
        rows, config = _rows(texts, "texts"), self._settings(settings)
        sources = self._sources(rows, config)
        found = engine.answer(self.network, sources, config, self.marks)
        parts: list[list[list[Hypothesis]]] = [[] for _ in rows]
        for source, hypotheses in zip(sources, found, strict=True):
            parts[source.row].append(hypotheses)
        return [self._generation(answers) for answers in parts]

    def stream(self, text: str, **settings: object) -> Iterator[str]:
        """The answer's text in pieces as they become certain, under beam search too: none is taken back, and joined they are `.text`."""
        if not isinstance(text, str):
            raise DataError(f"`text` must be one text to stream, but is {show(text)}. Call `generate` for several.")
        config = self._settings(settings)
        return self._pieces(self._sources([text], config), config)

    def score(self, sources: str | Sequence[str], targets: str | Sequence[str]) -> list[float]:
        """For each pair the sum of the log-probabilities of the target's tokens and its end, in nats (forced decoding)."""
        inputs, outputs = _rows(sources, "sources"), _rows(targets, "targets")
        if len(inputs) != len(outputs):
            raise DataError(
                f"there must be one target for each source, but there are {len(inputs)} sources and {len(outputs)} targets."
            )
        source_ids, target_ids = self.source_tokenizer.encode_batch(inputs), self.target_tokenizer.encode_batch(outputs)
        for name, side in (("source", source_ids), ("target", target_ids)):
            for row, ids in enumerate(side):
                engine.check_length(ids, self.network.max_length, what=f"{name} {row + 1}", remedy="Shorten it.")
        # Nothing answered by nothing is what `generate` gives without asking the model.
        asked = [row for row in range(len(inputs)) if inputs[row] or outputs[row]]
        scores = [0.0] * len(inputs)
        pairs = [(source_ids[row], target_ids[row]) for row in asked]
        for row, score in zip(asked, engine.forced_scores(self.network, pairs, self.marks), strict=True):
            scores[row] = score
        return scores

    def save(self, folder: str | Path, format: str = "antiphon") -> Path:
        """Write a model folder that `load` reads."""
        if format != "antiphon":
            raise ModelError(f"`format` must be antiphon, but is {show(format)}: other formats are not built yet.")
        return save_model_folder(folder, self.parts)

    def _settings(self, settings: dict[str, object]) -> GenerationConfig:
        return override(self.generation, settings)

    def _sources(self, texts: Sequence[str], config: GenerationConfig) -> list[engine.Source]:
        """What the engine is asked: nothing for an empty text, several parts for one that is split."""
        prefixes = self._prefixes(config.prefix, len(texts))
        sources: list[engine.Source] = []
        for row, (text, ids) in enumerate(zip(texts, self.source_tokenizer.encode_batch(texts), strict=True)):
            if all(id == self.source_tokenizer.end_id for id in ids):
                continue
            parts = prepare(
                text,
                ids,
                tokenizer=self.source_tokenizer,
                limit=self.network.max_length,
                overflow=config.overflow,
                row=row,
            )
            # A prefix begins the whole answer, so that only the first part has it.
            sources += [engine.Source(part, row, i, () if i else prefixes[row]) for i, part in enumerate(parts)]
        return sources

    def _prefixes(self, prefix: str | tuple[str | None, ...] | None, count: int) -> list[tuple[int, ...]]:
        rows = prefix if isinstance(prefix, tuple) else (prefix,) * count
        if len(rows) != count:
            raise ConfigError(f"`prefix` must be one text, or one for each of the {count} inputs, but has {len(rows)}.")
        tokenizer, known = self.target_tokenizer, {None: (), "": ()}
        for text in rows:
            if text not in known:
                ids = tokenizer.encode(text)
                known[text] = tuple(ids[:-1] if ids[-1:] == [tokenizer.end_id] else ids)
        return [known[text] for text in rows]

    def _generation(self, parts: Sequence[list[Hypothesis]]) -> Generation:
        """The answer of a row whose parts these are; the parts' first hypotheses are joined, then their second ones, and so on."""
        if not parts:
            return EMPTY
        first, *others = [self._joined(hypotheses) for hypotheses in zip(*parts, strict=False)]
        return replace(first, alternatives=others)

    def _joined(self, parts: Sequence[Hypothesis]) -> Generation:
        score, length = sum(part.score for part in parts), sum(len(part.ids) for part in parts)
        return Generation(
            text=" ".join(self.target_tokenizer.decode(part.ids) for part in parts),
            tokens=[token for part in parts for token in self.target_tokenizer.pieces(part.ids)],
            score=score,
            confidence=math.exp(score / max(length, 1)),
            finished=all(part.finished for part in parts),
        )

    def _pieces(self, sources: Sequence[engine.Source], config: GenerationConfig) -> Iterator[str]:
        for source in sources:
            if source.piece:
                yield " "
            decoder = StreamDecoder(self.target_tokenizer)
            for ids, _ in engine.stream(self.network, source, config, self.marks):
                if piece := decoder.push(ids):
                    yield piece
            if piece := decoder.finish():
                yield piece


def load(
    path: str | Path,
    *,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    quantize: str | None = None,
    attention: AttentionConfig | dict[str, object] | None = None,
) -> Model:
    """The model in a run folder or a model folder. `dtype` None is float32; `attention` replaces what the folder says, and only then is code
    that it names imported."""
    if quantize is not None:
        raise ModelError(f"`quantize` must be left out, but is {show(quantize)}: quantized models are not built yet.")
    if not isinstance(path, str | Path):
        raise ModelError(f"`path` must be one folder, but is {show(path)}: ensembles are not built yet.")
    if isinstance(attention, dict):
        attention = AttentionConfig(**attention)  # type: ignore[arg-type]
    return Model(
        load_parts(_folder(Path(path)), device=choose_device(device), dtype=choose_dtype(dtype), attention=attention)
    )


def _folder(path: Path) -> Path:
    """The model folder at `path`, which may be the run folder around it."""
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return folder
    if not path.exists():
        raise ModelError(
            f"there is no model at `{path}`. Give a run folder or a model folder; names on the Hugging Face hub are not read yet."
        )
    raise ModelError(
        f"`{path}` must be a run folder or a model folder, but has neither `model/config.json` nor `config.json`."
    )


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the first of CUDA, MPS and the processor that is there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in there.items() if is_there))
    kind = name.partition(":")[0]
    if kind not in there:
        raise ConfigError(f"`device` must be one of auto, cpu, cuda, mps, but is {show(name)}{nearest(kind, there)}.")
    if not there[kind]:
        raise ConfigError(f"`device` is {name}, but there is none here. Use auto or cpu.")
    return torch.device(name)


def choose_dtype(name: str | torch.dtype | None) -> torch.dtype:
    """The type called `name`; None is float32."""
    if name is None or isinstance(name, torch.dtype):
        return name or torch.float32
    if name not in DTYPES:
        raise ConfigError(
            f"`dtype` must be one of {', '.join(DTYPES)}, but is {show(name)}{nearest(str(name), DTYPES)}."
        )
    return DTYPES[name]


def _rows(texts: str | Sequence[str], what: str) -> list[str]:
    """The texts as a list, each with a UTF-8 form."""
    rows = [texts] if isinstance(texts, str) else list(texts)
    for row, text in enumerate(rows):
        if not isinstance(text, str):
            raise DataError(f"`{what}` must be texts, but number {row + 1} is {show(text)}.")
    return [clean_text(text) for text in rows]
