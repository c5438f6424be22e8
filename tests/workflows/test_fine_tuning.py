"""A run that begins as a saved model: `model: {base: FOLDER}`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from models.test_hub import BART as PUBLISHED_BART
from models.test_hub import T5
from torch import Tensor

import antiphon
from antiphon.config import GenerationConfig
from antiphon.errors import AntiphonError, ConfigError
from antiphon.models.build import build_network
from antiphon.models.families import FAMILIES
from antiphon.models.folders.checkpoint import Parts, load_weights, named_weights
from antiphon.models.folders.hub import save_pretrained
from antiphon.models.folders.stored import WeightFiles
from antiphon.recipe import read_recipe
from antiphon.settings import build
from antiphon.text import Tokenizer, train_tokenizer
from antiphon.workflows import train

PAIRS = [(f"in {n} hours", f"in {n} Stunden") for n in range(1, 60)]
NEW = [(f"{n} hours ago", f"vor {n} Stunden") for n in range(1, 60)]
TEXTS = ["in 7 hours", "7 hours ago", "", "Ünknown ☃ words"]


def recipe(output: Path, **sections: Any) -> dict[str, Any]:
    """A tiny run; a section that is None is left out."""
    made = {
        "data": {"train": PAIRS},
        "tokenizer": {"kind": "bpe", "vocab_size": 330},
        "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 48, "num_heads": 2, "max_length": 64, "dropout": 0.1},
        "training": {"max_steps": 8, "batch_tokens": 128, "warmup_steps": 2, "lr": 5e-3},
        "output": str(output),
        **sections,
    }
    return {name: section for name, section in made.items() if section is not None}


def tuned(output: Path, base: Path | str, **sections: Any) -> dict[str, Any]:
    """A run from `base` on other pairs."""
    return recipe(output, **{"data": {"train": NEW}, "tokenizer": None, "model": {"base": str(base)}, **sections})


def weights(folder: Path) -> dict[str, Tensor]:
    return load_weights(folder / "model" / "model.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "run"
    train(recipe(folder), quiet=True)
    return folder


STILL = {
    "max_steps": 2,
    "lr": 1e-30,
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "batch_tokens": 128,
    "schedule": "constant",
}


def test_nothing_learned_is_the_base_bit_by_bit(base: Path, tmp_path: Path) -> None:
    run = train(tuned(tmp_path / "run", base, training=STILL), quiet=True)
    assert same(weights(base), weights(run.folder))
    expected, found = antiphon.load(base), antiphon.load(run.folder)
    assert [a.tokens for a in found.generate(TEXTS)] == [a.tokens for a in expected.generate(TEXTS)]
    assert found.parts.model == expected.parts.model


def test_it_learns_and_its_folder_is_complete_by_itself(base: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    shutil.copytree(base, there)
    run = train(tuned(tmp_path / "run", there), quiet=True)
    shutil.rmtree(there)
    assert not same(weights(base), weights(run.folder))
    pair = [NEW[6][0]], [NEW[6][1]]
    assert antiphon.load(run.folder).score(*pair)[0] > antiphon.load(base).score(*pair)[0]


@pytest.mark.parametrize("training", [{}, {"mixout": 0.2}, {"ema": 0.5}, {"layer_decay": 0.5}])
def test_resumed_is_uninterrupted_without_the_base(base: Path, tmp_path: Path, training: dict[str, Any]) -> None:
    there = tmp_path / "there"
    shutil.copytree(base, there)
    settings = {"max_steps": 6, "batch_tokens": 128, "warmup_steps": 2, "lr": 5e-3, "save_every_steps": 3, **training}
    whole = train(tuned(tmp_path / "whole", there, training=settings), quiet=True)
    train(tuned(tmp_path / "parts", there, training={**settings, "max_steps": 3}), quiet=True)
    shutil.rmtree(there)
    parts = train(tuned(tmp_path / "parts", there, training=settings), resume=True, quiet=True)
    assert parts.metrics[-1]["step"] == 6
    assert same(weights(whole.folder), weights(parts.folder))


def test_another_base_is_not_resumed(base: Path, tmp_path: Path) -> None:
    train(tuned(tmp_path / "run", base), quiet=True)
    moved = tmp_path / "moved"
    shutil.copytree(base, moved)
    train(tuned(tmp_path / "run", moved), resume=True, quiet=True)  # the same model elsewhere
    other = train(recipe(tmp_path / "other", training={"max_steps": 1}), quiet=True).folder
    with pytest.raises(ConfigError, match=r"must keep its recipe, but `model.base` was .*another model"):
        train(tuned(tmp_path / "run", other), resume=True, quiet=True)


def test_what_is_frozen_is_bit_equal(base: Path, tmp_path: Path) -> None:
    training = {"max_steps": 3, "batch_tokens": 128, "groups": [{"match": "encoder.*", "freeze": True}]}
    run = train(tuned(tmp_path / "run", base, training=training), quiet=True)
    before, after = weights(base), weights(run.folder)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith("encoder."), name


def test_dropouts_and_length_are_the_recipes(base: Path, tmp_path: Path) -> None:
    model = {"base": str(base), "dropout": 0.3, "word_dropout": 0.2, "max_length": 32}
    run = train(tuned(tmp_path / "run", base, model=model, training=STILL), quiet=True)
    found = antiphon.load(run.folder).parts.model
    assert (found.dropout, found.word_dropout, found.max_length, found.d_model) == (0.3, 0.2, 32, 32)
    assert same(weights(base), weights(run.folder))


def test_attention_beside_a_base_replaces_roles(base: Path, tmp_path: Path) -> None:
    attention = {"decoder": {"relative": {"buckets": 8}}}
    run = train(tuned(tmp_path / "run", base, attention=attention, training=STILL), quiet=True)
    before, after = weights(base), weights(run.folder)
    assert {name for name in after if name not in before} and all(
        torch.equal(before[name], after[name]) for name in before
    )
    model = antiphon.load(run.folder)
    assert (model.parts.attention.encoder, model.parts.attention.decoder) == ("full", attention["decoder"])


def test_a_pretrained_text_model_becomes_a_classifier(base: Path, tmp_path: Path) -> None:
    rows = [(source, "past" if "ago" in source else "future") for source, _ in PAIRS + NEW]
    training = {"max_steps": 80, "batch_tokens": 256, "warmup_steps": 2, "lr": 5e-3}
    made = tuned(tmp_path / "run", base, task="classification", data={"train": rows}, training=training)
    model = antiphon.load(train(made, quiet=True).folder)
    assert [answer.text for answer in model.generate(["in 99 hours", "99 hours ago"])] == ["future", "past"]


@pytest.mark.parametrize("shared", [True, False])
def test_added_words_are_one_token_each_and_nothing_else_changes(base: Path, tmp_path: Path, shared: bool) -> None:
    words = ["<ago>", "Stundenplan"]
    if not shared:
        tokenizer = {"kind": "bpe", "vocab_size": 330, "shared": False}
        base = train(recipe(tmp_path / "apart", tokenizer=tokenizer), quiet=True).folder
    run = train(tuned(tmp_path / "run", base, tokenizer={"add": words}, training=STILL), quiet=True)
    old, new = antiphon.load(base), antiphon.load(run.folder)
    before, after = weights(base), weights(run.folder)
    for mine, theirs in ((new.source_tokenizer, old.source_tokenizer), (new.target_tokenizer, old.target_tokenizer)):
        assert mine.vocab_size == theirs.vocab_size + 2
        assert [mine.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]
        for number, word in enumerate(words):
            found = [id for id in mine.encode(f"in 3 {word} 4") if id >= theirs.vocab_size]
            assert found == [theirs.vocab_size + number], word
            assert word in mine.decode(mine.encode(f"in 3 {word} 4"))
    for name, tensor in after.items():
        assert torch.equal(tensor[: len(before[name])] if tensor.dim() else tensor, before[name]), name
    size, table = old.source_tokenizer.vocab_size, after["source.table.weight"]
    spelled = old.source_tokenizer.vocabulary.encode([words[1]], ends=False)[0]
    torch.testing.assert_close(table[size + 1], table[spelled].mean(dim=0))
    assert [a.tokens for a in new.generate(TEXTS)] == [a.tokens for a in old.generate(TEXTS)]


def test_an_added_word_is_learned_and_the_run_resumed(base: Path, tmp_path: Path) -> None:
    pairs = [(f"<ago> {source}", target) for source, target in NEW]
    settings = {"max_steps": 6, "batch_tokens": 128, "warmup_steps": 2, "lr": 5e-3, "save_every_steps": 3}
    made = {"data": {"train": pairs}, "tokenizer": {"add": ["<ago>"]}}
    whole = train(tuned(tmp_path / "whole", base, **made, training=settings), quiet=True)
    train(tuned(tmp_path / "parts", base, **made, training={**settings, "max_steps": 3}), quiet=True)
    parts = train(tuned(tmp_path / "parts", base, **made, training=settings), resume=True, quiet=True)
    assert same(weights(whole.folder), weights(parts.folder))
    again = train(tuned(tmp_path / "again", whole.folder, data={"train": pairs}, training=STILL), quiet=True)
    assert same(weights(whole.folder), weights(again.folder))


BART = {name: value for name, value in PUBLISHED_BART.items() if not name.startswith("forced")} | {
    "max_position_embeddings": 80
}


def published(folder: Path, name: str, keys: dict[str, Any], tokenizer: Tokenizer | None = None) -> Path:
    """A random model of a family as the hub has it, its table longer than its tokenizer."""
    family = FAMILIES[name]
    tables = family.tables.place(shared=True, tied=True)
    ours = family.ours(build(family.keys, keys), WeightFiles([]), tables)
    network = build_network(
        ours.model, ours.attention, source_vocab=ours.source_vocab, target_vocab=ours.target_vocab, shared=True
    )
    tokenizer = tokenizer or train_tokenizer(["in 3 hours"], kind="bytes", vocab_size=260)
    parts = Parts(network.eval(), ours.model, ours.attention, tokenizer, tokenizer, "text", GenerationConfig())
    return save_pretrained(folder, parts)


@pytest.mark.parametrize(("name", "keys"), [("t5", T5), ("bart", BART)])
def test_a_published_folder_is_a_base(tmp_path: Path, name: str, keys: dict[str, Any]) -> None:
    folder = published(tmp_path / "published", name, keys)
    expected = named_weights(antiphon.load(folder).network)
    model = {"base": str(folder), "dropout": 0.3}
    still = train(tuned(tmp_path / "still", folder, model=model, training=STILL), quiet=True)
    for key, tensor in weights(still.folder).items():  # biases of 0 move by the rate, 1e-30
        torch.testing.assert_close(tensor, expected[key], rtol=0, atol=1e-20)
    words = train(tuned(tmp_path / "words", folder, tokenizer={"add": ["<ago>"]}, training=STILL), quiet=True)
    longer = weights(words.folder)["source.table.weight"]  # spare rows of the table are taken first
    others = [row for row in range(len(longer)) if row != 260]
    assert torch.equal(longer[others], expected["source.table.weight"][others])
    spelled = antiphon.load(folder).tokenizer.vocabulary.encode(["<ago>"], ends=False)[0]
    torch.testing.assert_close(longer[260], longer[spelled].mean(dim=0))
    assert antiphon.load(words.folder).tokenizer.encode("<ago>")[0] == 260
    settings = {"max_steps": 6, "batch_tokens": 400, "warmup_steps": 1, "lr": 5e-3, "save_every_steps": 3}
    whole = train(tuned(tmp_path / "whole", folder, training=settings), quiet=True)
    train(tuned(tmp_path / "parts", folder, training={**settings, "max_steps": 3}), quiet=True)
    shutil.rmtree(folder)
    parts = train(tuned(tmp_path / "parts", folder, training=settings), resume=True, quiet=True)
    assert same(weights(whole.folder), weights(parts.folder))
    pair = [NEW[6][0]], [NEW[6][1]]
    assert antiphon.load(whole.folder).score(*pair)[0] > antiphon.load(still.folder).score(*pair)[0]


def test_a_base_is_found_beside_the_recipe_or_here(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    file = tmp_path / "recipes" / "a.yaml"
    file.write_text("data: {train: {path: a.tsv}}\nmodel: {base: m}\ntraining: {max_steps: 1}\n")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "m", tmp_path / "recipes" / "m"):
        folder.mkdir()
        assert vars(read_recipe(file).model)["base"] == str(folder)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"base": "{base}", "d_model": 64}}, "`model.d_model` must be left out beside `model.base`"),
        ({"model": {"base": "{base}", "preset": "small"}}, "`model.preset` must be left out beside `model.base`"),
        ({"model": {"base": "{base}", "dropuot": 0.1}}, "`model.dropuot` is not a known setting, did you mean"),
        ({"model": {"base": "nowhere/at/all"}}, "`model.base` cannot be used: there is no model at"),
        ({"model": {"base": 5}}, "`model.base` must be a text, but is 5"),
        ({"tokenizer": {"kind": "bytes"}}, "`tokenizer.kind` must be left out beside `model.base`"),
        (
            {"tokenizer": {"add": ["<a>", " "]}},
            "`tokenizer.add` cannot be used: a word that is added must have a letter",
        ),
        ({"tokenizer": {"add": ["</s>"]}}, "`tokenizer.add` cannot be used: .* `</s>` is a token already"),
        ({"tokenizer": {"addd": ["<a>"]}}, "`tokenizer.addd` is not a known setting, did you mean `add`"),
        ({"data": {"train": NEW, "max_length": 65}}, r"`data.max_length` must be at most `model.max_length` \(64\)"),
        ({"attention": {"decoder": "fulll"}}, "`attention.decoder` cannot be used: .*did you mean `full`"),
    ],
)
def test_bad_input_is_one_line(base: Path, tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    if sections.get("model", {}).get("base") == "{base}":
        sections = {**sections, "model": {**sections["model"], "base": str(base)}}
    with pytest.raises(AntiphonError, match=message) as caught:
        train(tuned(tmp_path / "run", base, **sections), quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_answers_keep_the_length_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # S2: trained on 24 tokens, answered on 16,384.
    folder = published(tmp_path / "published", "t5", T5)
    long = [("a b c d e f g h " * 4, "in 1 hour"), *NEW]
    for how, reads in (("truncate", "truncate"), ("window", "window"), ("skip", "error")):
        data = {"train": long, "max_length": 24, "overflow": how}
        run = train(tuned(tmp_path / how, folder, data=data, training=STILL))
        kept = antiphon.load(run.folder)
        limit = 512 if how == "skip" else 24  # that of the base, since pairs were only left out
        assert (kept.generation.overflow, kept.generation.max_source_tokens) == (reads, limit)
        assert ("`generation.max_source_tokens: 24` from `data.max_length`" in capsys.readouterr().err) == (limit == 24)
        if limit == 24:
            text, cut = "abcdefgh " * 20, "abcdefgh " * 2
            assert [a.tokens for a in run.model.generate([text])] == [a.tokens for a in kept.generate([text])]
            first = kept.tokenizer.decode(kept.tokenizer.encode(text)[:23])
            assert cut in first
            same_answer = kept.score([text], ["in"]) == pytest.approx(kept.score([first], ["in"]))
            assert same_answer == (how == "truncate")
    asked = {"beam_size": 1, "overflow": "split", "max_source_tokens": 40}
    data = {"train": long, "max_length": 24, "overflow": "truncate"}
    own = train(tuned(tmp_path / "own", folder, data=data, training=STILL, generation=asked), quiet=True)
    assert (own.model.generation.overflow, own.model.generation.max_source_tokens) == ("split", 40)


def test_the_limit_of_a_base_grows_with_its_sources(tmp_path: Path) -> None:
    folder = published(tmp_path / "published", "t5", T5)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 20}')
    assert antiphon.load(folder).generation.max_source_tokens == 20
    short = train(tuned(tmp_path / "short", folder, data={"train": NEW}, training=STILL), quiet=True)
    assert antiphon.load(short.folder).generation.max_source_tokens == 20
    data = {"train": [*NEW, ("hour " * 8, "x")]}
    longer = train(tuned(tmp_path / "longer", folder, data=data, training=STILL), quiet=True)
    assert antiphon.load(longer.folder).generation.max_source_tokens == len(longer.model.tokenizer.encode("hour " * 8))
