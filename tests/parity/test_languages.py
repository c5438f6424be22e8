"""Translation from text to text in a language that is named, against transformers: greedy and beam search."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from parity.reference import randomize
from parity.test_families import widen
from text import hub
from transformers import PreTrainedModel

import antiphon
from antiphon.errors import ConfigError

SOURCES = ["The water was hot.", "how many people, two or more?", "Das Haus ist größer!", "日本 3,50 x", "a"]
# Folder: the class's beginning, the languages that are asked for, and how transformers names an answer's.
CASES = {
    "mbart_spm": ("MBart", "de_DE", "fr_XX", "decoder_start_token_id"),
    "mbart50": ("MBart", "fr_XX", "ja_XX", "forced_bos_token_id"),
    "m2m": ("M2M100", "fr", "de", "forced_bos_token_id"),
    "nllb": ("M2M100", "deu_Latn", "jpn_Jpan", "forced_bos_token_id"),
}


def checkpoint(name: str, folder: Path, *, seed: int) -> tuple[hub.HubFolder, PreTrainedModel]:
    """A tokenizer's folder with a tiny random model in it."""
    made = hub.make(name, folder, hub.sentences())
    kind = CASES[name][0]
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    shape = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    sizes = {"d_model": 16, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64}
    settings = {"vocab_size": made.config["vocab_size"], "scale_embedding": True, "forced_eos_token_id": None}
    start = made.config["decoder_start_token_id"]
    config = getattr(transformers, f"{kind}Config")(**shape, **sizes, **settings, **ids, decoder_start_token_id=start)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    randomize(model, seed)
    model.save_pretrained(folder)
    return made, widen(model)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, ...]]:
    @functools.cache
    def load(name: str) -> tuple[Any, ...]:
        folder = tmp_path_factory.mktemp(name)
        made, theirs = checkpoint(name, folder, seed=len(name))
        return made.reference, theirs, antiphon.load(folder, device="cpu", dtype="float64")

    return load


def their_texts(name: str, reference: Any, model: PreTrainedModel, *, beams: int) -> list[str]:
    _, source, target, setting = CASES[name]
    reference.src_lang = source
    given = reference(SOURCES, return_tensors="pt", padding=True)
    id = reference.convert_tokens_to_ids(f"__{target}__" if name == "m2m" else target)
    start = id if setting == "decoder_start_token_id" else model.config.decoder_start_token_id
    found = model.generate(
        input_ids=given["input_ids"],
        attention_mask=given["attention_mask"],
        num_beams=beams,
        max_length=14,
        early_stopping="never",
        suppress_tokens=sorted({model.config.pad_token_id, start} - {model.config.eos_token_id}),
        **{setting: id},
    )
    return reference.batch_decode(found, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("beams", [1, 4])
def test_answers_are_theirs(name: str, beams: int, load: Callable[[str], tuple[Any, ...]], tmp_path: Path) -> None:
    reference, theirs, model = load(name)
    _, source, target, setting = CASES[name]
    wanted = their_texts(name, reference, theirs, beams=beams)
    limit = 13 - (setting == "forced_bos_token_id")
    settings = {"beam_size": beams, "max_new_tokens": limit}
    found = model.generate(SOURCES, source_language=source, target_language=target, **settings)
    assert [answer.text for answer in found] == wanted and any(wanted)
    assert wanted != [answer.text for answer in model.generate(SOURCES, **settings)]  # the languages matter
    # said once, saved in either form, streamed: the same
    spoken = model.speaking(source, target)
    for at, form in enumerate(("antiphon", "huggingface")):
        again = antiphon.load(spoken.save(tmp_path / form, format=form), device="cpu", dtype="float64")
        assert [answer.text for answer in again.generate(SOURCES, **settings)] == wanted, form
        assert (again.source_tokenizer.language, again.target_tokenizer.language) == (source, target)
        streamed = again.stream(SOURCES[at], **settings)
        assert "".join(streamed) == wanted[at]


@pytest.mark.parametrize("name", CASES)
def test_scores_and_prefixes_know_the_language(name: str, load: Callable[[str], tuple[Any, ...]]) -> None:
    model = load(name)[2].speaking(*CASES[name][1:3])
    allowed = ("The water was hot.", "how many people")
    for source, answer in zip(SOURCES, model.generate(SOURCES, allowed=allowed, beam_size=4), strict=True):
        assert answer.text in allowed
        assert answer.score == pytest.approx(model.score(source, answer.text)[0], abs=1e-9)
    begun = model.generate(SOURCES[:2], prefix="how many", max_new_tokens=8)
    assert all(answer.text.startswith("how many") for answer in begun)
    other = model.speaking(CASES[name][2], CASES[name][1])
    assert other.score("a", "how many") != model.score("a", "how many")


@pytest.mark.parametrize("name", ["mbart50", "m2m"])
def test_a_language_that_the_model_lacks(name: str, load: Callable[[str], tuple[Any, ...]]) -> None:
    model = load(name)[2]
    near = {"mbart50": ("de_DF", "de_DE"), "m2m": ("frr", "fr")}[name]
    with pytest.raises(
        ConfigError, match=rf"`target_language` must be a language of the model .*`{near[0]}`.*`{near[1]}`"
    ):
        model.generate("a", target_language=near[0])
    with pytest.raises(ConfigError, match="`source_language` must be a language of the model"):
        model.generate("a", source_language=near[0])
