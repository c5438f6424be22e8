"""An ensemble is the mean of its members' probabilities, in every search and score."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
import torch
from counts import count
from generation.test_model import TEXTS, model
from search.toys import NAMES, SPECIAL, assert_same, plain_search, source_of, toy

import antiphon
from antiphon.config import GenerationConfig
from antiphon.errors import ModelError
from antiphon.generation.ensemble import Ensemble
from antiphon.generation.model import Model
from antiphon.search.engine import SourceInput, answer, forced_scores, stream

SEARCHES = (
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 4},
    {"beam_size": 3, "n_best": 2, "no_repeat_ngram": 2},
)


@pytest.mark.parametrize("settings", SEARCHES, ids=str)
def test_cached_is_the_mean_of_whole_rows(settings: dict[str, object]) -> None:
    """Members of different kinds and widths, many sources in a batch, against plain lists alone."""
    dice = random.Random(str(settings))
    for place, (first, second) in enumerate(itertools.pairwise(NAMES)):
        network = Ensemble([toy(first), toy(second, seed=1, d_model=8)])
        config = GenerationConfig(max_new_tokens=9, **settings)
        rows = range(count("ensemble_sources"))
        sources = [SourceInput(source_of(dice), row, prefix=(4, 5)[: (place + row) % 3]) for row in rows]
        for source, found in zip(sources, answer(network, sources, config, SPECIAL), strict=True):
            assert_same(found, plain_search(network, source.ids, config, prefix=source.prefix))
            assert [id for run in stream(network, source, config, SPECIAL) for id in run] == found[0].ids
            assert forced_scores(network, [(source.ids, found[0].ids)], SPECIAL)[0] == pytest.approx(found[0].score)


def test_the_probability_is_the_mean() -> None:
    first, second = toy("paper"), toy("rotary", seed=3)
    pair = ([5, 6, 2], [7])
    each = [forced_scores(network, [pair], SPECIAL)[0] for network in (first, second)]
    mean = torch.tensor(each, dtype=torch.float64).exp().mean().log()
    assert forced_scores(Ensemble([first, second]), [pair], SPECIAL)[0] == pytest.approx(float(mean), abs=1e-12)
    same = answer(Ensemble([first, first]), [pair[0]], GenerationConfig(max_new_tokens=8), SPECIAL)[0]
    assert_same(same, answer(first, [pair[0]], GenerationConfig(max_new_tokens=8), SPECIAL)[0], tolerance=1e-9)


def test_a_list_is_loaded_as_one_model(tmp_path) -> None:
    folders = [model(seed=seed).save(tmp_path / str(seed)) for seed in (1, 2)]
    held = antiphon.load([str(folder) for folder in folders], device="cpu", dtype="float64")
    joined = Model.from_parts(replace(model().parts, network=Ensemble([model(seed=seed).network for seed in (1, 2)])))
    settings = {"beam_size": 4, "n_best": 2, "required": ["drei"], "coverage_penalty": 0.1, "max_new_tokens": 20}
    found = held.generate(TEXTS[:2], **settings)
    for mine, theirs in zip(found, joined.generate(TEXTS[:2], **settings), strict=True):
        assert mine.text == theirs.text and mine.score == pytest.approx(theirs.score, rel=1e-5)
    assert "".join(held.stream(TEXTS[0], **settings | {"n_best": 1})) == found[0].text
    assert held.generate(TEXTS[0], temperature=1.0)[0].finished in (True, False)
    assert antiphon.load(folders[:1]).generate("hello")[0].text == antiphon.load(folders[0]).generate("hello")[0].text
    with pytest.raises(ModelError, match=r"this is an ensemble. Save its members"):
        held.save(tmp_path / "both")


def test_an_ensemble_is_quantized_as_one_that_is_loaded_in_int8(tmp_path) -> None:
    folders = [str(model(seed=seed).save(tmp_path / str(seed))) for seed in (1, 2)]
    settings = {"beam_size": 3, "max_new_tokens": 12}
    small = antiphon.load(folders).quantize().generate(TEXTS[:2], **settings)
    for mine, theirs in zip(
        small, antiphon.load(folders, quantize="int8").generate(TEXTS[:2], **settings), strict=True
    ):
        assert mine.text == theirs.text and mine.score == pytest.approx(theirs.score, rel=1e-6)


def test_members_must_share_their_tokenizers(tmp_path) -> None:
    one, other = model().save(tmp_path / "one"), model("bytes").save(tmp_path / "other")
    with pytest.raises(ModelError, match=r"one source tokenizer, but those of `.*one` and `.*other` differ"):
        antiphon.load([one, other])
    third = model(separate=True).save(tmp_path / "third")
    with pytest.raises(ModelError, match=r"one target tokenizer, but those of `.*one` and `.*third` differ"):
        antiphon.load([one, third])
    for wrong, error in (([], ModelError), ([3], ModelError), (3.5, TypeError)):
        with pytest.raises(error):
            antiphon.load(wrong)  # type: ignore[arg-type]


def test_members_of_different_templates_are_refused(tmp_path) -> None:
    # S8: the members were all asked in the template of the first.
    for name, template in (("one", "a: {}"), ("other", "")):
        Model.from_parts(replace(model().parts, template=template)).save(tmp_path / name)
    with pytest.raises(ModelError, match=r"one template .* `.*one` is the text `a: \{\}` and that of `.*other` "):
        antiphon.load([str(tmp_path / "one"), str(tmp_path / "other")])
