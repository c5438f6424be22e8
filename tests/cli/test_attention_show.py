"""`antiphon attention show`: the drawing, the files, the alignment, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

import antiphon

TEXTS = ("one two three", "four five")


@pytest.fixture(scope="session")
def model(model_folder: Path) -> antiphon.Model:
    return antiphon.load(model_folder)


def test_the_map_is_drawn_on_standard_output(run, model_folder: Path, model: antiphon.Model) -> None:
    ended = run("attention", "show", model_folder, *TEXTS)
    assert ended.code == 0
    assert ended.lines[0] == "cross attention, layer 1 of 1, mean of 2 heads"
    maps = model.attention(*TEXTS)
    rows = [line.split()[0] for line in ended.lines[-len(maps.target_tokens) :]]
    assert rows == maps.target_tokens
    assert max(map(cell_len, ended.lines)) <= 80
    assert "\x1b" not in ended.out  # no colours where there is no terminal
    assert ended.err.startswith("antiphon: cpu")


def test_without_a_target_it_is_the_answer(run, model_folder: Path, model: antiphon.Model) -> None:
    ended = run("attention", "show", model_folder, TEXTS[0], "--quiet", "--which", "decoder", "--layer", 1, "--head", 2)
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[0] == "decoder attention, layer 1 of 1, head 2 of 2"
    tokens = model.attention(TEXTS[0]).target_tokens
    assert [line.split()[0] for line in ended.lines[-len(tokens) :]] == tokens


def test_the_alignment_is_one_line(run, model_folder: Path, model: antiphon.Model) -> None:
    maps = model.attention(*TEXTS)
    for flags, expected in (
        ([], maps.pharaoh()),
        (["--words"], maps.pharaoh(words=True)),
        (["--layer", 1, "--head", 2], maps.pharaoh(layer=0, head=1)),
    ):
        ended = run("attention", "show", model_folder, *TEXTS, "--align", *flags)
        assert (ended.code, ended.out) == (0, expected + "\n")


def test_a_page_and_an_alignment_at_once(run, model_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "map.html"
    ended = run("attention", "show", model_folder, "one <script>alert(1)</script>", "--output", file, "--align")
    assert ended.code == 0 and ended.out.count("\n") == 1
    assert f"drawn in `{file}`" in ended.err
    text = file.read_text(encoding="utf-8")
    assert text.count("<script") == 2 and "&lt;script&gt;alert(1)" in text


def test_a_picture(run, model_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ended = run("attention", "show", model_folder, *TEXTS, "--output", tmp_path / "map.png")
    assert (ended.code, ended.out) == (0, "")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "`source` must have at least one token"),
        (["one", "two", "--layer", "2"], "`--layer` must be at most 1, the layers of the cross attention, or mean"),
        (["one", "two", "--head", "9"], "`--head` must be at most 2"),
        (["one", "--layer", "0"], "`--layer` must be a number from 1 on, or mean, but is `0`"),
        (["one", "--head", "first"], "`--head` must be a number from 1 on, or mean, but is `first`"),
        (["one", "--output", "map.pdf"], "must be a .png, .svg or .html file, but is `map.pdf`"),
        (["one", "--output", "/nowhere/map.html"], "No such file or directory"),
        (["one", "--which", "corss"], "must be one of cross, encoder, decoder"),
        (["one", "--words"], "Give both"),
        (["one", "--align", "--which", "encoder"], "`--align` is of the cross attention"),
        (["one", "two", "three"], "was given `three`"),
        ([], "needs SOURCE"),
        (["one " * 99], "the source must have at most 64 tokens"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run, model_folder: Path, words: list[str], said: str) -> None:
    ended = run("attention", "show", model_folder, *words, "--quiet")
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err and ended.err.count("\n") == 1


def test_a_mixer_without_weights_is_told(run, model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.warns(UserWarning, match="was replaced"):
        antiphon.load(model_folder, attention={"cross": "linear", "encoder": "additive"}).save(folder)
    assert json.loads((folder / "config.json").read_text())["attention"]["cross"] == "linear"
    ended = run("attention", "show", folder, "one", "two", "--quiet")
    assert ended.code == 2 and "cross attention has no weights to look at" in ended.err
    assert ended.err.count("\n") == 1
    for which in ("encoder", "decoder"):
        assert run("attention", "show", folder, "one", "two", "--which", which).code == 0


FADE = """
import torch
from antiphon.nn import ScoreRule

class Fade(ScoreRule):
    additive = True

    def setup(self, *, num_heads, head_dim, role):
        self.rate = torch.nn.Parameter(torch.full((num_heads,), 0.05))

    def score(self, score, batch, head, q_pos, k_pos):
        return score - self.rate[head] * (q_pos - k_pos).abs()
"""


def test_import_is_enough_for_a_module_that_registers_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of docs/attention.md, section 4; the class is given to `train` as it is."""
    (tmp_path / "fade_of_test.py").write_text(FADE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from fade_of_test import Fade  # pyright: ignore[reportMissingImports]

    try:
        pairs = [("one two", "three"), ("two", "four five")]
        recipe = {
            "data": {"train": pairs, "valid": pairs},
            "tokenizer": {"kind": "bytes"},
            "model": {"preset": "tiny", "d_model": 16, "num_heads": 2, "ffn_dim": 24},
            "attention": {"encoder": Fade, "decoder": {"all": [Fade, {"window": 32}]}},
            "training": {"max_steps": 1},
            "output": "runs/fade",
        }
        antiphon.train(recipe, quiet=True)
        assert "encoder: fade_of_test:Fade" in Path("runs/fade/config.yaml").read_text()
        del sys.modules["fade_of_test"]
        show = ("attention", "show", "runs/fade", "one", "three", "--output", "maps.html", "--quiet")
        refused = run(*show)
        assert refused.code == 2 and "Give --import fade_of_test first" in refused.err
        assert run(*show, "--import", "fade_of_test").code == 0 and Path("maps.html").exists()
    finally:
        sys.modules.pop("fade_of_test", None)
