"""The range test of the learning rate: where it stops, what it suggests, what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from antiphon.cli.main import main
from antiphon.errors import ConfigError, WorkError
from antiphon.workflows.finding.find_lr import LossCurve, find_lr, rate_lines

RECIPE = """
task: text
data: {train: {path: p.tsv}}
tokenizer: {kind: characters, vocab_size: 300}
model: {preset: tiny, d_model: 32, num_heads: 2, ffn_dim: 32, encoder_layers: 1, decoder_layers: 1}
training: {max_steps: 20, batch_tokens: 200}
output: out
"""


def rates(count: int, low: float = 1e-6, high: float = 1.0) -> list[float]:
    return [low * (high / low) ** (place / (count - 1)) for place in range(count)]


def made(losses: list[float]) -> LossCurve:
    curve = LossCurve()
    for rate, loss in zip(rates(len(losses)), losses, strict=True):
        if not curve.add(rate, loss):
            break
    return curve


def valley(rate: float) -> float:
    """Falls fastest at 1e-3, lowest at 1e-1, rises steeply beyond."""
    place = math.log10(rate)
    return 6 - 4 / (1 + math.exp(-3 * (place + 3))) + max(0.0, place + 1) ** 2 * 8


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    result = made([valley(rate) for rate in rates(200)]).result()
    assert 7e-4 < result.suggested < 3e-3  # smoothing shifts it upwards
    assert 5e-2 < result.lowest < 0.3
    assert result.diverged is not None and result.lowest < result.diverged < 1
    assert len(result.points) < 200 and result.points[-1][0] <= result.diverged  # stopped there
    assert f"suggested rate: {result.suggested:.2g}" in result.verdict and "it diverges at" in result.verdict


def test_a_loss_that_is_not_finite_ends_the_test() -> None:
    curve = made([*(5 - 0.1 * place for place in range(15)), math.nan, 1.0])
    assert curve.diverged == pytest.approx(rates(17)[15]) and len(curve.points) == 15
    assert made([5 - 0.1 * place for place in range(30)]).result().diverged is None


def test_a_loss_that_never_falls_is_said() -> None:
    with pytest.raises(WorkError, match="the loss must fall at some rate, but did not"):
        made([1 + 0.1 * place for place in range(30)]).result()


def test_the_curve_in_a_terminal_marks_the_suggestion_and_fits() -> None:
    result = made([valley(rate) for rate in rates(100)]).result()
    lines = rate_lines(result, width=60)
    assert max(map(len, lines)) <= 60 and sum("<- suggested" in line for line in lines) == 1
    [marked] = [line for line in lines if "<- suggested" in line]
    assert abs(math.log(float(marked.split()[0]) / result.suggested)) < math.log(2)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.tsv").write_text("".join(f"a{i} b{i}\tb{i} a{i}\n" for i in range(20)))
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE)
    return file


def test_the_command_trains_and_writes_only_its_picture(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["find-lr", str(recipe), "--steps", "60", "--threads", "1", "--set", "training.optimizer=muon"]
    assert main([*words, "--output", "lr.svg", "--json"]) == 0
    said = capsys.readouterr()
    assert "step 60/60  lr 1.00e+00" in said.err and "the curve is in `lr.svg`" in said.err
    picture = Path("lr.svg").read_text()
    assert picture.startswith("<svg") and "suggested" in picture and "learning rate" in picture
    assert {file.name for file in recipe.parent.iterdir()} == {"p.tsv", "r.yaml", "lr.svg"}
    found = json.loads(said.out)
    assert found["points"][0][0] == pytest.approx(1e-6) and found["points"][0][1] == pytest.approx(5.9, abs=0.6)
    assert min(loss for _, loss in found["points"]) < 4 and 1e-4 < found["suggested"] < found["lowest"]


def test_wrong_input_is_one_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--output", "lr.png"], "`--output` must end in .svg, .html, .json, but is `lr.png`."),
        (["--set", "training.lrr=3"], "`training.lrr` is not a known setting (--training.lrr), did you mean `lr`?"),
        (["--set", "lr"], "`--set` must be KEY=VALUE, such as training.optimizer=muon, but is `lr`."),
        (["--low", "2"], "`low` must be above 0 and below `high`, but they are 2.0 and 1.0."),
        (["--steps", "5"], "`steps` must be at least 20, but is 5."),
    ):
        assert main(["find-lr", str(recipe), "--quiet", *words]) == 2
        assert capsys.readouterr().err == f"antiphon: {message}\n"
    with pytest.raises(ConfigError, match="`overrides` and `variant` need the path of a recipe"):
        find_lr({"data": {}}, overrides={"training.lr": "1"})
