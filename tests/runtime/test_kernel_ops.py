"""The compiled kernels but for matrix products: each against torch in float64, and a row the same bits in any batch."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import torch
from runtime.native_build import Kernels
from runtime.native_build import library as build
from torch import Tensor
from torch.nn import functional as F

from antiphon.runtime.kernels.table import ACTIVATIONS, NORM_KINDS

RUN = Callable[..., None]


VARIANTS = {"native": (("-march=native",), False), "portable": ((), False), "shuffled": (("-march=native",), True)}


@pytest.fixture(params=VARIANTS)
def library(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    """The kernels, compiled for this processor and for any of its family, and with every argument at another index; on
    three threads."""
    flags, shuffled = VARIANTS[request.param]
    found = build(*flags, shuffled=shuffled)
    found.set_threads(ctypes.c_int64(3))
    yield found
    found.set_threads(ctypes.c_int64(1))


@pytest.fixture
def run(library: Kernels) -> RUN:
    """run(name, tensors, sizes, numbers): one call of a kernel."""
    return library.call


def strides(name: str, tensor: Tensor, dims: str) -> dict[str, int]:
    """The strides of the first dimensions of a tensor, under the names of the table."""
    return {f"{name}_stride_{dim}": stride for dim, stride in zip(dims.split(), tensor.stride(), strict=False)}


def same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit, NaN included."""
    return torch.equal(one.contiguous().view(torch.int32), other.contiguous().view(torch.int32))


@pytest.mark.parametrize("dim", [1, 7, 8, 33, 512, 1021])
@pytest.mark.parametrize("kind", NORM_KINDS)
@pytest.mark.parametrize("affine", [True, False])
def test_norm(run: RUN, dim: int, kind: str, affine: bool) -> None:
    torch.manual_seed(dim)
    rows, eps = 5, 1e-5
    x = (torch.randn(rows, dim + 3) * 3 + 1)[:, :dim]  # rows with a stride of their own
    residual = torch.randn(rows, dim)
    weight, bias = (torch.randn(dim), torch.randn(dim)) if affine else (None, None)
    out = torch.empty(rows, dim + 1)[:, :dim]
    for added, in_place in ((False, False), (True, False), (True, True)):
        other = torch.cat([residual, residual.new_zeros(rows, 3)], 1)[:, :dim]  # strides of x
        tensors = {"x": x, "weight": weight, "bias": bias, "out": out}
        tensors |= {"residual": other if added else None, "sum": other if in_place else None}
        sizes = {"rows": rows, "dim": dim, "kind": NORM_KINDS[kind], "x_stride": dim + 3, "out_stride": dim + 1}
        run("norm", tensors, sizes, {"eps": eps})
        single = x + residual if added else x
        assert same(other, single if in_place else residual)
        w, b = (None if tensor is None else tensor.double() for tensor in (weight, bias))
        if kind == "layer":
            expected = F.layer_norm(single.double(), (dim,), w, b, eps)
        else:
            expected = F.rms_norm(single.double(), (dim,), w, eps) + (0 if b is None else b)
        torch.testing.assert_close(out.double(), expected, rtol=1e-6, atol=2e-6)


def test_norm_rows_stand_alone(run: RUN) -> None:
    x = torch.randn(300, 513)
    x[7, 3], x[9, 1] = math.nan, math.inf
    out, alone = torch.empty_like(x), torch.empty_like(x)
    absent = dict.fromkeys(("weight", "bias", "residual", "sum"))
    sizes = {"dim": 513, "kind": NORM_KINDS["layer"], "x_stride": 513, "out_stride": 513}
    run("norm", {"x": x, "out": out, **absent}, {"rows": 300, **sizes}, {"eps": 1e-5})
    for row in range(0, 300, 7):
        run("norm", {"x": x[row], "out": alone[row], **absent}, {"rows": 1, **sizes}, {"eps": 1e-5})
        assert same(alone[row], out[row])
    assert torch.isnan(out).all(1).nonzero().flatten().tolist() == [7, 9]


def attend(run: RUN, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, bias: Tensor | None, extra: Tensor | None,
           scale: float) -> Tensor:  # fmt: skip
    """The kernel on tensors with any strides but for the last; (B, H, Q, D) again."""
    B, H, Q, D = q.shape
    G, C = k.shape[1:3]
    full = (B, H, Q, C)
    out, none = torch.full((B, Q, H, D), math.nan), torch.zeros(1).expand(full)
    sizes = {"rows": B, "heads": H, "kv_heads": G, "queries": Q, "keys": C, "dim": D, "ancestry_stride": 0}
    sizes |= strides("q", q, "row head query") | strides("out", out, "row query head")
    sizes |= strides("k", k, "row head key") | strides("v", v, "row head key")
    for name, part in (("visible", visible), ("bias", bias)):
        sizes |= strides(name, none if part is None else part.expand(full), "row head query key")
    sizes |= {"sink_count": 0 if extra is None else extra.shape[1], "beam_width": 0}
    sizes |= {"kv_half": int(k.dtype == torch.float16)}
    tensors = {"q": q, "k": k, "v": v, "visible": visible, "bias": bias, "sinks": extra, "out": out, "ancestry": None}
    run("attend", tensors, sizes, {"scale": scale})
    return out.transpose(1, 2)


def attended(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, bias: Tensor | None, extra: Tensor | None,
             scale: float) -> Tensor:  # fmt: skip
    """The same in float64."""
    q, k, v = (tensor.double() for tensor in (q, k, v))
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
    logits = scale * q @ k.mT + (0 if bias is None else bias.double())
    if visible is not None:
        logits = logits.masked_fill(~visible, -math.inf)
    count = logits.shape[-1]
    if extra is not None:
        logits = torch.cat([logits, extra.double()[None, :, None].expand(*logits.shape[:3], -1)], -1)
    return logits.softmax(-1).nan_to_num(0)[..., :count] @ v


@pytest.mark.parametrize("queries", [1, 2, 5, 8, 11])
@pytest.mark.parametrize("dim", [1, 6, 32, 64, 77])
@pytest.mark.parametrize(("heads", "groups"), [(3, 3), (4, 2), (2, 1)])
def test_attend(run: RUN, queries: int, dim: int, heads: int, groups: int) -> None:
    torch.manual_seed(dim * queries)
    B, C = 3, 37
    q = torch.randn(B, queries, heads, dim).transpose(1, 2)
    k = torch.randn(B, C, groups, dim).transpose(1, 2)
    v = torch.randn(B, groups, C + 2, dim)[:, :, 1:-1]
    masks = [None, torch.rand(B, 1, 1, C) < 0.5, torch.rand(1, 1, queries, C) < 0.3, torch.rand(B, heads, 1, C) < 0.6]
    masks += [(torch.rand(B, C, heads, queries) < 0.4).permute(0, 2, 3, 1), torch.zeros(1, 1, 1, C, dtype=torch.bool)]
    biases = [None, torch.randn(1, heads, queries, C), torch.randn(B, 1, 1, C), torch.randn(C, heads).mT[None, :, None]]
    for visible in masks:
        for bias in biases:
            for extra in (None, torch.randn(heads, 2)):
                out = attend(run, q, k, v, visible, bias, extra, dim**-0.5)
                expected = attended(q, k, v, visible, bias, extra, dim**-0.5)
                torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("queries", [1, 4])
def test_attend_many_keys(run: RUN, queries: int) -> None:
    """More than a tile; logits so far apart that the running maximum moves."""
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 2, queries, 16), torch.randn(2, 2, 1500, 16) * 4, torch.randn(2, 2, 1500, 16)
    for visible in (None, torch.rand(2, 1, 1, 1500) < 0.7, torch.arange(1500)[None, None, None] < 256):
        out = attend(run, q, k, v, visible, None, None, 1.0)
        torch.testing.assert_close(out.double(), attended(q, k, v, visible, None, None, 1.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("queries", [1, 3])
def test_attend_reads_only_what_is_visible(run: RUN, queries: int) -> None:
    """The same bits whatever hidden places hold, how many there are and which rows stand beside."""
    torch.manual_seed(1)
    B, H, C, D = 40, 4, 64, 24
    q, k, v = torch.randn(B, H, queries, D), torch.randn(B, H, C, D), torch.randn(B, H, C, D)
    lengths = torch.randint(0, 20, (B, 1, 1, 1))
    visible = torch.arange(C) < lengths
    first = attend(run, q, k, v, visible, None, None, 0.2)
    hidden = ~visible.transpose(2, 3)
    for garbage in (math.nan, math.inf, -1e30):
        spoiled = [tensor.masked_fill(hidden, garbage) for tensor in (k, v)]
        assert same(first, attend(run, q, *spoiled, visible, None, None, 0.2))
    small = attend(run, q, k[:, :, :20], v[:, :, :20], visible[..., :20].contiguous(), None, None, 0.2)
    assert same(first, small)
    for row in range(B):
        b = slice(row, row + 1)
        assert same(first[b], attend(run, q[b], k[b], v[b], visible[b], None, None, 0.2))
    q[5, 1, 0, 3] = k[6, 2, 0, 0] = math.nan
    visible[6, ..., 0] = True
    broken = torch.isnan(attend(run, q, k, v, visible | (torch.arange(C) == 0), None, None, 0.2)).any(-1)
    expected = torch.zeros(B, H, queries, dtype=torch.bool)
    expected[5, 1, 0] = expected[6, 2] = True
    assert torch.equal(broken, expected)


def top(run: RUN, logits: Tensor, k: int, forbidden: Sequence[int] = ()) -> tuple[Tensor, Tensor, Tensor]:
    R, V = logits.shape
    lse, values, ids = torch.empty(R), torch.empty(R, k), torch.empty(R, k, dtype=torch.long)
    banned = torch.tensor(forbidden, dtype=torch.long) if forbidden else None
    tensors = {"logits": logits, "forbidden": banned, "logsumexp": lse, "values": values, "ids": ids}
    sizes = {"rows": R, "vocab_size": V, "logits_stride": logits.stride(0), "k": k}
    run("top", tensors, {**sizes, "forbidden_count": len(forbidden)})
    return lse, values, ids


@pytest.mark.parametrize(("V", "k"), [(1, 1), (5, 3), (255, 8), (256, 1), (1000, 128), (16001, 8)])
@pytest.mark.parametrize("ties", [False, True])
def test_top(run: RUN, V: int, k: int, ties: bool) -> None:
    torch.manual_seed(V)
    logits = torch.randn(6, V + 5)[:, :V] * 4
    if ties:
        logits = logits.round()
    forbidden = sorted({0, V // 2, V - 1}) if V > 5 else []
    lse, values, ids = top(run, logits, k, forbidden)
    torch.testing.assert_close(lse.double(), logits.double().logsumexp(-1), rtol=1e-6, atol=1e-6)
    log_p = logits.double().log_softmax(-1)
    log_p[:, forbidden] = -math.inf
    best, order = log_p.sort(dim=-1, descending=True, stable=True)
    assert torch.equal(ids, order[:, :k])
    torch.testing.assert_close(values.double(), best[:, :k], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("logits", [torch.arange(3000.0), -torch.arange(3000.0), torch.full((3000,), 2.5)])
def test_top_of_sorted_and_equal(run: RUN, logits: Tensor) -> None:
    _, _, ids = top(run, logits[None], 5)
    assert ids[0].tolist() == logits.sort(descending=True, stable=True)[1][:5].tolist()


def test_top_of_what_is_left(run: RUN) -> None:
    logits = torch.tensor(
        [[1.0, 3.0, 2.0, -math.inf], [1.0, math.nan, 2.0, 0.0], [-math.inf] * 4, [0.0, math.inf, 1, 2]]
    )
    lse, values, ids = top(run, logits, 3, [1])
    assert ids[0].tolist() == [2, 0, 0]
    torch.testing.assert_close(values[0, :2], logits[0].log_softmax(-1)[[2, 0]])
    assert values[0, 2] == -math.inf
    for row in (1, 3):
        assert math.isnan(lse[row])
        assert torch.isnan(values[row]).all()
        assert ids[row].tolist() == [0, 1, 2]
    assert lse[2] == -math.inf
    assert (values[2] == -math.inf).all()


def test_top_rows_stand_alone(run: RUN) -> None:
    logits = torch.randn(50, 3001) * 3
    whole = top(run, logits, 4)
    for row in range(50):
        alone = top(run, logits[row : row + 1], 4)
        assert all(torch.equal(one[row : row + 1], other) for one, other in zip(whole, alone, strict=True))


def put(run: RUN, cache: Tensor, slots: Tensor, new: Tensor) -> None:
    sizes = dict(zip(("rows", "heads", "length", "dim"), new.shape, strict=True))
    sizes |= strides("new", new, "row head position") | strides("cache", cache, "row head slot")
    sizes |= strides("slots", slots, "row position") | {"cache_half": int(cache.dtype == torch.float16)}
    run("put", {"new": new, "cache": cache, "slots": slots}, sizes)


def test_put(run: RUN) -> None:
    torch.manual_seed(0)
    R, G, L, D, C = 5, 3, 2, 7, 9
    new = torch.randn(R, L, G, D).transpose(1, 2)
    for slots in (torch.stack([torch.randperm(C)[:L] for _ in range(R)]), torch.tensor([[4, 2]])):
        leaf = torch.randn(R, G, C, D)
        expected = leaf.clone()
        for row in range(R):
            expected[row, :, slots.expand(R, L)[row]] = new[row]
        put(run, leaf, slots.expand(R, L), new)
        assert same(leaf, expected)


def test_put_in_half_precision(run: RUN) -> None:
    """Every kind of number, ties and what is too small or too large included, as PyTorch rounds it."""
    torch.manual_seed(0)
    halves = torch.arange(2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    halves = halves[halves.isfinite()].float()
    ties = (halves[1:] + halves[:-1]) / 2
    new = torch.cat([halves, -halves, ties, -ties, ties.nextafter(halves[1:]), torch.randn(1000) * 1e-7])
    new = torch.cat([new, torch.tensor([1e6, -1e9, 65519.0, 65520.0, math.inf, -math.inf, math.nan])])
    leaf, slots = torch.zeros(1, 1, 2, len(new), dtype=torch.float16), torch.tensor([[1]])
    put(run, leaf, slots, new[None, None, None])
    expected = new.clamp(-65504, 65504).half()
    assert torch.equal(leaf[0, 0, 1].nan_to_num(7.0), expected.nan_to_num(7.0))
    assert int(leaf[0, 0, 1].isnan().sum()) == 1 and not bool(leaf[0, 0, 0].any())


@pytest.mark.parametrize(("heads", "queries", "keys", "size"), [(4, 1, 13, 32), (4, 3, 300, 7), (2, 4, 9, 20)])
def test_attend_over_half_precision(run: RUN, heads: int, queries: int, keys: int, size: int) -> None:
    """As over the same keys and values in float32; what is not a number stays none."""
    torch.manual_seed(keys)
    q = torch.randn(3, heads, queries, size)
    k, v = (torch.randn(3, 2, keys, size).half() for _ in range(2))
    visible = torch.rand(3, 1, queries, keys) < 0.7
    v[1, 0, 0, 0] = math.nan
    found, expected = (
        attend(run, q, each[0], each[1], visible, None, None, 0.4) for each in ((k, v), (k.float(), v.float()))
    )
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert bool(found[1].isnan().any()) == bool(visible[1, :, :, 0].any())


@pytest.mark.parametrize("width", [1, 2, 4, 7])
def test_reorder(run: RUN, library: Kernels, width: int) -> None:
    """Any map within groups; a moved row is copied once, and a cycle of rows costs one copy more."""
    torch.manual_seed(width)
    R, G, C, D, used = 3 * width, 2, 5, 3, 4
    for _ in range(60):
        within = torch.randint(0, width, (R,))
        if torch.rand(()) < 0.5:
            within = torch.cat([torch.randperm(width) for _ in range(3)])
        index = within + torch.arange(R) // width * width
        leaf = torch.randn(R, G, C, D)
        expected = leaf.clone()
        expected[:, :, :used] = leaf[index, :, :used]
        sizes = {"rows": R, "heads": G, "used": used * D, "group_rows": width, **strides("cache", leaf, "row head")}
        tensors = {"cache": leaf, "index": index, "scratch": None}
        scratch = torch.empty(library.reorder_scratch_floats(library.packers["reorder"](0, tensors, sizes, {})))
        before = library.bytes_moved()
        run("reorder", {**tensors, "scratch": scratch}, sizes)
        assert same(leaf, expected)
        copies = int((index != torch.arange(R)).sum()) + cycles(index.tolist())
        assert library.bytes_moved() - before == copies * G * used * D * 4


def cycles(index: list[int]) -> int:
    """How many cycles of two rows or more `index` has."""
    found = set()
    for row in range(len(index)):
        for _ in index:
            row = index[row]  # at the end in the cycle that this row leads to
        cycle = {row}
        while (row := index[row]) not in cycle:
            cycle.add(row)
        found.add(frozenset(cycle))
    return sum(len(cycle) > 1 for cycle in found)


@pytest.mark.parametrize("positions", [None, 1, 5])
def test_embed(run: RUN, positions: int | None) -> None:
    ids, table, out = torch.tensor([0, 3, 6, -2, 99]), torch.randn(7, 19), torch.empty(5, 19)
    added = None if positions is None else torch.randn(positions, 19)
    tensors = {"ids": ids, "table": table, "added": added, "out": out}
    sizes = {"rows": 5, "dim": 19, "vocab_size": 7, "added_stride": 0 if positions == 1 else 19}
    run("embed", tensors, sizes, {"factor": 1.5})
    expected = table[[0, 3, 6, 0, 0]].double() * 1.5 + (0 if added is None else added.double())
    torch.testing.assert_close(out.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [1, 8, 13, 70001])
def test_elementwise(run: RUN, count: int) -> None:
    a, b, out = torch.randn(count) * 3, torch.randn(count), torch.empty(count)
    tensors, sizes = {"left": a, "right": b, "out": out}, {"count": count, "activation": 0}
    run("add", tensors, sizes, {"factor": 0.0})
    assert same(out, a + b)
    run("multiply", tensors, sizes, {"factor": 0.0})
    assert same(out, a * b)
    run("scale", tensors, sizes, {"factor": 0.3})
    torch.testing.assert_close(out, a * 0.3)
    forms = {"plain": torch.nn.Identity(), "relu": F.relu, "gelu": F.gelu, "silu": F.silu}
    forms["gelu_tanh"] = partial(F.gelu, approximate="tanh")
    for kind, form in forms.items():
        sizes = {"count": count, "activation": ACTIVATIONS[kind]}
        run("activate", {"left": a, "right": None, "out": out}, sizes, {"factor": 0.0})
        torch.testing.assert_close(out.double(), form(a.double()), rtol=1e-6, atol=1e-6)
        a[0] = math.nan
        run("activate", {"left": a, "right": None, "out": a}, sizes, {"factor": 0.0})
        assert math.isnan(a[0])
        a = torch.randn(count) * 3


@pytest.mark.parametrize("half", [3, 8, 33])
@pytest.mark.parametrize("tables", [1, 4])
def test_rotary(run: RUN, half: int, tables: int) -> None:
    B, H, L = 4, 2, 3
    x = torch.randn(B, L, H, 2 * half).transpose(1, 2)
    angle = torch.randn(tables, 1, L, half)
    cos, sin = angle.cos(), angle.sin()
    out = torch.empty(B, H, L, 2 * half)
    angle_strides = strides("angle", cos.expand(B, 1, L, half)[:, 0], "row position")
    sizes = {"rows": B, "heads": H, "length": L, "dim": 2 * half, **angle_strides}
    sizes |= strides("x", x, "row head position") | strides("out", out, "row head position")
    run("rotary", {"x": x, "cos": cos, "sin": sin, "out": out}, sizes)
    left, right = x.double().chunk(2, -1)
    c, s = cos.double(), sin.double()
    torch.testing.assert_close(
        out.double(), torch.cat([left * c - right * s, right * c + left * s], -1), rtol=1e-6, atol=1e-6
    )
