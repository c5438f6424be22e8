"""What the objects of a user show: `_repr_html_` and `repr`."""

from __future__ import annotations

import copy
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from antiphon import Model, check_attention, evaluate, load, train
from antiphon.conformance import examine
from antiphon.evaluation.groups import grouped
from antiphon.generation.answers import MOST_SHOWN, Answers, Generation
from antiphon.generation.attention.maps import AttentionMaps
from antiphon.models import Decoder, Encoder, EncoderDecoder, InputEmbedding, Shape
from antiphon.models.stack import count_parameters
from antiphon.models.summary import summary
from antiphon.nn import Embedding, ScoreRule, Sinusoidal
from antiphon.text import Tokenizer, train_tokenizer
from antiphon.training.reporting.rows import MAX_TABLE_ROWS, MetricRows
from antiphon.workflows.train import Run

PAIRS = [("<b>one</b> two", "two <b>one</b>"), ("three four", "four three"), ("five six", "six five")] * 8


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(
        {
            "data": {"train": PAIRS, "valid": PAIRS[:3]},
            "tokenizer": {"kind": "bpe", "vocab_size": 280},
            "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 48, "num_heads": 2},
            "attention": {"encoder": ["full", {"window": 4}], "decoder": {"all": ["alibi", {"window": 8}]}},
            "training": {"max_steps": 6, "log_every_steps": 2, "batch_tokens": 100},
            "validation": {"every_steps": 3, "metrics": ["chrf", "exact_match"]},
            "output": str(tmp_path_factory.mktemp("run") / "<i>run"),
        },
        quiet=True,
    )


def shown(what: object) -> str:
    """The text of an object's HTML, which must be well-formed."""
    page = what._repr_html_()  # type: ignore[attr-defined]
    assert "<script" not in page
    return " ".join("".join(ElementTree.fromstring(page).itertext()).split())


def test_a_run_shows_its_folder_reason_figures_and_curves(run: Run) -> None:
    said = shown(run)
    assert str(run.folder) in said and "6 steps are done" in said and "chrf" in said
    assert f"validation loss {run.metrics.last('valid_loss'):.3f}" in said
    assert run._repr_html_().count("<polyline") == 4  # loss, its validation, two metrics
    assert repr(run).startswith(f"Run('{run.folder}': 6 steps are done; step 6, loss ") and len(repr(run)) < 300


def test_metrics_are_a_list_and_show_curves_and_a_table(run: Run) -> None:
    assert run.metrics == list(run.metrics) and isinstance(run.metrics[1:], MetricRows)
    assert run.metrics[-1]["step"] == 6 and isinstance(run.metrics[0], dict)
    assert [step for step, _ in run.metrics.curve("loss")] == [2, 4, 6]
    assert run.metrics.metrics == ["chrf", "exact_match"]
    page = run.metrics._repr_html_()
    assert page.count("<tr") == 1 + 4, "a row a step: 2 and 4 of training, 3 of validation, 6 of both"
    assert json.loads(json.dumps(run.metrics)) == run.metrics


def test_many_rows_are_cut() -> None:
    rows = MetricRows({"step": step, "loss": 1.0 / step} for step in range(1, 200))
    page = rows._repr_html_()
    assert page.count("<tr") == 1 + MAX_TABLE_ROWS and f"the last {MAX_TABLE_ROWS} of 199 steps" in page
    assert "no figures" in shown(MetricRows())


def test_a_model_shows_its_layers(run: Run) -> None:
    model = run.model
    said = shown(model)
    total = f"{count_parameters(model.network):,} parameters"
    assert total in said and total in repr(model)
    assert "window(4)" in said and "alibi & window(8)" in said and "2 heads × 16" in said and "translation" in said
    assert "vocabulary 280" in repr(model) and repr(model).startswith("Model(translation, 2+2 layers, d_model 32")


@pytest.mark.parametrize(
    "settings", [{}, {"tie_embeddings": False}, {"positions": "learned"}, {"positions": "relative"}], ids=str
)
def test_the_rows_of_a_model_add_up(settings: dict[str, object], tmp_path: Path) -> None:
    made = train(
        {
            "data": {"train": PAIRS},
            "tokenizer": {"kind": "bytes"},
            "model": {"preset": "tiny", "d_model": 16, "ffn_dim": 16, "num_heads": 2, "encoder_layers": 3, **settings},
            "training": {"max_steps": 1},
            "output": str(tmp_path / "run"),
        },
        quiet=True,
    )
    rows = summary(made.model.network)
    assert sum(row.parameters * row.times for row in rows) == count_parameters(made.model.network)
    assert [row.times for row in rows if row.layers.startswith("encoder layers")] == [3, 3, 3]


def plain(q, k, v, mask):
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v


def test_a_model_made_by_hand_shows_its_layers() -> None:
    tokenizer = train_tokenizer(["one two"], kind="bytes", vocab_size=260)
    shape = Shape(d_model=16, num_heads=2, head_dim=8, ffn_dim=24)
    decoder = Decoder(["alibi"], [torch.nn.MultiheadAttention(16, 2, batch_first=True)], shape=shape)
    fronts = [InputEmbedding(Embedding(tokenizer.vocab_size, 16), Sinusoidal(16)) for _ in range(2)]
    network = EncoderDecoder(fronts[0], Encoder([plain], shape=shape), fronts[1], decoder, max_length=32)
    model = Model(network, tokenizer)
    said = shown(model)
    assert "encoder plain; decoder alibi; cross torch_multihead" in said
    assert sum(row.parameters * row.times for row in summary(network)) == count_parameters(network)


def test_a_quantized_model_counts_what_its_weights_were(run: Run) -> None:
    quantized = load(run.folder, quantize="int8")
    rows = summary(quantized.network)
    assert sum(row.parameters * row.times for row in rows) == count_parameters(run.model.network)
    assert "Model: translation" in shown(quantized)


def test_an_ensemble_shows_its_members(run: Run) -> None:
    both = load([run.folder, run.folder])
    assert "ensemble of 2" in repr(both) and shown(both).count("self-attention") == 2 * shown(run.model).count(
        "self-attention"
    )


def test_answers_are_a_list_that_shows_itself(run: Run) -> None:
    answers = run.model.generate(["three four", ""], n_best=2, beam_size=2, max_new_tokens=4)
    assert isinstance(answers, Answers) and answers == list(answers) and list(answers) == answers
    assert isinstance(answers[:1], Answers) and answers[:1] == [answers[0]] and isinstance(answers[0], Generation)
    assert copy.copy(answers) == answers and pickle.loads(pickle.dumps(answers)) == answers
    assert "2 answers" in shown(answers) and "(empty)" in shown(answers)
    assert isinstance(run.model.generate("three four", max_new_tokens=2), Answers)
    assert f"{answers[0].alternatives[0].score:.3f}" in shown(answers[0])


def test_what_a_model_says_is_escaped() -> None:
    answer = Generation("<img src=x>", ["▁<img", "\u202e"], -1.0, 0.5, False, probabilities={"<b>": 1.0})
    for page in (answer._repr_html_(), Answers([answer])._repr_html_()):
        assert "&lt;img" in page and "<img" not in page and "<b>" not in page and "\u202e" not in page
    assert "cut at the limit" in shown(answer) and "100.0%" in shown(answer)
    many = Answers([answer] * (MOST_SHOWN + 3))
    assert many._repr_html_().count("<tr") == 1 + MOST_SHOWN and "and 3 more" in shown(many)


def test_maps_show_the_mean_and_say_so(run: Run) -> None:
    maps = run.model.attention("three four", "four three")
    page = maps._repr_html_()
    assert "cross attention, mean of 2 layers, mean of 2 heads" in shown(maps)
    assert page.count("<rect") == len(maps.source_tokens) * len(maps.target_tokens)
    value = float(maps.map("cross")[0, 0])
    assert f": {value:.4f}</title>" in page
    assert repr(maps).startswith("AttentionMaps(cross 2×2×") and "tensor" not in repr(maps)


def test_maps_without_cross_weights() -> None:
    one = torch.ones(1, 1, 1, 1)
    maps = AttentionMaps(None, one, None, ["a"], ["b"], [False], [False], "<s>")
    assert "encoder attention, layer 1 of 1, head 1 of 1" in shown(maps)
    assert "no layer has weights" in shown(replace(maps, encoder=None))


def test_a_report_shows_scores_intervals_signatures_and_examples(run: Run) -> None:
    report = evaluate(run.model, PAIRS[:6], metrics=["chrf", "exact_match"], max_new_tokens=4)
    said = shown(report)
    interval = report["chrf"].interval
    assert interval is not None
    assert f"{report['chrf'].score:.2f}" in said and f"{interval.low:.2f} to {interval.high:.2f}" in said
    assert report["chrf"].signature in said and "<b>one</b> two" in said
    texts = [answer.text for answer in report.answers]
    parts = grouped(["a", "b"] * 3, texts, report.references, ["chrf"])
    assert "macro mean" in shown(replace(report, grouped=parts))


class Bad(ScoreRule):
    """It says that it is additive, and is not."""

    additive = True

    def score(self, score, batch, head, q_pos, k_pos):
        return score * 2


def test_a_verdict_is_a_row_a_law() -> None:
    table = check_attention("alibi", role="decoder")
    page = table._repr_html_()
    assert page.count("<tr") == 1 + len(table.rows) and "0 fail" in shown(table)
    broken = examine(Bad, "decoder")
    assert f"{len(broken.failures)} fail" in shown(broken) and broken.failures[0].explanation in shown(broken)
    assert len(set(re.findall(r"border-left:4px solid (#\w+)", broken._repr_html_()))) == 3
    assert repr(broken).startswith("Table(") and str(broken).splitlines()[0] in repr(broken)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "bytes", "characters", "words"])
def test_a_tokenizer_names_its_kind(kind: str) -> None:
    made = train_tokenizer([source for source, _ in PAIRS] * 9, kind=kind, vocab_size=300)
    assert repr(made) == f"Tokenizer({kind}, {made.vocab_size} ids)"
    said = shown(made)
    assert f"Tokenizer: {kind}, {made.vocab_size} ids" in said and "Antiphon answers" in said
    assert shown(Tokenizer(made.vocabulary, ends=False)) == said


def test_a_model_of_a_classification_names_its_labels(tmp_path: Path) -> None:
    made: Model = train(
        {
            "task": "classification",
            "data": {"train": [("good", "yes"), ("bad", "no")] * 4},
            "tokenizer": {"kind": "bytes"},
            "model": {"preset": "tiny", "d_model": 16, "ffn_dim": 16, "num_heads": 2},
            "training": {"max_steps": 1},
            "output": str(tmp_path / "run"),
        },
        quiet=True,
    ).model
    assert "classification (no, yes)" in shown(made)
    answers = made.generate(["good"])
    assert isinstance(answers, Answers) and "probability" in shown(answers[0])
