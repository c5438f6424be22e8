"""A base with fewer tokens: `tokenizer: {trim: true}` beside `model.base`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from workflows.test_fine_tuning import BART, NEW, PAIRS, STILL, T5, published, recipe, same, tuned, weights

import antiphon
from antiphon.batch import Example, collate
from antiphon.errors import ConfigError
from antiphon.generation.model import Model
from antiphon.models.folders.files import read_json
from antiphon.text import train_tokenizer
from antiphon.workflows import train

FEW = NEW[:20]


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "apart"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "run"
    tokenizer = {"kind": "bpe", "vocab_size": 400, "shared": request.param}
    train(recipe(folder, data={"train": PAIRS + NEW}, tokenizer=tokenizer), quiet=True)
    return folder


def logits(model: Model, source: str, target: str) -> Tensor:
    """(L, V) of one pair; compared by the pieces, as ids differ."""
    pair = Example(model.source_tokenizer.encode(source), model.target_tokenizer.encode(target), 0)
    batch = collate([pair], pad_id=model.special_tokens.pad, start_id=model.special_tokens.start)
    with torch.no_grad():
        memory = model.network.encode(batch.source, batch.source_tokens)
        hidden, _ = model.network.decode(batch.target_ids, batch.target_tokens, memory, None)
        return model.network.logits(hidden)[0]


def places(new: Model, old: Model) -> list[int]:
    """The old id of each target id, by its piece."""
    whole = {old.target_tokenizer.pieces([id], specials=True)[0]: id for id in range(old.target_tokenizer.vocab_size)}
    size = new.target_tokenizer.vocab_size
    return [whole[piece] for piece in new.target_tokenizer.pieces(range(size), specials=True)]


def check_equal(new: Model, old: Model, pairs: list[tuple[str, str]]) -> None:
    """Kept tokens have the logits that they had, on texts that use no others."""
    kept = places(new, old)
    for source, target in pairs:
        assert new.source_tokenizer.tokens(source) == old.source_tokenizer.tokens(source)
        torch.testing.assert_close(logits(new, source, target), logits(old, source, target)[:, kept])


def test_kept_tokens_keep_their_logits_and_the_file_is_smaller(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"train": FEW, "valid": NEW[30:33]}
    run = train(tuned(tmp_path / "run", base, data=data, tokenizer={"trim": True}, training=STILL))
    old, new = antiphon.load(base), antiphon.load(run.folder)
    assert new.target_tokenizer.vocab_size < old.target_tokenizer.vocab_size
    check_equal(new, old, [*FEW, *NEW[30:33]])
    said = capsys.readouterr().err
    counts = f"{new.target_tokenizer.vocab_size:,} of {old.target_tokenizer.vocab_size:,} tokens kept"
    assert "vocabulary trimmed: " in said and counts in said
    file = "model/model.safetensors"
    assert (run.folder / file).stat().st_size < (base / file).stat().st_size
    other = "in 7 hours ☃"  # other texts have their bytes
    assert new.tokenizer.decode(new.tokenizer.encode(other)) == other and new.generate(other)[0].score < 0


def test_trimmed_extended_learned_and_resumed(base: Path, tmp_path: Path) -> None:
    pairs = [(f"<ago> {source}", target) for source, target in FEW]
    settings = {"max_steps": 6, "batch_tokens": 128, "warmup_steps": 2, "lr": 5e-3, "save_every_steps": 3}
    made: dict[str, Any] = {"data": {"train": pairs}, "tokenizer": {"trim": True, "add": ["<ago>"]}}
    there = tmp_path / "there"
    shutil.copytree(base, there)
    whole = train(tuned(tmp_path / "whole", there, **made, training=settings), quiet=True)
    train(tuned(tmp_path / "parts", there, **made, training={**settings, "max_steps": 3}), quiet=True)
    shutil.rmtree(there)
    parts = train(tuned(tmp_path / "parts", there, **made, training=settings), resume=True, quiet=True)
    assert same(weights(whole.folder), weights(parts.folder))
    assert len(read_json(parts.folder / "base" / "base.json")["changes"]) == 2
    assert antiphon.load(parts.folder).tokenizer.tokens("<ago> 3 hours")[0] == "<ago>"


def test_an_adapter_of_a_trimmed_base_is_one_of_the_runs_copy(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    training = {**STILL, "lr": 1e-2, "adapter": {"rank": 2, "trained": ["source.table.weight"]}}
    run = train(tuned(tmp_path / "run", base, data={"train": FEW}, tokenizer={"trim": True}, training=training))
    named = read_json(run.folder / "adapter" / "adapter_config.json")["base_model_name_or_path"]
    merged, apart = antiphon.load(run.folder), antiphon.load(named, adapter=run.folder / "adapter")
    torch.testing.assert_close(logits(apart, *FEW[0]), logits(merged, *FEW[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "keys"), [("t5", T5), ("bart", BART)])
def test_a_family_keeps_its_special_tokens(tmp_path: Path, name: str, keys: dict[str, Any]) -> None:
    texts = [text for pair in PAIRS + NEW for text in pair]
    tokenizer = train_tokenizer(texts, kind="bpe", vocab_size=300)
    # The language is an id that no text here has; 305 and 308 are rows behind the tokenizer's.
    language = tokenizer.vocab_size - 1 if name == "bart" else None
    keys = {**keys, "vocab_size": 310, "decoder_start_token_id": 305, "suppress_tokens": [5, 77, 308]}
    keys |= {"forced_bos_token_id": language}
    folder = published(tmp_path / "published", name, keys, tokenizer)
    data = {"train": [("ab cd", "dc ba")], "valid": [("abc", "ddd")]}
    run = train(tuned(tmp_path / "run", folder, data=data, tokenizer={"trim": True}, training=STILL), quiet=True)
    old, new = antiphon.load(folder), antiphon.load(run.folder)
    size = new.target_tokenizer.vocab_size
    assert new.network.vocab_size == size < old.target_tokenizer.vocab_size < old.network.vocab_size
    assert new.special_tokens.start == size - 1 and new.special_tokens.end == new.target_tokenizer.end_id
    kept = places(new, old)
    assert kept[-1] == 305
    assert new.special_tokens.first == (() if language is None else (kept.index(language),))
    assert [kept[id] for id in new.special_tokens.suppress] == [5, 77]
    torch.testing.assert_close(logits(new, "abc", "cba"), logits(old, "abc", "cba")[:, kept])
    assert new.score("ab", "ba")[0] > old.score("ab", "ba")[0]  # over fewer tokens
    new.save(tmp_path / "back", format="huggingface")
    again = antiphon.load(tmp_path / "back")
    assert again.special_tokens == new.special_tokens
    assert torch.equal(logits(again, "abc", "cba"), logits(new, "abc", "cba"))


def test_what_cannot_be_trimmed_names_the_setting(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`tokenizer.trim` must be true or false"):
        train(tuned(tmp_path / "run", base, tokenizer={"trim": "much"}), quiet=True)
    for tokenizer in ({"trim": True}, {"kind": "bpe", "trim": False}):
        with pytest.raises(ConfigError, match=r"`tokenizer.trim` goes with `model.base`, .* there is no base. Name"):
            train(recipe(tmp_path / "run", tokenizer=tokenizer), quiet=True)
