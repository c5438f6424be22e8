"""How a validation searches: sources are read as the model will read them, and a search that cannot be is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import antiphon
from antiphon.errors import ConfigError
from antiphon.text.phrases import phrases

CORPUS = phrases("en", "de")


def in_fours(rows: Any) -> list[tuple[str, str]]:
    """Four phrases; the target is the last one's, which a truncated source does not show."""
    groups = [rows[i : i + 4] for i in range(0, len(rows) - 4, 4)]
    return [(" ; ".join(a for a, _ in group), group[3][1]) for group in groups if len(group[3][1]) < 16]


LONG, VALID = in_fours(CORPUS.train)[:200], in_fours(CORPUS.valid[:120])


def recipe(output: Path, **sections: Any) -> dict[str, Any]:
    small = {"preset": "tiny", "d_model": 32, "ffn_dim": 64, "num_heads": 2, "dropout": 0.0, "max_length": 24}
    made: dict[str, Any] = {
        "data": {"train": LONG, "valid": VALID},
        "tokenizer": {"kind": "bpe", "vocab_size": 330},
        "model": small,
        "training": {"max_steps": 30, "batch_tokens": 512, "warmup_steps": 5, "lr": 5e-3},
        "validation": {"every_steps": 30, "metrics": ["chrf"], "samples": 1},
        "output": str(output),
    }
    for name, settings in sections.items():
        made[name] = {**made.get(name, {}), **settings}
    return made


@pytest.mark.parametrize(
    ("data", "generation", "reads"),
    [
        ("window", "window", "window"),
        ("window", None, "window"),
        ("truncate", "split", "split"),
        ("truncate", "truncate", "truncate"),
        ("truncate", None, "truncate"),
        ("window", "truncate", "truncate"),
    ],
)
def test_a_validation_measures_what_evaluate_measures(
    data: str, generation: str | None, reads: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # F1: every source was truncated, whatever the recipe said.
    asked = {"beam_size": 1} | ({} if generation is None else {"overflow": generation})
    antiphon.train(recipe(tmp_path / "run", data={"overflow": data}, generation=asked))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    [validated] = [row["chrf"] for row in rows if "chrf" in row]
    model = antiphon.load(tmp_path / "run")
    chrf = {how: antiphon.evaluate(model, VALID, ["chrf"], overflow=how)["chrf"].score for how in {"truncate", reads}}
    assert validated == pytest.approx(chrf[reads])
    assert reads == "truncate" or chrf["truncate"] != pytest.approx(chrf[reads])  # so that it tells
    said = capsys.readouterr().err.count("since `generation.overflow` is error")
    assert said == (generation is None)


def test_sources_that_training_skips_are_not_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = [("in 3 hours", "in 3 Stunden")]
    changes = {"data": {"train": LONG + short * 20, "valid": [*VALID, *short], "overflow": "skip"}}
    run = antiphon.train(recipe(tmp_path / "run", **changes))
    [figure] = [row["chrf"] for row in run.metrics if "chrf" in row]
    limit = run.model.network.max_length
    kept = [pair for pair in changes["data"]["valid"] if len(run.model.tokenizer.encode(pair[0])) <= limit]
    assert 0 < len(kept) < len(VALID)
    assert figure == pytest.approx(antiphon.evaluate(run.model, kept, ["chrf"], beam_size=1)["chrf"].score)
    assert f"{len(VALID) + 1 - len(kept)} of {len(VALID) + 1} validation sources" in capsys.readouterr().err


SHORT = {"train": CORPUS.train[:100], "valid": CORPUS.valid[:10]}
GROUPS = {"beam_size": 4, "beam_groups": 2, "diversity_penalty": 0.5}


@pytest.mark.parametrize(
    ("generation", "validation", "named"),
    [
        (GROUPS, {"beam_size": 3}, "`validation.beam_size` must be a multiple of `generation.beam_groups` (2)"),
        ({"min_new_tokens": 300}, {}, "`min_new_tokens` must be at most what the model's max_length leaves (256)"),
        ({"required": ["Haus"], "forbidden": ["Haus"]}, {}, "must not conflict with `forbidden`"),
        ({"prefix": "x " * 300}, {}, "the prefix of input 1 must have fewer tokens than the model's max_length (256)"),
        ({"allowed": ["a " * 30 + "a"], "max_new_tokens": 5}, {}, "the longest allowed text"),
        ({"required": ["\ufffd"]}, {}, "that the vocabulary can spell"),
        ({"required": ["Haus"], "overflow": "split"}, {}, "must not be split where its answer is restricted"),
    ],
)
def test_a_search_that_no_validation_could_do_is_refused_before_the_first_step(
    generation: dict[str, Any], validation: dict[str, Any], named: str, tmp_path: Path
) -> None:
    # F13: the error came at the first validation, and the training until then was lost.
    data = SHORT | ({"valid": [("in 3 hours. " * 60, "in 3 Stunden")]} if "overflow" in generation else {})
    data |= {"overflow": "truncate"} if "overflow" in generation else {}
    config = recipe(tmp_path / "run", data=data, model={"max_length": 256}, generation=generation)
    config["validation"] |= validation
    with pytest.raises(ConfigError, match=r"generation|validation") as caught:
        antiphon.train(config, quiet=True)
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_classification_with_an_allowed_text_that_is_no_label_is_refused_too(tmp_path: Path) -> None:
    data = {"train": [("good", "yes"), ("bad", "no")] * 10, "valid": [("good", "yes")]}
    config = {**recipe(tmp_path / "run", data=data, generation={"allowed": ["maybe"]}), "task": "classification"}
    with pytest.raises(ConfigError, match="but the text `maybe` is none"):
        antiphon.train({**config, "validation": {"every_steps": 30, "metrics": ["accuracy"]}}, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_grouped_search_is_validated_without_groups_where_the_beam_is_smaller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = {"max_steps": 2, "batch_tokens": 512}
    config = recipe(tmp_path / "run", data=SHORT, model={"max_length": 64}, generation=GROUPS, training=steps)
    run = antiphon.train(config)
    assert [row for row in run.metrics if "chrf" in row]
    assert "validation searches without groups, since `validation.beam_size` is 1" in capsys.readouterr().err
    assert run.model.generation.beam_groups == 2  # the model keeps its search


def test_without_answers_nothing_is_tried(tmp_path: Path) -> None:
    settings = {"metrics": [], "samples": 0, "every_steps": 2}
    steps = {"max_steps": 2, "batch_tokens": 512}
    config = recipe(tmp_path / "run", data=SHORT, model={"max_length": 64}, validation=settings, training=steps)
    run = antiphon.train({**config, "generation": {"min_new_tokens": 64}}, quiet=True)
    assert run.metrics[-1]["step"] == 2 and any("valid_loss" in row for row in run.metrics)
