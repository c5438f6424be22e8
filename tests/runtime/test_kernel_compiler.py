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

ANSWER = """
import warnings
warnings.simplefilter("always")
from antiphon.search.engine import answer
from antiphon.config import GenerationConfig
from antiphon.generation.quantize import quantize
from runtime.test_stepper import SPECIAL, network_of
network = network_of("rotary", seed=3)
QUANTIZE
for each in answer(network, [[5, 6, 7, 2], [9, 4, 2]], GenerationConfig(beam_size=3, max_new_tokens=9), SPECIAL):
    print(each[0].ids, round(each[0].score, 2))
"""


def run(tmp_path: Path, *, quantized: bool = False, **settings: str) -> subprocess.CompletedProcess[str]:
    """Answers of a fresh process with a cache of its own, under these settings of the environment."""
    code = ANSWER.replace("QUANTIZE", "quantize(network)" if quantized else "")
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path), **settings}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)


@pytest.mark.skipif(why_not() is not None, reason=f"no kernels: {why_not()}")
def test_without_a_compiler_the_answers_are_the_same_and_it_is_said_once(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found.stderr == "" and len(list((tmp_path / "antiphon").glob("kernels-*.so"))) == 1
    for quantized in (False, True):
        without = run(tmp_path, quantized=quantized, CC="no-such-compiler")
        assert quantized or without.stdout == found.stdout
        assert without.stderr.count("UserWarning") == 1
        assert "PyTorch alone, which is slower: there is no C compiler (no-such-compiler)." in without.stderr
    off = run(tmp_path, ANTIPHON_KERNELS="off")
    assert off.stdout == found.stdout and off.stderr == ""


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
