"""Are the answers those of transformers and of CTranslate2, setting by setting?

    python benchmarks/parity_search.py transformers [--rows 72] [--families marian,bart]
    python benchmarks/parity_search.py ctranslate2 RUN --sentences 200

The first draws a tiny random checkpoint of each family, writes it with transformers, and lets both answer random
sources in float32: how many of the best answers have the same ids, and how many of the same ids the same score. The
second exports a model for CTranslate2 and lets both answer phrases of the built-in corpus: how many n-best lists are
equal, in texts and order, and how many ranks. An answer that differs where the two candidates rank within TIE of each
other is a tie, which the rounding of float32 decides.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from antiphon.config import GenerationConfig
from antiphon.generation.load import load
from antiphon.generation.model import Model
from antiphon.generation.requests import prefix_ids
from antiphon.models.folders.hub import load_pretrained
from antiphon.search import engine
from antiphon.search.hypotheses import Hypothesis
from antiphon.settings import override

TIE = 1e-5
# Our settings and theirs; beams stop when nothing can win any more in both.
TRANSFORMERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"beam_size": 1}, {}),
    ({"beam_size": 2}, {"num_beams": 2}),
    ({"beam_size": 4}, {"num_beams": 4}),
    ({"beam_size": 4, "length_penalty": 0.0}, {"num_beams": 4, "length_penalty": 0.0}),
    ({"beam_size": 4, "length_penalty": 0.6}, {"num_beams": 4, "length_penalty": 0.6}),
    ({"beam_size": 4, "length_penalty": 2.0}, {"num_beams": 4, "length_penalty": 2.0}),
    ({"beam_size": 4, "patience": 1.0}, {"num_beams": 4, "early_stopping": True}),
    ({"beam_size": 1, "repetition_penalty": 1.2}, {"repetition_penalty": 1.2}),
    ({"beam_size": 1, "repetition_penalty": 0.8}, {"repetition_penalty": 0.8}),
    ({"beam_size": 4, "repetition_penalty": 1.2}, {"num_beams": 4, "repetition_penalty": 1.2}),
    ({"beam_size": 4, "repetition_penalty": 2.0}, {"num_beams": 4, "repetition_penalty": 2.0}),
    ({"beam_size": 1, "no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
    ({"beam_size": 4, "no_repeat_ngram": 3}, {"num_beams": 4, "no_repeat_ngram_size": 3}),
    ({"beam_size": 1, "min_new_tokens": 6}, {"min_new_tokens": 6}),
    ({"beam_size": 4, "min_new_tokens": 6}, {"num_beams": 4, "min_new_tokens": 6}),
    (
        {"beam_size": 4, "no_repeat_ngram": 2, "repetition_penalty": 1.3, "length_penalty": 0.8, "min_new_tokens": 3},
        {"num_beams": 4, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "length_penalty": 0.8,
         "min_new_tokens": 3},
    ),
]  # fmt: skip
# `patience` 1 is how CTranslate2 ends a beam, and it has no prefix among its settings but one for each source.
CTRANSLATE2: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"beam_size": 1}, {"beam_size": 1}),
    ({"beam_size": 2, "n_best": 2}, {"beam_size": 2, "num_hypotheses": 2}),
    ({"beam_size": 4, "n_best": 4}, {"beam_size": 4, "num_hypotheses": 4}),
    ({"beam_size": 5, "n_best": 2, "length_penalty": 0.6},
     {"beam_size": 5, "num_hypotheses": 2, "length_penalty": 0.6}),
    ({"beam_size": 4, "length_penalty": 2.0}, {"beam_size": 4, "length_penalty": 2.0}),
    ({"beam_size": 4, "length_penalty": 0.0}, {"beam_size": 4, "length_penalty": 0.0}),
    ({"beam_size": 4, "patience": 2.0}, {"beam_size": 4, "patience": 2.0}),
    ({"beam_size": 1, "repetition_penalty": 1.2}, {"beam_size": 1, "repetition_penalty": 1.2}),
    ({"beam_size": 4, "n_best": 4, "repetition_penalty": 1.2},
     {"beam_size": 4, "num_hypotheses": 4, "repetition_penalty": 1.2}),
    ({"beam_size": 4, "repetition_penalty": 2.0}, {"beam_size": 4, "repetition_penalty": 2.0}),
    ({"beam_size": 4, "n_best": 2, "no_repeat_ngram": 2},
     {"beam_size": 4, "num_hypotheses": 2, "no_repeat_ngram_size": 2}),
    ({"beam_size": 4, "min_new_tokens": 8}, {"beam_size": 4, "min_decoding_length": 8}),
    ({"beam_size": 4, "prefix": "in"}, {"beam_size": 4}),
    ({"beam_size": 4, "n_best": 4, "prefix": "am 3", "length_penalty": 0.6},
     {"beam_size": 4, "num_hypotheses": 4, "length_penalty": 0.6}),
]  # fmt: skip
FAMILIES = "t5,bart,mbart,marian,pegasus,m2m_100"


class Count:
    """Equal, tied and different rows of a setting."""

    def __init__(self) -> None:
        self.rows = self.equal = self.tied = self.scores = 0

    def add(self, *, same: bool, tie: bool, score: bool) -> None:
        self.rows += 1
        self.equal += same
        self.tied += tie and not same
        self.scores += same and score

    def __str__(self) -> str:
        other = self.rows - self.equal - self.tied
        return f"equal {self.equal:4} of {self.rows}, ties {self.tied}, different {other}, equal scores {self.scores}"


def beside_transformers(families: Sequence[str], *, rows: int) -> Iterator[tuple[str, Count]]:
    """Each setting over all families, with the folder's own settings read from its files."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    reference = importlib.import_module("parity.reference")
    found = {str(ours): Count() for ours, _ in TRANSFORMERS}
    for name in families:
        for seed in range(max(1, rows // 12)):
            with tempfile.TemporaryDirectory() as made:
                theirs = reference.make(reference.FAMILIES[name], seed, Path(made))
                model = Model.from_parts(load_pretrained(Path(made)))
            dice = random.Random(seed)
            size, end = model.network.table_sizes[0], model.special_tokens.end
            sources = [[*(dice.randrange(3, size - 1) for _ in range(dice.choice([1, 4, 9]))), end] for _ in range(12)]
            for ours, settings in TRANSFORMERS:
                _compare_row(model, theirs, sources, ours, settings, found[str(ours)])
    yield from found.items()


def _compare_row(
    model: Model, theirs: Any, sources: list[list[int]], ours: dict[str, Any], settings: dict[str, Any], count: Count
) -> None:
    first, special_tokens = len(model.special_tokens.first), model.special_tokens
    config = GenerationConfig(**{**ours, "max_new_tokens": 14 - first})
    for source, hypotheses in zip(sources, engine.answer(model.network, sources, config, special_tokens), strict=True):
        found = theirs.generate(
            input_ids=torch.tensor([source]),
            suppress_tokens=sorted({special_tokens.pad, special_tokens.start} - {special_tokens.end}),
            max_length=15,
            use_cache=False,
            output_scores=True,
            return_dict_in_generate=True,
            **{"early_stopping": "never", **settings},
        )
        ids = found.sequences[0, 1:].tolist()
        ids = ids[: ids.index(special_tokens.end) + 1] if special_tokens.end in ids else ids
        same = ids == hypotheses[0].ids
        own = _scores(model, source, [ids, hypotheses[0].ids], config)
        rank = float(found.sequences_scores[0]) if "num_beams" in settings else None
        near = rank is None or abs(rank - hypotheses[0].rank) < 1e-4
        count.add(same=same, tie=abs(own[0] - own[1]) < TIE, score=near)


def _scores(model: Model, source: list[int], answers: list[list[int]], config: GenerationConfig) -> list[float]:
    scores = engine.forced_scores(model.network, [(source, ids) for ids in answers], model.special_tokens)
    return [score / len(ids) ** config.length_penalty for score, ids in zip(scores, answers, strict=True)]


def beside_ctranslate2(folder: str, *, sentences: int) -> Iterator[tuple[str, Count]]:
    """Each setting over sentences of the built-in corpus."""
    import ctranslate2

    from antiphon.export.ctranslate2 import export_ctranslate2, words
    from antiphon.text.phrases import phrases

    model = load(folder)
    texts = [source for source, _ in phrases("en", "de").valid[:sentences]]
    with tempfile.TemporaryDirectory() as made:
        export_ctranslate2(model, Path(made) / "c2")
        translator = ctranslate2.Translator(str(Path(made) / "c2"), compute_type="float32", inter_threads=1)
    sizes = model.network.table_sizes
    source_words, target_words = words(model.source_tokenizer, sizes[0]), words(model.target_tokenizer, sizes[1])
    never = [[target_words[id]] for id in model.special_tokens.suppressed if id < len(target_words)]
    for ours, theirs in CTRANSLATE2:
        settings = {"patience": 1.0, "length_penalty": 1.0, "n_best": 1, **ours, "max_new_tokens": 40}
        config, count = override(GenerationConfig(), settings), Count()
        prefix = prefix_ids(model, config.prefix, 1)[0]
        for text in texts:
            ids = model.source_tokenizer.encode(text)
            asked = engine.SourceInput(ids, 0, prefix=prefix)
            hypotheses = engine.answer(model.network, [asked], config, model.special_tokens)[0]
            found = translator.translate_batch(
                [[source_words[id] for id in ids]],
                target_prefix=[[target_words[id] for id in (*model.special_tokens.first, *prefix)]],
                suppress_sequences=never,
                return_scores=True,
                max_input_length=0,
                **{"min_decoding_length": 0, "max_decoding_length": 40, "length_penalty": 1.0, **theirs},
            )[0]
            _compare_lists(model, hypotheses, found, target_words, count, config=config)
        yield str(ours), count


def _compare_lists(
    model: Model, mine: list[Hypothesis], found: Any, names: list[str], count: Count, *, config: GenerationConfig
) -> None:
    bare = [[names[id] for id in each.ids if id != model.special_tokens.end] for each in mine]
    same = bare == found.hypotheses
    gaps = [abs(each.rank - score) for each, score in zip(mine, found.scores, strict=False)]
    count.add(same=same, tie=max(gaps, default=1.0) < TIE, score=max(gaps, default=1.0) < 1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["transformers", "ctranslate2"])
    parser.add_argument("model", nargs="?", help="the folder of a model, for ctranslate2")
    parser.add_argument("--rows", type=int, default=72, help="sources of each family")
    parser.add_argument("--families", default=FAMILIES)
    parser.add_argument("--sentences", type=int, default=200)
    given = parser.parse_args()
    if given.what == "ctranslate2" and given.model is None:
        parser.error("give the folder of a model")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    torch.set_num_threads(1)
    table = (
        beside_transformers(given.families.split(","), rows=given.rows)
        if given.what == "transformers"
        else beside_ctranslate2(given.model, sentences=given.sentences)
    )
    for name, count in table:
        print(f"{count}  {name}", flush=True)


if __name__ == "__main__":
    main()
