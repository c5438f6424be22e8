"""Where the kernels come from: compiled once, kept, and done without where they cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from runtime.native_build import library as build

from antiphon.runtime.kernels import compiler
from antiphon.runtime.kernels.compiler import Unusable, c_compiler, compile_to, library, why_not
from antiphon.runtime.kernels.layout import computes_correctly

ANSWERS = """
import os, sys, warnings
warnings.simplefilter("always")
import pytest, torch
from antiphon.search.engine import answer
from antiphon.config import GenerationConfig
from antiphon.generation.quantize import quantize
from antiphon.runtime.kernels import compiler
folder, runs = eval(sys.argv[1])
for number, (quantized, settings) in enumerate(runs):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0, f"run {number}"
        continue
    assert compiler._found.cache_info().currsize == 0, "no kernels were looked for before"
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{number}.{name}", os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    os.environ.update(settings)
    from runtime.test_stepper import SPECIAL, network_of
    network = network_of("rotary", seed=3)
    if quantized:
        quantize(network)
    for each in answer(network, [[5, 6, 7, 2], [9, 4, 2]], GenerationConfig(beam_size=3, max_new_tokens=9), SPECIAL):
        print(each[0].ids, round(each[0].score, 2))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
"""


def run(folder: Path, runs: list[tuple[bool, dict[str, str]]]) -> list[tuple[str, str]]:
    """What processes with a common cache write to their outputs, one after the other: each of `runs` says whether its
    network is quantized, and the settings of its environment. They are forks of one that has imported PyTorch."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(folder)}
    command = [sys.executable, "-c", ANSWERS, repr((str(folder), runs))]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    said = [[path.read_text() for path in sorted(folder.glob(f"*.{name}"))] for name in ("out", "err")]
    assert ended.returncode == 0, f"{ended.stderr}\n{said[1]}"
    return list(zip(*said, strict=True))


@pytest.mark.skipif(why_not() is not None, reason=f"no kernels: {why_not()}")
def test_without_a_compiler_the_answers_are_the_same_and_it_is_said_once(tmp_path: Path) -> None:
    none = {"CC": "no-such-compiler"}
    found, *without, off = run(
        tmp_path, [(False, {}), (False, none), (True, none), (False, {"ANTIPHON_KERNELS": "off"})]
    )
    assert found[0].count("\n") == 2 and found[1] == ""
    assert len(list((tmp_path / "antiphon").glob("kernels-*.so"))) == 1
    for quantized, (answers, said) in enumerate(without):
        assert answers == found[0] if not quantized else answers.count("\n") == 2
        assert said.count("UserWarning") == 1
        assert "PyTorch alone, which is slower: there is no C compiler (no-such-compiler)." in said
    assert off == found


def test_what_does_not_compile_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        there = c_compiler()
    except Unusable as error:
        pytest.skip(str(error))
    with pytest.raises(Unusable, match=r"does not compile the kernels .*no-such-flag"):
        compile_to(tmp_path / "kernels.so", there, ["-fno-such-flag"])
    with pytest.raises(Unusable, match=r"`/bin/false` does not compile the kernels \(exit status 1\)$"):
        compile_to(tmp_path / "kernels.so", "/bin/false")
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_computes_wrongly_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernels = build("-march=native")
    assert computes_correctly(kernels)
    names = ("packed_float_bytes", "packed_int8_bytes", "workspace_bytes", "pack_float", "pack_int8", "linear_float")
    idle = SimpleNamespace(linear_int8=lambda step: None, **{name: getattr(kernels, name) for name in names})
    assert not computes_correctly(idle)  # type: ignore[arg-type]
    monkeypatch.setattr(compiler, "computes_correctly", lambda found: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(Unusable, match="computes other numbers than it must on this processor"):
        compiler._load()


def test_a_cache_that_others_may_write_to_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is loaded from there runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiler._cache_folder() == tmp_path / "antiphon"
    (tmp_path / "antiphon").chmod(0o777)
    elsewhere = compiler._cache_folder()
    assert elsewhere != tmp_path / "antiphon" and elsewhere.stat().st_mode & 0o077 == 0
    elsewhere.rmdir()


def test_it_is_loaded_once() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert library() is library()
