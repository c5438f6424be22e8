"""The tokenizers of a run, loaded or trained, and the samplers for subword regularization."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from antiphon.config import TOKENIZER_KINDS, SideConfig, TokenizerConfig, TrainConfig, source_list
from antiphon.data import DataReport, Mixture, filters_of
from antiphon.data.corpus import STREAM_BYTES
from antiphon.data.epochs.sampled import HashedSample, sampled_shards
from antiphon.data.media.references import Reference
from antiphon.data.mixture import MixtureItem
from antiphon.data.sources import text_bytes
from antiphon.errors import ConfigError, ModelError
from antiphon.text import (
    DENOISING_TOKENS,
    SegmentationSampler,
    Task,
    Tokenizer,
    dropout_of,
    make_sampler,
    train_tokenizer,
)

MAX_PAIRS = 2_000_000  # pairs of a corpus that fits into memory that a tokenizer is trained on
SAMPLE_BYTES = STREAM_BYTES  # of the text of a sample of a larger one
MAX_SYMBOLS = 10_000  # a pattern that matches more strings is most likely a mistake

TextsOf = Callable[[], Iterable[str]]
Samplers = tuple[SegmentationSampler | None, SegmentationSampler | None]


def build_tokenizers(config: TrainConfig, task: Task) -> tuple[Tokenizer, Tokenizer]:
    """The source and the target tokenizer of a recipe, loaded, or trained on the pairs that pass the filters.

    Where sources are images or sound, both are the target's, trained on targets and prompts alone.

    Of more than STREAM_BYTES of text they are trained on a sample that is a function of the seed, in memory of a fixed
    size. The same object twice if they are shared.
    """
    settings = config.tokenizer
    assert isinstance(settings, TokenizerConfig)
    filters = filters_of(config)

    def pairs(data: object) -> Iterator[MixtureItem]:
        report, item = DataReport(), None
        for item in Mixture(data, task, filters, bad_rows=config.data.bad_rows).once(report):
            yield item
        if item is None:
            raise report.nothing_left()

    sample: HashedSample | None = None
    if _trains(settings) and text_bytes(config.data.train) > STREAM_BYTES:
        seed = config.training.seed
        sample = HashedSample(seed=seed, max_items=settings.sample_pairs, max_bytes=SAMPLE_BYTES)
        for number, item in enumerate(pairs(sampled_shards(config.data.train, seed=seed))):
            sample.add(number, _texts(item, media=task.media))

    def texts(*sides: int) -> Iterator[str]:
        if sample is not None:
            yield from (one[side] for one in sample.items() for side in sides)
            return
        for item in islice(pairs(config.data.train), MAX_PAIRS):
            yield from filter(None, map(_texts(item, media=task.media).__getitem__, sides))

    if task.media:
        own = settings if settings.shared else settings.of("target")
        target = _make(own, lambda: texts(0, 1), tags(config.data.train))
        return target, target
    if settings.shared:
        special_tokens = DENOISING_TOKENS if any(source.is_text for source in source_list(config.data.train)) else []
        shared = _make(settings, lambda: texts(0, 1), tags(config.data.train), special_tokens)
        return shared, shared
    source = _make(settings.of("source"), lambda: texts(0), tags(config.data.train))
    return source, _make(settings.of("target"), lambda: texts(1), [])


def _texts(item: MixtureItem, *, media: bool) -> tuple[str, str]:
    """The texts of a pair; of an image or sound its prompt."""
    if media:
        return (item.source.prompt if isinstance(item.source, Reference) else ""), item.target
    return item.source, item.target


def _trains(settings: TokenizerConfig) -> bool:
    """Whether a tokenizer is trained on texts. Bytes need none."""
    kinds = {settings.of(side).kind for side in ("source", "target")} | {settings.kind}
    return any(kind in TOKENIZER_KINDS and kind != "bytes" for kind in kinds)


def saved_tokenizers(folder: Path) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers in the folder of a run's tokenizers; the same object twice if they are shared. ModelError without
    a source tokenizer."""
    found = {file.stem: Tokenizer.load(file) for file in sorted(folder.iterdir())}
    if "source" not in found:
        raise ModelError(
            f"the run `{folder.parent}` must hold a source tokenizer in `{folder}`, but has none. Start a new run."
        )
    return found["source"], found.get("target", found["source"])


def build_samplers(settings: TokenizerConfig, source: Tokenizer, target: Tokenizer) -> Samplers:
    """The sampler for the training texts of each side; None: the tokenizer's deterministic segmentation.

    A tokenizer file named by `kind` may contain a BPE-dropout, which is used here and ignored everywhere else.
    """
    made: list[SegmentationSampler | None] = []
    for tokenizer, side in ((source, settings.of("source")), (target, settings.of("target"))):
        dropout = side.dropout if side.kind in TOKENIZER_KINDS else dropout_of(tokenizer)
        made.append(make_sampler(tokenizer, dropout=dropout, sampling=side.sampling))
    return made[0], made[1]


def tags(data: object) -> list[str]:
    """The language tags of the sources, as in the text: "<fre>"."""
    sources = data if isinstance(data, tuple) else (data,)
    return sorted({f"<{tag}>" for source in sources if (tag := getattr(source, "tag", None))})


def _make(settings: SideConfig, texts: TextsOf, symbols: list[str], special_tokens: Sequence[str] = ()) -> Tokenizer:
    if settings.kind not in TOKENIZER_KINDS:
        return Tokenizer.load(settings.kind)
    return train_tokenizer(
        texts(),
        kind=settings.kind,
        vocab_size=settings.vocab_size,
        normalize=settings.normalize,
        lowercase=settings.lowercase,
        symbols=[*symbols, *_matches(settings.symbols, texts())],
        special_tokens=special_tokens,
    )


def _matches(pattern: str | None, texts: Iterable[str]) -> set[str]:
    """All different matches of `pattern` in the texts."""
    if pattern is None:
        return set()
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"`tokenizer.symbols` must be a regular expression, but `{pattern}` is none ({error}). Correct it."
        ) from error
    found = {match[0] for text in texts for match in compiled.finditer(text) if match[0]}
    if not 0 < len(found) <= MAX_SYMBOLS:
        raise ConfigError(
            f"`tokenizer.symbols` must match 1 to {MAX_SYMBOLS} different strings of the training texts, "
            f"but `{pattern}` matches {len(found)}. Correct it, or drop it."
        )
    return found
