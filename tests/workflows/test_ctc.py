"""A recipe with `model.ctc`, from training to a saved model, its search and its alignment."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from page_commands import passages

import antiphon
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.export.page import _unsaid
from antiphon.generation.ensemble import Ensemble
from antiphon.generation.model import Model
from antiphon.models.build import build_network
from antiphon.models.families import Inexpressible
from antiphon.models.summary import summary
from antiphon.workflows import train
from antiphon.workflows.vocabulary import add_words


def pairs() -> list[tuple[str, str]]:
    """Words of a to e, each letter twice, and their upper case: in order, as speech and its text are."""
    words = ["".join(word) for length in range(1, 5) for word in itertools.permutations("abcde", length)]
    random.Random(4).shuffle(words)
    return [("".join(2 * letter for letter in word), word.upper()) for word in words]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    recipe: dict[str, Any] = {
        "task": "text",
        "data": {"train": pairs()[40:], "valid": pairs()[:40]},
        "tokenizer": {"kind": "characters"},
        "model": {
            "preset": "tiny",
            "d_model": 32,
            "ffn_dim": 64,
            "num_heads": 2,
            "dropout": 0.0,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "ctc": True,
        },
        "training": {"max_steps": 60, "batch_tokens": 200, "lr": 1e-2, "warmup_steps": 20, "ctc_weight": 0.5},
        "validation": {"every_steps": 60, "metrics": [{"cer": {"normalize": ["lower"]}}], "samples": 0},
        "generation": {"ctc_weight": 0.3, "beam_size": 3},
        "output": str(tmp_path_factory.mktemp("ctc") / "run"),
    }
    run = train(recipe, quiet=True)
    assert run.metrics.last("cer") < 10  # of the joint search
    found = antiphon.load(run.folder, device="cpu")
    assert isinstance(found, Model)
    return found


def test_the_head_learns_and_is_saved(model: Model) -> None:
    assert model.generation.ctc_weight == 0.3 and model.parts.model.ctc and model.network.ctc is not None
    spelled = [model.ctc_alignment(source).text for source, _ in pairs()[:20]]
    assert sum(text == target for text, (_, target) in zip(spelled, pairs(), strict=False)) >= 18
    [row] = [row for row in summary(model.network) if row.layers == "ctc"]
    assert row.parameters == 33 * (model.target_tokenizer.vocab_size + 1)


def test_the_search_reads_it(model: Model) -> None:
    """After a few steps the head spells what the decoder does not know yet, and the joint search follows it."""
    sources, targets = zip(*pairs()[:40], strict=True)
    joint, alone, ctc = (model.generate(list(sources), ctc_weight=weight) for weight in (0.3, 0.0, 1.0))
    right = [sum(a.text == t for a, t in zip(found, targets, strict=True)) for found in (alone, joint, ctc)]
    assert right[0] < right[1] and right[2] >= 36, right
    assert model.generate(list(sources)) == joint
    scores = model.score(list(sources), [answer.text for answer in joint])
    assert [answer.score for answer in joint] == pytest.approx(scores, abs=1e-4)  # the decoder's own
    for source, answer in zip(sources[:5], joint, strict=False):
        assert "".join(model.stream(source)) == answer.text
    quantized = model.quantize().generate(list(sources))
    assert sum(a.text == b.text for a, b in zip(quantized, joint, strict=True)) >= 36


def test_an_alignment_gives_each_token_its_frames(model: Model) -> None:
    found = model.ctc_alignment("aaabbcd", "ABCD")
    assert found.tokens == ["A", "B", "C", "D"] and found.text == "ABCD" and found.score < 0
    assert found.frames == len(model.tokenizer.encode("aaabbcd"))
    assert len(found.starts) == len(found.ends) == len(found.probabilities) == 4
    assert all(start < end for start, end in zip(found.starts, found.ends, strict=True))
    assert all(end <= start for end, start in zip(found.ends, found.starts[1:], strict=False))
    assert model.ctc_alignment("aaabbcd", "BADC").score < found.score
    free = model.ctc_alignment("aaabbcd")
    assert model.ctc_alignment("aaabbcd", free.text).score == pytest.approx(free.score)
    assert model.ctc_alignment("aaabbcd", "").tokens == []


def test_wrong_alignments_are_one_line(model: Model) -> None:
    with pytest.raises(DataError, match=r"^`target` must have at most as many tokens .* has 4 tokens for 3 frames"):
        model.ctc_alignment("ab", "ABCD")
    with pytest.raises(DataError, match="`target` must be one text"):
        model.ctc_alignment("ab", 3)  # type: ignore[arg-type]
    for source in ("", ["ab", "cd"]):
        with pytest.raises(DataError, match="`source` must be one source that is not empty"):
            model.ctc_alignment(source, "A")
    ensemble = Model.from_parts(replace(model.parts, network=Ensemble([model.network] * 2)))
    with pytest.raises(ModelError, match="a CTC alignment needs a single model with a CTC head"):
        ensemble.ctc_alignment("ab", "A")
    with pytest.raises(ConfigError, match="`ctc_weight` needs a single model with a CTC head"):
        ensemble.generate("ab")
    assert ensemble.generate("ab", ctc_weight=0)[0].text


def test_a_word_that_is_added_has_a_row_before_the_blank(model: Model) -> None:
    grown = add_words(model.parts, ["<ab>"])
    old, new = model.network.ctc, grown.network.ctc
    assert old is not None and new is not None and new.blank == old.blank + 1
    for name in ("weight", "bias"):
        before, after = getattr(old.linear, name), getattr(new.linear, name)
        assert torch.equal(after[:-2], before[:-1]) and torch.equal(after[-1], before[-1])
    again = Model.from_parts(grown)
    assert again.ctc_alignment("aab").text == model.ctc_alignment("aab").text


def test_the_page_and_the_notes_of_an_export(
    model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "- `ctc_weight` 0.3" in _unsaid(model)
    [block] = [passage.text for passage in passages("docs/ctc.md") if passage.python]
    monkeypatch.setattr(antiphon, "load", lambda folder: model)
    exec(compile(block, "docs/ctc.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines[:3]] == ["A: frames", "B: frames", "C: frames"] and lines[3] == "ABC"


def test_families_of_other_toolkits_have_no_such_head(model: Model, tmp_path: Path) -> None:
    config = ModelConfig("small", d_model=16, num_heads=2, ffn_dim=16, encoder_layers=1, decoder_layers=1, ctc=True)
    size = model.tokenizer.vocab_size
    network = build_network(config, AttentionConfig(), source_vocab=size, target_vocab=size, shared=True)
    by_hand = Model(network, model.tokenizer)
    assert by_hand.parts.model.ctc
    with pytest.raises(Inexpressible, match=r"must have `ctc` False, but it is True"):
        by_hand.save(tmp_path / "hf", format="huggingface")
    again = antiphon.load(model.save(tmp_path / "own"), device="cpu")
    assert again.generate(["aab"]) == model.generate(["aab"])


def test_a_base_keeps_its_head_and_one_without_is_named(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "with")
    parts = model.parts
    settings = replace(parts.model, ctc=False)
    size = model.target_tokenizer.vocab_size
    bare = build_network(settings, AttentionConfig(), source_vocab=size, target_vocab=size, shared=True, seed=1)
    Model.from_parts(
        replace(parts, network=bare, model=settings, generation=replace(parts.generation, ctc_weight=0.0))
    ).save(tmp_path / "without")
    for section in ("training", "generation"):
        sections: dict[str, Any] = {"training": {"max_steps": 1, "batch_tokens": 100}, "generation": {}}
        sections[section] = {**sections[section], "ctc_weight": 0.4}
        recipe = {"task": "text", "data": {"train": pairs()[:8]}, "validation": {}, **sections}
        run = train(
            {**recipe, "model": {"base": str(tmp_path / "with")}, "output": str(tmp_path / section)}, quiet=True
        )
        assert run.model.network.ctc is not None
        with pytest.raises((ConfigError, ModelError), match=r"CTC head|model\.ctc"):
            train({**recipe, "model": {"base": str(tmp_path / "without")}, "output": str(tmp_path / "x")}, quiet=True)
