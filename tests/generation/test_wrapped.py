"""Families that are not ours, computed by transformers: the same answers as its own, the same interface, data only."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from models.test_hub import change
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

import antiphon
from antiphon.cli.main import main
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.generation import load as loading
from antiphon.generation.answers import Answers
from antiphon.generation.hf.model import HFModel

IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
SIZES = {
    "vocab_size": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "max_position_embeddings": 64,
}  # fmt: skip
FAMILIES: dict[str, Callable[[], Any]] = {
    "mvp": lambda: transformers.MvpForConditionalGeneration(
        transformers.MvpConfig(**SIZES, **IDS, forced_eos_token_id=2)
    ),
    "led": lambda: transformers.LEDForConditionalGeneration(
        transformers.LEDConfig(
            **SIZES, **IDS, max_encoder_position_embeddings=64, max_decoder_position_embeddings=64, attention_window=4
        )
    ),
    "pegasus_x": lambda: transformers.PegasusXForConditionalGeneration(
        transformers.PegasusXConfig(**SIZES, **IDS, block_size=4, num_global_tokens=2, stagger_local_blocks=True)
    ),
}  # fmt: skip
TEXTS = ["w7 w8 w9", "w10 w11 w12 w13 w14 w15", "w20"]


def make(name: str, folder: Path) -> Path:
    """A random checkpoint with a tokenizer of words."""
    torch.manual_seed(sum(map(ord, name)))
    network = FAMILIES[name]().eval()
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3)
    network.save_pretrained(folder)
    words = {1: "<pad>", 0: "<s>", 2: "</s>", 5: "<unk>"}
    rust = RustTokenizer(WordLevel({words.get(id, f"w{id}"): id for id in range(40)}, unk_token="<unk>"))
    rust.pre_tokenizer = Whitespace()
    rust.post_processor = TemplateProcessing("$A </s>", special_tokens=[("</s>", 2)])
    rust.add_special_tokens([*words.values()])
    rust.save(str(folder / "tokenizer.json"))
    specials = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **specials}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make("mvp", tmp_path / "mvp")


def load(folder: Path) -> HFModel:
    with pytest.warns(UserWarning, match=r"is of the family .*, which is not one of ours: transformers computes it"):
        model = antiphon.load(folder, device="cpu")
    assert isinstance(model, HFModel)
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path / name)
    model = load(folder)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    for settings, their_settings in (
        ({"beam_size": 1}, {"num_beams": 1}),
        ({"beam_size": 4, "n_best": 2, "length_penalty": 0.6}, {"num_beams": 4, "num_return_sequences": 2}),
        ({"beam_size": 3, "no_repeat_ngram": 2, "min_new_tokens": 4}, {"num_beams": 3, "no_repeat_ngram_size": 2}),
    ):
        answers = model.generate(TEXTS, max_new_tokens=9, **settings)
        for text, answer in zip(TEXTS, answers, strict=True):  # alone: padding changes nothing
            ids = reader(text, return_tensors="pt")["input_ids"]
            found = theirs.generate(
                input_ids=ids,
                max_new_tokens=9,
                min_new_tokens=settings.get("min_new_tokens", 0),
                length_penalty=settings.get("length_penalty", 1.0),
                early_stopping="never" if settings["beam_size"] > 1 else False,
                **their_settings,
            )
            ours = [answer.text, *(other.text for other in answer.alternatives)]
            assert ours == reader.batch_decode(found, skip_special_tokens=True), settings
            begun = found[:1]
            with torch.no_grad():
                log_p = theirs(input_ids=ids, decoder_input_ids=begun[:, :-1]).logits.log_softmax(-1)
            each = log_p.gather(-1, begun[:, 1:, None])[0, :, 0]
            ended = begun[0, 1:].tolist()
            count = ended.index(2) + 1 if 2 in ended else len(ended)
            assert answer.score == pytest.approx(float(each[:count].sum()), abs=1e-4)
            assert answer.finished == (2 in ended)


def test_early_stopping_and_sampling_of_the_folder_are_kept(folder: Path) -> None:
    """U3 and F6 where transformers computes: `early_stopping: true` is patience 1, a silent file samples among 50."""
    change(folder / "generation_config.json", num_beams=3, early_stopping=True, length_penalty=2.0, max_length=12)
    model, asked = load(folder), []
    generate = model.network.generate
    model.network.generate = lambda **given: asked.append(given) or generate(**given)
    assert model.generation.patience == 1
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    found = [theirs.generate(**reader(text, return_tensors="pt"), early_stopping=True)[0] for text in TEXTS]
    assert [answer.text for answer in model.generate(TEXTS)] == reader.batch_decode(found, skip_special_tokens=True)
    assert all(given["early_stopping"] is True for given in asked)
    with pytest.raises(ConfigError, match=r"`patience` must be 1 or left out .* but is 2.0"):
        model.generate(TEXTS, patience=2.0)
    change(folder / "generation_config.json", do_sample=True, num_beams=1, early_stopping=False)
    assert load(folder).generation.top_k == 50


def test_the_interface_of_a_model(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    answers = model.generate([*TEXTS, ""], max_new_tokens=8)
    assert isinstance(answers, Answers) and "by transformers" in repr(model)
    assert repr(model) in model._repr_html_()
    assert answers[3].text == "" and answers[3].finished
    assert "".join(model.stream(TEXTS[0], max_new_tokens=8)) == answers[0].text
    assert model.tokenizer.tokens("w7 w8") == ["w7", "w8"] and model.tokenizer.decode([7, 8, 2]) == "w7 w8"
    target = "w9 w3"
    assert model.score(TEXTS[0], target)[0] < 0 and model.score([], []) == []
    sampled = [model.generate(TEXTS, max_new_tokens=8, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    again = load(model.save(tmp_path / "again", format="huggingface"))
    assert again.generate(TEXTS, max_new_tokens=8) == answers[:3]
    alone = [model.generate(text)[0] for text in TEXTS]  # the limit of an answer is that of its own source
    assert [answer.text for answer in model.generate(TEXTS)] == [answer.text for answer in alone]


def test_the_command_line_takes_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.txt").write_text("w7 w8\nw9\n")
    pair = ["--source", str(tmp_path / "in.txt"), "--target", str(tmp_path / "in.txt")]
    assert main(["evaluate", str(folder), *pair, "--metrics", "bleu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["segments"] == 2
    assert main(["score", str(folder), *pair]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["generate", str(folder), "--input", pair[1], "--max-new-tokens", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["export", str(folder), "--to", "ctranslate2", "--output", str(tmp_path / "out")]) == 2
    assert "a model that transformers computes cannot be written for CTranslate2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_it_has_no_word_for_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    for settings in (
        {"required": ("w7",)},
        {"beam_groups": 2, "beam_size": 2},
        {"prefix": "w7"},
        {"coverage_penalty": 0.1},
    ):
        with pytest.raises(ConfigError, match=f"`{next(iter(settings))}` must be left out for a model"):
            model.generate(TEXTS, **settings)
    with pytest.raises(ConfigError, match="is not a known setting"):
        model.generate(TEXTS, beams=3)
    with pytest.raises(DataError, match="input 2 must have at most 64 tokens, but has 71"):
        model.generate(["w7", "w7 " * 70])
    with pytest.raises(ModelError, match="`format` must be huggingface for a model that transformers computes"):
        model.save(tmp_path / "own")
    with pytest.raises(ModelError, match="attention maps need a model of our own families"):
        model.attention("w7")
    with pytest.raises(ModelError, match="must be loaded alone, without `attention` and `adapter`"):
        antiphon.load([folder, folder], device="cpu")


def test_without_the_extra_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"`model_type` in .* but is 'mvp'.*pip install 'antiphon\[hf\]'"):
        antiphon.load(folder, device="cpu")


def drop(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.encoder.layers.0.fc1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("break_it", "said", "kind"),
    [
        (
            lambda f: change(f / "config.json", encoder_layers=10**12),
            "`encoder_layers` .* must be at most 256",
            ModelError,
        ),
        (
            lambda f: change(f / "config.json", vocab_size=10**12),
            "`vocab_size` .* must be at most 16777216",
            ModelError,
        ),
        (lambda f: change(f / "config.json", d_model=2**23), "must hold what its config.json describes", ModelError),
        (
            lambda f: change(f / "config.json", quantization_config={"quant_method": "x"}),
            "has `quantization_config`",
            ModelError,
        ),
        (
            lambda f: change(f / "config.json", _attn_implementation="someone/kernel"),
            "has `_attn_implementation`",
            ModelError,
        ),
        (lambda f: change(f / "config.json", auto_map={"AutoModel": "x.Y"}), "code of its own", ModelError),
        (
            lambda f: change(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Y", None]}),
            "`auto_map` in",
            ModelError,
        ),
        (
            lambda f: change(f / "tokenizer_config.json", vocab_file="/etc/passwd"),
            "`vocab_file` in .* nothing outside",
            ModelError,
        ),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "holds an adapter", ModelError),
        (lambda f: (f / "vocab.txt").symlink_to("/etc/passwd"), "is a link to", ModelError),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "--allow-pickle", ModelError),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "must be a folder that transformers can read", ModelError),
        (
            lambda f: change(f / "generation_config.json", num_beams=10**9),
            "`num_beams` must be at least 1 and at most",
            ConfigError,
        ),
        (
            lambda f: change(f / "config.json", model_type="nothing"),
            "must be a folder that transformers can read",
            ModelError,
        ),
        (drop, "it lacks `model.encoder.layers.0.fc1.weight`", ModelError),
    ],
)
def test_a_broken_folder_is_one_line(
    folder: Path, break_it: Callable[[Path], object], said: str, kind: type[Exception]
) -> None:
    break_it(folder)
    with warnings.catch_warnings(), pytest.raises(kind, match=said) as caught:
        warnings.simplefilter("ignore")
        antiphon.load(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_random_texts_in_batches_are_those_alone(folder: Path) -> None:
    model, dice = load(folder), random.Random(0)
    texts = [" ".join(f"w{dice.randrange(6, 40)}" for _ in range(dice.randint(1, 9))) for _ in range(8)]
    whole = model.generate(texts, max_new_tokens=6, beam_size=3)
    assert [answer.text for answer in whole] == [
        model.generate(text, max_new_tokens=6, beam_size=3)[0].text for text in texts
    ]
