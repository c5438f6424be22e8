"""Every back end equals the definition where it does not refuse, gradients too, and says why where it does."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from counts import count
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.models.build import build_network
from antiphon.nn.attend import BACKENDS, attend, choose, plan
from antiphon.nn.attention import describe_backends
from antiphon.nn.backends.blocks import block_length, whole
from antiphon.nn.backends.varlen import PackedRows, plain_refuses, ragged, varlen
from antiphon.nn.rules import Alibi, Cosine, Full, PrefixLM, Relative, ScoreRule, Shaw, Sinks, SoftCap, Window
from antiphon.nn.scores import CachedProperty, Scores

HEADS, DIM = 4, 8


class ByRow(ScoreRule):
    """Knows the row and the head that it is asked about."""

    additive = True

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return score + 0.3 * batch - 0.2 * head * k_pos


RULES: dict[str, Callable[[], ScoreRule]] = {
    "full": Full,
    "window": lambda: Window(3),
    "long window": lambda: Window(90),
    "window of one": lambda: Window(1),
    "window with first keys": lambda: Window(4, sinks=2),
    "dilated window": lambda: Window(3, dilation=2),
    "alibi": Alibi,
    "alibi and window": lambda: Alibi() & Window(5),
    "alibi, window, first keys": lambda: Alibi() & Window(70, sinks=3),
    "relative and window": lambda: Relative(buckets=8, max_distance=20) & Window(6),
    "soft cap": lambda: SoftCap(2.0),
    "soft cap, bias, window": lambda: SoftCap(2.0) & Alibi() & Window(4),
    "terms and window": lambda: Shaw(3) & Window(5),
    "terms twice": lambda: Shaw(2) & Shaw(3),
    "sinks": Sinks,
    "sinks and window": lambda: Sinks() & Window(4, sinks=1),
    "by row": ByRow,
    "by row and window": lambda: ByRow() & Window(3),
    "cosine and window": lambda: Cosine() & Window(3),
}
LENGTH = 150


def segments(*lengths: int) -> tuple[list[int], list[int]]:
    """Positions and segments of a row that holds sequences of these lengths, padded on the right."""
    missing = LENGTH - sum(lengths)
    pos = [i for length in lengths for i in range(length)] + [-1] * missing
    return pos, [i + 1 for i, length in enumerate(lengths) for _ in range(length)] + [0] * missing


def some_tokens() -> dict[str, Tokens]:
    line = list(range(LENGTH))
    packed = [segments(40, 30, 75), segments(149)]
    return {
        "one row for all": Tokens(torch.tensor([line])),
        "right": Tokens(torch.tensor([line, line[:60] + [-1] * 90])),
        "left": Tokens(torch.tensor([[-1] * 70 + line[:80], line])),
        "both": Tokens(torch.tensor([[-1] * 20 + line[:70] + [-1] * 60, [-1] * LENGTH])),
        "positions with gaps": Tokens(torch.tensor([[3 * i for i in line], line])),
        "packed": Tokens(torch.tensor([row[0] for row in packed]), torch.tensor([row[1] for row in packed])),
    }


def made(name: str, role: str = "decoder") -> ScoreRule:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        rule = RULES[name]()
        rule.setup(num_heads=HEADS, head_dim=DIM, role=role)
    return rule.double()


def tensors(length: int = LENGTH, *, groups: int = HEADS, rows: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    sizes = [(heads, length) for heads in (HEADS, groups, groups)]
    return [torch.randn(rows, *size, DIM, generator=generator, dtype=torch.float64).requires_grad_() for size in sizes]


def outcome(backend: str, rule: ScoreRule, tokens: Tokens, parts: list[Tensor], causal: bool) -> list[Tensor] | None:
    """The output and the gradients of a back end; None where it refuses."""
    scores = plan(rule, tokens.fresh(), tokens, causal=causal, num_heads=HEADS)
    if BACKENDS[backend].refuses(parts[0], parts[1], scores) is not None:
        return None
    out, _ = BACKENDS[backend](*parts, scores, scale=0.4, dropout=None)
    out = out.where(tokens.valid[:, None, :, None], 0)  # what a place of padding asks for is nobody's question
    if not out.requires_grad:
        return [out]
    # A weight for each place, so that no gradient is lost in a sum.
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    wanted = [*parts, *rule.parameters()]
    found = torch.autograd.grad((out * weight).sum(), wanted, allow_unused=True)
    return [out, *(torch.zeros_like(one) if grad is None else grad for one, grad in zip(wanted, found, strict=True))]


def close(found: list[Tensor], wanted: list[Tensor], *, what: str) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-11), f"{what}: {float((one - other).abs().max()):.2g}"


BOUNDED = [name for name in RULES if "window" in name]


@pytest.mark.parametrize(("causal", "groups"), [(True, 4), (False, 1)])
@pytest.mark.parametrize("name", list(RULES))
def test_back_ends_equal_the_definition_with_gradients(name: str, groups: int, causal: bool) -> None:
    parts, computed = tensors(groups=groups), set()
    for kind, tokens in some_tokens().items():
        rule = made(name)
        wanted = outcome("eager", rule, tokens, parts, causal)
        assert wanted is not None
        for backend in ("sdpa", "blocks"):
            found = outcome(backend, rule, tokens, parts, causal)
            if found is None:
                continue
            computed.add(backend)
            # Packed rows with first keys: a segment's own first keys, and no key twice.
            close(found, wanted, what=f"{backend}, {kind}")
    assert ("blocks" in computed) == (name in BOUNDED)
    assert ("sdpa" in computed) == (made(name).additive and "sinks" not in name)


@pytest.mark.parametrize(
    "name", ["window with first keys", "soft cap, bias, window", "terms twice", "sinks and window"]
)
def test_flex_equals_the_definition(name: str) -> None:
    """One trace a rule; it takes half a second."""
    rule = made(name).requires_grad_(False)
    parts = [part.detach() for part in tensors(groups=1)]
    tokens = some_tokens()["packed" if name.startswith("window") else "left"]
    found, wanted = (outcome(backend, rule, tokens, parts, causal=True) for backend in ("flex", "eager"))
    assert found is not None and wanted is not None
    close(found, wanted, what=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_large_bias_is_not_rounded_in_half_precision(dtype: torch.dtype) -> None:
    """A bias of 80 in bfloat16 is off by up to a quarter, and so are the weights."""
    tokens = Tokens(torch.arange(320)[None])
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, HEADS, 320, DIM).to(dtype) for _ in range(3))

    class Fade(ScoreRule):
        additive = True

        def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
            return score + 0.27 * (q_pos - k_pos).abs()

    def run(name: str, *inputs: Tensor) -> Tensor:
        scores = plan(Fade(), tokens.fresh(), tokens, causal=False, num_heads=HEADS)
        return BACKENDS[name](*inputs, scores, scale=0.4, dropout=None)[0].float()

    wanted = run("eager", q.float(), k.float(), v.float())
    found = run("sdpa", q, k, v)
    assert (found - wanted).square().mean().sqrt() < 0.01 * wanted.square().mean().sqrt()


def test_flex_traces_more_rules_than_the_compilers_limit() -> None:
    parts = [part.detach() for part in tensors(8)]
    tokens = Tokens(torch.arange(8)[None])
    with torch._dynamo.config.patch(recompile_limit=1):
        for window in (2, 3):
            found, wanted = (
                outcome(backend, Window(window), tokens, parts, causal=True) for backend in ("flex", "eager")
            )
            assert found is not None and wanted is not None
            close(found, wanted, what=str(window))


def test_random_rows_in_blocks() -> None:
    generator = torch.Generator().manual_seed(7)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    for _ in range(count("blocks")):
        length = pick(1, 300)
        pos, segment = torch.full((2, length), -1), torch.zeros(2, length, dtype=torch.long)
        for row in range(2):
            place, number = pick(0, length // 2 + 1), 0
            while place < length and number < 4:
                size = min(pick(1, 120), length - place)
                number += 1
                pos[row, place : place + size] = torch.arange(size)
                segment[row, place : place + size] = number
                place += size + pick(0, 9)
        rule = Alibi() & Window(pick(1, 150), sinks=pick(0, 3))
        rule.setup(num_heads=HEADS, head_dim=DIM, role="decoder")
        tokens, parts, causal = Tokens(pos, segment), tensors(length, groups=2), bool(pick(0, 2))
        found, wanted = (outcome(backend, rule.double(), tokens, parts, causal) for backend in ("blocks", "eager"))
        assert found is not None and wanted is not None
        close(found, wanted, what=f"{length} tokens, {rule.spec}")


def test_blocks_make_nothing_quadratic() -> None:
    length, sizes = 2000, []
    rule = made("alibi, window, first keys").float()
    q = torch.randn(1, HEADS, length, DIM, requires_grad=True)
    tokens = Tokens(torch.arange(length)[None])
    scores = plan(rule, tokens, tokens, causal=True, num_heads=HEADS)

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attend(q, q, q, scores, scale=1.0, backend="blocks")
    quadratic = {name for name, kept in vars(Scores).items() if isinstance(kept, CachedProperty)} - {"places", "extra"}
    assert quadratic == {"visible", "seeing", "_met", "bias"}, "a new one must be named here"
    assert not quadratic & scores.__dict__.keys()
    assert 0 < max(sizes) <= HEADS * (length + 64) * (block_length(69, 0) + 2 * 64 + 3) < HEADS * length**2 / 5


def reason(backend: str, rule: ScoreRule, tokens: Tokens, keys: Tokens, dropout: torch.nn.Module | None = None) -> str:
    q = torch.zeros(1, HEADS, tokens.pos.shape[1], DIM)
    k = torch.zeros(1, HEADS, keys.pos.shape[1], DIM)
    scores = Scores(rule, tokens, keys, causal=True, num_heads=HEADS)
    return BACKENDS[backend].refuses(q, k, scores, dropout=dropout) or ""


def test_a_back_end_says_why_it_cannot() -> None:
    row, window = Tokens(torch.arange(6)[None]), Window(2)
    hole = Tokens(torch.tensor([[0, 1, -1, 2, 3, 4]]))
    again = Tokens(torch.tensor([[0, 1, 0, 1, 0, 1]]), torch.tensor([[1, 1, 2, 2, 1, 1]]))
    falls = Tokens(torch.tensor([[0, 1, 2, 1, 2, 3]]))
    assert reason("blocks", window, row, row) == ""
    assert reason("blocks", Full(), row, row) == "the rule has no bounded reach"
    assert reason("blocks", PrefixLM(2), row, row) == "the rule has no bounded reach"
    assert reason("blocks", window, row, Tokens(torch.arange(7)[None])) == "queries and keys are not the same tokens"
    for odd in (hole, again, falls):
        assert not whole(odd)
        assert reason("blocks", window, odd, odd) == "the tokens of a row are not neighbours with rising positions"
    assert reason("sdpa", made("soft cap"), row, row) == "the rule's score is more than a bias"
    assert reason("sdpa", made("sinks"), row, row) == "it has no extra keys"
    for name in ("sdpa", "blocks", "flex"):
        assert "dropout" in reason(name, window, row, row, torch.nn.Identity())
    assert reason("eager", made("sinks"), hole, row, torch.nn.Identity()) == ""
    assert reason("varlen", Full(), row, row) == "it needs a GPU and half precision"
    learns = torch.zeros(1, HEADS, 6, DIM, requires_grad=True)
    scores = plan(window, row, row, causal=True, num_heads=HEADS)
    assert BACKENDS["flex"].refuses(learns, learns, scores) == "it has no backward on a CPU"
    with torch.no_grad():
        assert BACKENDS["flex"].refuses(learns, learns, scores) is None


def test_a_back_end_that_cannot_gives_way_and_says_so_once() -> None:
    q, k, v = tensors(6)
    tokens, rule = Tokens(torch.arange(6)[None]), made("soft cap")
    scores = plan(rule, tokens, tokens, causal=True, num_heads=HEADS)
    sys.modules[attend.__module__]._warned.clear()
    with pytest.warns(UserWarning, match=r"`sdpa` cannot compute the rule `SoftCap`.*more than a bias; `eager` does"):
        found = attend(q, k, v, scores, scale=0.4, backend="sdpa")
    torch.testing.assert_close(found, attend(q, k, v, scores, scale=0.4, backend="eager"), rtol=0, atol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attend(q, k, v, scores, scale=0.4, backend="sdpa")


def test_the_weights_are_there_whatever_computes_the_answer() -> None:
    q, k, v = tensors()
    tokens, record = Tokens(torch.arange(LENGTH)[None]), []
    scores = plan(Window(3), tokens, tokens, causal=True, num_heads=HEADS)
    out = attend(q, k, v, scores, scale=0.4, backend="blocks", record=record)
    torch.testing.assert_close(record[0] @ v, out, rtol=0, atol=1e-11)


def test_long_bounded_rows_go_in_blocks() -> None:
    tokens = Tokens(torch.arange(8192)[None])
    q = torch.empty((), requires_grad=True).expand(1, HEADS, 8192, DIM)
    names = []
    for rule in (Window(128), Full(), made("relative and window"), Relative(), SoftCap(1.0)):
        rule.setup(num_heads=HEADS, head_dim=DIM, role="encoder")
        names.append(choose(q, q, Scores(rule, tokens, tokens, causal=False, num_heads=HEADS), dropout=None))
    assert names == ["blocks", "sdpa", "blocks", "eager", "eager"]
    short = q[:, :, :16]
    row = Tokens(torch.arange(16)[None])
    assert choose(short, short, Scores(Full(), row, row, causal=False, num_heads=HEADS), dropout=None) == "eager"


def test_a_network_says_what_computes_it() -> None:
    model = ModelConfig(preset="tiny", d_model=32, num_heads=2, ffn_dim=32, max_length=1024, positions="none")

    def said(dropout: float = 0.0, **attention: object) -> str:
        config = AttentionConfig(**attention)  # type: ignore[arg-type]
        made = replace(model, attention_dropout=dropout)
        return describe_backends(build_network(made, config, source_vocab=9, target_vocab=9, shared=True), longest=1024)

    found = said(encoder="relative", decoder={"window": 8}, backend="auto")
    assert found.startswith("eager (encoder); eager") and ", blocks from 256 tokens (decoder); " in found
    assert found.endswith(" tokens (cross)") and "sdpa from " in found
    assert said(decoder=["full", {"window": 8}], backend="sdpa") == "sdpa (encoder, decoder, cross)"
    assert said(decoder={"window": 8}, backend="blocks") == "eager (encoder, cross); blocks (decoder)"
    assert said(dropout=0.1, backend="sdpa") == "eager (encoder, decoder, cross)"
    assert said(encoder="additive", decoder="additive", cross="additive") == ""


def one_by_one(q: Tensor, k: Tensor, v: Tensor, found: PackedRows, *, scale: float, causal: bool) -> Tensor:
    """What the kernel of the GPU computes, a sequence at a time."""
    outs = []
    for first, last in zip(found.starts[:-1].tolist(), found.starts[1:].tolist(), strict=True):
        assert 0 < last - first <= found.longest
        own = [x[first:last].transpose(0, 1)[None] for x in (q, k, v)]
        same = torch.nn.functional.scaled_dot_product_attention(
            *own, scale=scale, is_causal=causal, enable_gqa=k.shape[1] != q.shape[1]
        )
        outs.append(same[0].transpose(0, 1))
    return torch.cat(outs)


@pytest.mark.parametrize("causal", [True, False])
def test_rows_laid_end_to_end_equal_the_definition(monkeypatch: pytest.MonkeyPatch, causal: bool) -> None:
    """All but the kernel, which needs a GPU."""
    monkeypatch.setattr(sys.modules[varlen.__module__], "kernel", one_by_one)
    parts = tensors(groups=2)
    for kind, tokens in some_tokens().items():
        scores = plan(Full(), tokens.fresh(), tokens, causal=causal, num_heads=HEADS)
        assert plain_refuses(scores, dropout=None) is None
        valid, results = tokens.valid[:, None, :, None], []
        for compute in (varlen, BACKENDS["eager"]):
            out = compute(*parts, scores, scale=0.4, dropout=None)[0].where(valid, 0)
            weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
            results.append([out, *torch.autograd.grad((out * weight).sum(), parts)])
        close(*results, what=kind)


def test_sequences_are_found_in_rows() -> None:
    packed = Tokens(torch.tensor([[0, 1, 0, -1], [-1, -1, 0, 1]]), torch.tensor([[1, 1, 2, 0], [0, 0, 1, 1]]))
    found = ragged(packed, 2)
    assert (found.places.tolist(), found.starts.tolist(), found.longest) == ([0, 1, 2, 6, 7], [0, 2, 3, 5], 2)
    row = Tokens(torch.arange(3)[None])
    assert plain_refuses(Scores(Window(2), row, row, causal=True, num_heads=1), dropout=None) is not None
    assert plain_refuses(Scores(Full(), row, row, causal=True, num_heads=1), dropout=torch.nn.Identity()) is not None


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["full", "window", "alibi and window", "soft cap", "terms and window", "sinks"])
def test_back_ends_equal_the_definition_on_a_gpu(name: str) -> None:
    rule = made(name).float().cuda()
    tokens = some_tokens()["packed"]
    tokens = Tokens(tokens.pos.cuda(), None if tokens.segment is None else tokens.segment.cuda())
    generator = torch.Generator().manual_seed(1)
    parts = [
        torch.randn(2, HEADS, LENGTH, 64, generator=generator).to("cuda", torch.bfloat16).requires_grad_()
        for _ in "qkv"
    ]
    if name == "terms and window":
        rule = (Shaw(3) & Window(5)).cuda()
        rule.setup(num_heads=HEADS, head_dim=64, role="decoder")
        rule.cuda()
    valid, wanted = tokens.valid[:, None, :, None], None
    for backend in ("eager", "sdpa", "blocks", "flex", "varlen"):
        scores = plan(rule, tokens.fresh(), tokens, causal=True, num_heads=HEADS)
        if BACKENDS[backend].refuses(parts[0], parts[1], scores) is not None:
            continue
        out = BACKENDS[backend](*parts, scores, scale=0.1, dropout=None)[0].where(valid, 0)
        found = [out, *torch.autograd.grad(out.float().square().sum(), parts)]
        wanted = wanted or found
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one.float(), other.float(), rtol=0.05, atol=0.05)


def test_blocks_by_name_are_not_missed_where_nobody_expects_them() -> None:
    """Not in a cross role and not in steps of decoding; but in a decoder whose rule has no reach."""
    model = ModelConfig(preset="tiny", d_model=32, num_heads=2, ffn_dim=32, max_length=64, positions="none")
    ids, tokens = torch.tensor([[5, 6, 7, 8]]), Tokens(torch.arange(4)[None])

    def heard(decoder: object) -> list[str]:
        config = AttentionConfig(encoder={"window": 2}, decoder=decoder, backend="blocks")
        made = build_network(model, config, source_vocab=9, target_vocab=9, shared=True).eval()
        with warnings.catch_warnings(record=True) as found, torch.no_grad(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("always")
            patch.setattr(sys.modules["antiphon.nn.attend"], "_warned", set())
            memory = made.encode(ids, tokens)
            made.decode(ids, tokens, memory, None)
            state = made.begin(memory, width=1, capacity=4)
            for step in range(4):
                made.decode(ids[:, step : step + 1], Tokens(torch.tensor([[step]])), memory, state)
        return [str(each.message) for each in found]

    assert heard({"window": 2}) == []
    (said,) = heard("full")
    assert said == (
        "the back end `blocks` cannot compute the rule `Full` of the decoder attention: "
        "the rule has no bounded reach; `eager` does."
    )
