"""The table of arguments drives both sides: the C sources and Python take every index from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runtime.native_build import Kernels, compiled
from runtime.native_build import library as build
from torch.nn import functional as F

import antiphon.runtime.kernels
from antiphon.runtime.kernels import compiler, table
from antiphon.runtime.kernels.compiler import FLAGS, Unusable, c_compiler, compile_to
from antiphon.runtime.kernels.steps import ArgumentPacker
from antiphon.runtime.kernels.table import MAX_SIZES, SIGNATURES, TABLE, Signature, header

SOURCES = Path(antiphon.runtime.kernels.__file__).parent
RUNTIME = SOURCES.parent


def swapped(names: tuple[str, ...], one: str, other: str) -> tuple[str, ...]:
    exchange = {one: other, other: one}
    return tuple(exchange.get(name, name) for name in names)


def norm_of(kernels: Kernels, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    rows, dim = x.shape
    out = torch.zeros(rows, dim)
    tensors = {"x": x, "weight": weight, "bias": bias, "out": out, "residual": None, "sum": None}
    sizes = {"rows": rows, "dim": dim, "kind": 0, "x_stride": dim, "out_stride": dim}
    kernels.call("norm", tensors, sizes, {"eps": 1e-5})
    return out


def test_a_swap_of_two_names_in_the_header_is_seen() -> None:
    """The header alone decides which tensor is which: C takes the weight for the bias, and nothing else changes."""
    norm = TABLE["norm"]
    wrong = {**TABLE, "norm": replace(norm, tensors=swapped(norm.tensors, "weight", "bias"))}
    # -O0: a third of the time, and the order of arguments is the same.
    on_one_side = compiled(wrong, "-O0", name="swapped", called_with=TABLE)
    on_both_sides = compiled(wrong, "-O0", name="swapped")
    torch.manual_seed(0)
    x, weight, bias = torch.randn(3, 20), torch.randn(20), torch.randn(20)
    expected, exchanged = (F.layer_norm(x, (20,), *pair) for pair in ((weight, bias), (bias, weight)))
    torch.testing.assert_close(norm_of(on_both_sides, x, weight, bias), expected)
    torch.testing.assert_close(norm_of(on_one_side, x, weight, bias), exchanged)
    assert not torch.allclose(exchanged, expected, atol=0.1)


def test_a_name_that_the_table_lacks_does_not_compile(tmp_path: Path) -> None:
    try:
        installed = c_compiler()
    except Unusable as error:
        pytest.skip(str(error))
    norm = TABLE["norm"]
    renamed = replace(norm, sizes=tuple(name.replace("dim", "width") for name in norm.sizes))
    with pytest.raises(Unusable, match=r"norms\.c"):
        compile_to(tmp_path / "kernels.so", installed, [*FLAGS, "-O0"], arguments_h=header({**TABLE, "norm": renamed}))
    assert list(tmp_path.iterdir()) == []


def test_an_argument_that_is_added_must_be_given() -> None:
    norm = TABLE["norm"]
    tensors = dict.fromkeys(norm.tensors)
    sizes = dict.fromkeys(norm.sizes, 1)
    assert len(ArgumentPacker(norm)(0, tensors, sizes, {"eps": 1e-5})) > 0
    longer = ArgumentPacker(replace(norm, sizes=(*norm.sizes, "groups")))
    with pytest.raises(AssertionError, match=r"norm.*missing \['groups'\], unknown \[\]"):
        longer(0, tensors, sizes, {"eps": 1e-5})
    with pytest.raises(AssertionError, match=r"missing \['dim'\], unknown \['width'\]"):
        ArgumentPacker(norm)(0, tensors, {**{n: 1 for n in norm.sizes if n != "dim"}, "width": 1}, {"eps": 1e-5})
    with pytest.raises(AssertionError, match=r"missing \[\], unknown \['mask'\]"):
        ArgumentPacker(norm)(0, {**tensors, "mask": None}, sizes, {"eps": 1e-5})
    with pytest.raises(AssertionError, match=r"missing \['eps'\], unknown \[\]"):
        ArgumentPacker(norm)(0, tensors, sizes, {})


def test_a_table_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(AssertionError, match="33 arguments of one type, at most 32"):
        Signature(kernels=("k",), tensors=(), sizes=tuple(f"n{i}" for i in range(MAX_SIZES + 1)))
    with pytest.raises(AssertionError, match="a name stands for two arguments"):
        Signature(kernels=("k",), tensors=("x",), sizes=("rows", "x"))


def test_the_compiled_library_depends_on_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of another table is never loaded from the cache."""
    try:
        installed = c_compiler()
    except Unusable as error:
        pytest.skip(str(error))
    before = compiler._build_key(installed)
    assert compiler._build_key(installed) == before
    norm = TABLE["norm"]
    other = {**TABLE, "norm": replace(norm, tensors=swapped(norm.tensors, "weight", "bias"))}
    monkeypatch.setattr(compiler, "header", lambda: table.header(other))
    assert compiler._build_key(installed) != before


def c_code() -> Iterator[tuple[str, str]]:
    """The C sources without comments."""
    for path in sorted(SOURCES.glob("*.[ch]")):
        yield path.name, re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_each_index_in_c_is_a_name_of_the_table() -> None:
    """p[...], n[...] and f[...] of a step, in the array that the table says."""
    allowed: dict[str, set[str]] = {"p": set(), "n": set(), "f": set()}
    for prefix, signature in TABLE.items():
        for array, names in zip("pnf", (signature.tensors, signature.sizes, signature.numbers), strict=True):
            allowed[array] |= {f"{prefix}_{name}".upper() for name in names}
    used: dict[str, set[str]] = {"p": set(), "n": set(), "f": set()}
    for file, code in c_code():
        assert not re.search(r"\b[pnf]\[\s*\d", code), f"{file}: an argument by number"
        for array, index in re.findall(r"(?:->|\.|\b)([pnf])\[([^\]]*)\]", code):
            if not index.startswith("MAX_"):  # the declaration in step.h
                assert index in allowed[array], f"{file}: {array}[{index}] is not in table.py"
                used[array].add(index)
    # The header has no name that no kernel reads, apart from flags that a shared signature has for others.
    assert allowed["p"] - used["p"] == set()
    assert allowed["f"] - used["f"] == set()
    assert allowed["n"] - used["n"] == set()


def test_no_argument_is_an_index_in_python() -> None:
    for path in sorted((*SOURCES.glob("*.py"), *(RUNTIME / "recorder").glob("*.py"), RUNTIME / "ancestry.py")):
        code = path.read_text(encoding="utf-8")
        assert not re.search(r"\.[pnf]\[[\s:]*\d", code), f"{path.name}: an argument by number"


def test_enumerations_reach_c() -> None:
    assert "ACTIVATION_GELU_TANH" in header() and "NORM_KIND_RMS" in header()
    for name, code in c_code():
        for constant in re.findall(r"\b(?:ACTIVATION|NORM_KIND)_[A-Z_]+\b", code):
            assert re.search(rf"\b{constant}\b", header()), f"{name}: {constant}"


@pytest.fixture(params=[False, True], ids=["table", "shuffled"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return build("-march=native", shuffled=request.param)


def test_integers_and_masks(kernels: Kernels) -> None:
    """The kernels that only a recorded step uses, with every argument at its own index and at another one."""
    torch.manual_seed(0)
    x, least = torch.randint(-5, 5, (7,)), torch.empty(7, dtype=torch.bool)
    raised = torch.empty_like(x)
    kernels.call("at_least", {"x": x, "out": least}, {"count": 7, "bound": 2})
    kernels.call("raise_to", {"x": x, "out": raised}, {"count": 7, "bound": 2})
    assert torch.equal(least, x >= 2) and torch.equal(raised, x.clamp(min=2))
    q_pos, k_pos = torch.tensor([[1], [3]]), torch.tensor([[0, 1, 2, -1]])
    for causal in (0, 1):
        seen = torch.empty(2, 1, 1, 4, dtype=torch.bool)
        sizes = {"rows": 2, "queries": 1, "keys": 4, "causal": causal, "q_pos_stride": 1, "k_pos_stride": 0}
        kernels.call("sight", {"q_pos": q_pos, "k_pos": k_pos, "out": seen}, sizes)
        expected = (k_pos >= 0) & ((k_pos <= q_pos) if causal else torch.ones(2, 4, dtype=torch.bool))
        assert torch.equal(seen[:, 0, 0], expected)
    hidden, valid = torch.randn(2, 3, 5), torch.tensor([[True, False, True]])
    zeroed, summed, shared = torch.empty_like(hidden), torch.empty_like(hidden), torch.randn(1, 3, 5)
    sizes = {"rows": 2, "length": 3, "dim": 5, "valid_stride": 0}
    kernels.call("blank", {"x": hidden, "valid": valid, "out": zeroed}, sizes)
    assert torch.equal(zeroed, hidden * valid[..., None])
    kernels.call("add_shared", {"x": hidden, "shared": shared, "out": summed}, {"count": 30, "shared_count": 15})
    assert torch.equal(summed, hidden + shared)


@pytest.mark.parametrize("rows", [1, 6])
def test_place(kernels: Kernels, rows: int) -> None:
    """Slots for one row of all hypotheses, or one of each; 6 hypotheses of sources with 3 each."""
    capacity, width = 4, 3
    key_pos, used = torch.full((rows, capacity + 1), -1), torch.full((rows,), 1)
    key_pos[:, 0] = 0
    new_pos, slots = torch.tensor([[1, -1, 2]]), torch.empty(rows, 3, dtype=torch.long)
    ancestry = torch.full((6, capacity + 1), 9, dtype=torch.int32)
    tensors = {"key_pos": key_pos, "slots_used": used, "new_pos": new_pos, "slots": slots, "ancestry": ancestry}
    sizes = {"rows": rows, "length": 3, "capacity": capacity, "new_pos_stride": 0, "beam_width": width}
    kernels.call("place", tensors, {**sizes, "ancestry_rows": 6, "ancestry_stride": capacity + 1})
    assert slots.tolist() == [[1, capacity, 2]] * rows and used.tolist() == [3] * rows
    assert key_pos.tolist() == [[0, 1, 2, -1, -1]] * rows
    own = torch.arange(6, dtype=torch.int32) % width
    assert all(torch.equal(ancestry[:, slot], own) for slot in (1, 2, capacity))
    assert bool((ancestry[:, [0, 3]] == 9).all())


ANSWERS = """
from antiphon.config import GenerationConfig
from antiphon.generation.quantize import quantize
from antiphon.search.engine import answer
from runtime.test_stepper import SPECIAL, network_of
for kind in ("float32", "int8"):
    network = network_of("rotary", seed=3)
    if kind == "int8":
        quantize(network)
    config = GenerationConfig(beam_size=3, n_best=3, max_new_tokens=9)
    for each in answer(network, [[5, 6, 7, 2], [9, 4, 2]] * 5, config, SPECIAL):
        print([(hypothesis.ids, hypothesis.score) for hypothesis in each])
"""
SHUFFLED_ANSWERS = f"""
import importlib.util, sys
from dataclasses import replace
# The table alone, before the runtime is imported, which reads it.
NAME = "antiphon.runtime.kernels.table"
spec = importlib.util.spec_from_file_location(NAME, PATH)
table = sys.modules[NAME] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)
for name, signature in list(table.TABLE.items()):
    sizes = (signature.sizes[0], *reversed(signature.sizes[1:]))  # the first size counts rows
    table.TABLE[name] = replace(signature, tensors=signature.tensors[::-1], sizes=sizes)
table.SIGNATURES.update(table.by_kernel(table.TABLE))
{ANSWERS}
from antiphon.runtime.kernels.steps import SIGNATURES
assert SIGNATURES is table.SIGNATURES
"""


@pytest.mark.skipif(compiler.why_not() is not None, reason=f"no kernels: {compiler.why_not()}")
def test_recorded_steps_follow_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers of whole searches with every argument at another index: recording, fusion, memory and the beam's ancestry
    take each index from the table too. The answers to compare with are those of this process."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", SHUFFLED_ANSWERS.replace("PATH", repr(table.__file__))]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    exec(ANSWERS, {})
    expected = capsys.readouterr().out
    assert ended.stdout == expected and expected.count("\n") == 20
    assert [path.name for path in (tmp_path / "antiphon").glob("kernels-*.so")] != []
    assert not (tmp_path / "antiphon" / f"kernels-{compiler._build_key(c_compiler())}.so").exists()
    assert SIGNATURES["norm"].size_index["dim"] == 1  # of this process, unchanged
