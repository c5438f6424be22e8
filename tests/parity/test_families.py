"""Every family of checkpoints against transformers: logits, searches, and the way back.

The reference computes in float32 what we compute in the network's own type; replaced here, so that float64 is compared
with float64: the norms of T5, mT5, UMT5 and LongT5 (`*LayerNorm.forward`), the weights of LongT5's local attention,
the norms and weights of T5Gemma and T5Gemma 2, the scale of T5Gemma 2's embeddings, the tables of sinusoids of Marian,
Pegasus and M2M-100.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from counts import count
from parity import reference
from torch import Tensor
from torch.nn import functional
from torture.figures import FigureRecorder
from transformers import PreTrainedModel
from transformers.models.longt5.modeling_longt5 import LongT5LayerNorm, LongT5LocalAttention
from transformers.models.mt5.modeling_mt5 import MT5LayerNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm
from transformers.models.t5gemma import modeling_t5gemma
from transformers.models.t5gemma2 import modeling_t5gemma2
from transformers.models.umt5.modeling_umt5 import UMT5LayerNorm

from antiphon.batch import Example, collate
from antiphon.config import GenerationConfig
from antiphon.generation.model import Model
from antiphon.models.folders.checkpoint import load_parts, save_model_folder
from antiphon.models.folders.hub import load_pretrained, save_pretrained
from antiphon.search import engine

CASES = [(name, seed) for name in reference.FAMILIES for seed in range(count("families"))]
# Beams, length penalty, n-grams that may not come twice, penalty of tokens that were there.
SEARCHES = [
    (1, 1.0, 0, 1.0), (4, 1.0, 0, 1.0), (4, 0.6, 2, 1.0), (4, 2.0, 0, 1.0), (1, 1.0, 0, 1.5), (4, 1.0, 0, 1.5),
    (4, 1.0, 0, 0.7),
]  # fmt: skip


@pytest.fixture(autouse=True)
def wide_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's own float32 casts, out of the way."""

    def forward(self: torch.nn.Module, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    for kind in (T5LayerNorm, MT5LayerNorm, UMT5LayerNorm, LongT5LayerNorm):
        monkeypatch.setattr(kind, "forward", forward)
    for owner, name in (
        (LongT5LocalAttention, "forward"),
        (modeling_t5gemma.T5GemmaRMSNorm, "forward"),
        (modeling_t5gemma, "eager_attention_forward"),
        (modeling_t5gemma2.T5Gemma2RMSNorm, "forward"),
        (modeling_t5gemma2, "eager_attention_forward"),
    ):
        monkeypatch.setattr(owner, name, unnarrowed(getattr(owner, name)))


def unnarrowed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward`, under which `Tensor.float` and the softmax leave float64 as it is."""
    narrow, softmax = Tensor.float, functional.softmax

    def wide_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
        return softmax(x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype)

    def run(*arguments: Any, **settings: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tensor, "float", lambda x: x if x.dtype == torch.float64 else narrow(x))
            patch.setattr(functional, "softmax", wide_softmax)
            return forward(*arguments, **settings)

    return run


def widen(model: PreTrainedModel) -> PreTrainedModel:
    """The reference in float64, its sinusoids too."""
    model = model.double()
    for module in model.modules():
        kind = type(module).__name__
        if kind in ("MarianSinusoidalPositionalEmbedding", "PegasusSinusoidalPositionalEmbedding"):
            module.weight.data = sinusoids(*module.weight.shape, last=module.weight.shape[1])
        elif kind == "M2M100SinusoidalPositionalEmbedding":
            module.weights = sinusoids(*module.weights.shape, last=module.weights.shape[1] - 2)
            module.weights[module.padding_idx] = 0
        elif kind == "T5Gemma2TextScaledWordEmbedding":
            module.embed_scale = torch.tensor(module.scalar_embed_scale, dtype=torch.float64)
    return model


def sinusoids(rows: int, dim: int, *, last: int) -> Tensor:
    """The reference's tables, by its formulas in float64; 10000 to the power of -(0, 2, ...) / `last`."""
    angle = torch.arange(rows).double()[:, None] * 10000 ** -(torch.arange(0, dim, 2).double() / last)
    return torch.cat([angle.sin(), angle.cos()], 1)


def rows(model: PreTrainedModel, seed: int) -> tuple[list[list[int]], list[list[int]]]:
    """Sources and targets of several lengths."""
    dice, config = random.Random(seed), model.config
    side = getattr(config, "encoder", config)
    source = getattr(side, "text_config", side).vocab_size
    sizes = (source, getattr(config, "decoder_vocab_size", config.vocab_size))
    sources, targets = (
        [[dice.randrange(3, size - 1) for _ in range(dice.choice([1, 4, 9, 13]))] for _ in range(4)] for size in sizes
    )
    return [[*row, config.eos_token_id] for row in sources], targets


def padded(ids: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    width = max(map(len, ids))
    whole = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    return whole, mask


def start_of(model: PreTrainedModel) -> int:
    """The decoder's first input; the beginning of a text where the config has no word for it."""
    start = getattr(model.config, "decoder_start_token_id", None)
    return model.config.bos_token_id if start is None else start


def their_logits(model: PreTrainedModel, sources: list[list[int]], targets: list[list[int]]) -> list[Tensor]:
    """The logits of each target's tokens, rows padded on the right."""
    pad_id, start = model.config.pad_token_id, start_of(model)
    ids, mask = padded(sources, pad_id)
    begun, seen = padded([[start, *row[:-1]] for row in targets], pad_id)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask, decoder_input_ids=begun, decoder_attention_mask=seen).logits
    return [row[: len(target)] for row, target in zip(found, targets, strict=True)]


def our_logits(model: Model, sources: list[list[int]], targets: list[list[int]]) -> list[Tensor]:
    network, special_tokens = model.network, model.special_tokens
    pairs = [Example(source, target, i) for i, (source, target) in enumerate(zip(sources, targets, strict=True))]
    batch = collate(pairs, pad_id=special_tokens.pad, start_id=special_tokens.start)
    with torch.no_grad():
        memory = network.encode(batch.source, batch.source_tokens)
        hidden, _ = network.decode(batch.target_ids, batch.target_tokens, memory, None)
        return [row[: len(target)] for row, target in zip(network.logits(hidden), targets, strict=True)]


def difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))


def their_answers(model: PreTrainedModel, sources: list[list[int]], **settings: object) -> list[list[int]]:
    config = model.config
    ids, mask = padded(sources, config.pad_token_id)
    unsaid = [config.pad_token_id, start_of(model)]
    found = model.generate(
        input_ids=ids,
        attention_mask=mask,
        suppress_tokens=sorted({*unsaid} - {config.eos_token_id}),
        early_stopping="never",
        use_cache=False,  # its cache has room for the encoder's layers only, and fails where the decoder has more
        **settings,
    )
    answers = []
    for row in found.tolist():
        ids = row[1:]
        answers.append(ids[: ids.index(config.eos_token_id) + 1] if config.eos_token_id in ids else ids)
    return answers


def searches_of(seed: int) -> list[tuple[int, float, int, float]]:
    """The searches that a config is compared in: the next ones in turn, so that each family has all of them."""
    number = count("family_searches")
    return [SEARCHES[(seed * number + i) % len(SEARCHES)] for i in range(number)]


def test_every_search_is_compared() -> None:
    """With the counts in force, a family whose configs are fewer than its turns would miss some."""
    assert {each for seed in range(count("families")) for each in searches_of(seed)} == set(SEARCHES)


def tied(model: Model, source: list[int], mine: list[int], other: list[int]) -> bool:
    """Whether two answers are equally good: the reference sums in float32, which cannot tell them apart."""
    scores = engine.forced_scores(model.network, [(source, mine), (source, other)], model.special_tokens)
    return len(mine) == len(other) and abs(scores[0] - scores[1]) < 1e-6


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_logits_searches_and_the_way_back(name: str, seed: int, tmp_path: Path, figures: FigureRecorder) -> None:
    theirs = reference.make(reference.FAMILIES[name], seed, tmp_path / "theirs")
    parts = load_pretrained(tmp_path / "theirs", dtype=torch.float64)
    model = Model.from_parts(parts)
    sources, targets = rows(theirs, seed)
    narrow = their_logits(theirs, sources, targets)
    theirs = widen(theirs)
    wanted = their_logits(theirs, sources, targets)
    found = our_logits(model, sources, targets)
    assert difference(found, wanted) < 1e-10
    assert difference(found, [row.double() for row in narrow]) < 1e-3  # the reference as it comes, in float32

    figures.add("configs", 1)
    figures.most("float64 difference", difference(found, wanted))

    # searches: what it says of the first and last token is in its generation_config.json
    first = len(model.special_tokens.first)
    for beams, penalty, ngram, repeated in searches_of(seed):
        config = GenerationConfig(
            beam_size=beams,
            length_penalty=penalty,
            no_repeat_ngram=ngram,
            repetition_penalty=repeated,
            max_new_tokens=12 - first,
        )
        ours = [answers[0].ids for answers in engine.answer(model.network, sources, config, model.special_tokens)]
        reference_answers = their_answers(
            theirs,
            sources,
            num_beams=beams,
            length_penalty=penalty,
            no_repeat_ngram_size=ngram,
            repetition_penalty=repeated,
            max_length=13,
        )
        for source, mine, other in zip(sources, ours, reference_answers, strict=True):
            assert mine == other or tied(model, source, mine, other), (beams, penalty, ngram, repeated)
            figures.add("answers equal by tokens" if mine == other else "answers that tie", 1)

    # ours -> theirs, and ours -> ours
    save_pretrained(tmp_path / "back", parts)
    back = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        tmp_path / "back", dtype=torch.float64, attn_implementation=theirs.config._attn_implementation
    ).eval()
    assert type(back) is type(theirs)
    assert difference(their_logits(widen(back), sources, targets), wanted) == 0
    save_model_folder(tmp_path / "own", parts)
    again = load_parts(tmp_path / "own", dtype=torch.float64)
    assert again.model == parts.model and again.attention == parts.attention
    assert difference(our_logits(Model.from_parts(again), sources, targets), found) == 0
