"""Families that transformers computes and that read sound or images: its own answers, our readers, data only."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from generation.test_wrapped import load
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import antiphon
from antiphon.errors import DataError, ModelError
from antiphon.generation.hf.model import HFModel

PIL_Image = pytest.importorskip("PIL.Image")
WORDS = {0: "<s>", 1: "<pad>", 2: "</s>", 5: "<unk>"}
IDS = {"decoder_start_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def sound_model() -> Any:
    encoder = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20, conv_dim=(8, 8),
        conv_stride=(5, 4), conv_kernel=(10, 8), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        vocab_size=40, num_feat_extract_layers=2,
    )  # fmt: skip
    decoder = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20,
        is_decoder=True, add_cross_attention=True, max_position_embeddings=64,
    )  # fmt: skip
    config = transformers.SpeechEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    return transformers.SpeechEncoderDecoderModel(config=config)


def image_model() -> Any:
    text = {"vocab_size": 40, "hidden_size": 16, "d_kv": 8, "d_ff": 20, "num_layers": 1, "num_heads": 2}
    vision = {
        "hidden_size": 16, "patch_embed_hidden_size": 48, "d_ff": 20, "d_kv": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "seq_len": 64,
    }  # fmt: skip
    config = transformers.Pix2StructConfig(text_config=text, vision_config=vision)
    return transformers.Pix2StructForConditionalGeneration(config)


MODELS = {
    "sound": (sound_model, lambda: transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000)),
    "images": (
        image_model,
        lambda: transformers.Pix2StructImageProcessor(max_patches=16, patch_size={"height": 4, "width": 4}),
    ),
}


def make(kind: str, folder: Path) -> Path:
    """A random checkpoint with its processor and a tokenizer of words."""
    torch.manual_seed(3)
    build, processor = MODELS[kind]
    network = build().eval()
    for name, parameter in network.named_parameters():
        if "norm" not in name.lower():
            parameter.data.normal_(0, 0.3)
    for name, id in IDS.items():
        setattr(network.config, name, id)
        setattr(network.generation_config, name, id)
    network.save_pretrained(folder)
    processor().save_pretrained(folder)
    rust = RustTokenizer(WordLevel({WORDS.get(id, f"w{id}"): id for id in range(40)}, unk_token="<unk>"))
    rust.pre_tokenizer = Whitespace()
    rust.add_special_tokens([*WORDS.values()])
    rust.save(str(folder / "tokenizer.json"))
    specials = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **specials})
    )
    return folder


def sources(kind: str, folder: Path) -> list[Path]:
    """Two files: a .wav of 8,000 samples a second and a shorter one, or two images of other sizes."""
    draw, found = np.random.default_rng(0), []
    for row, size in enumerate((900, 600)):
        if kind == "sound":
            file = folder / f"{row}.wav"
            with wave.open(str(file), "wb") as out:
                out.setnchannels(1)
                out.setsampwidth(2)
                out.setframerate(8000)
                out.writeframes((draw.normal(size=size) * 4000).astype("<i2").tobytes())
        else:
            file = folder / f"{row}.png"
            PIL_Image.fromarray(draw.integers(0, 256, (size // 60, 12, 3)).astype(np.uint8)).save(file)
        found.append(file)
    return found


def their_inputs(kind: str, folder: Path, file: Path) -> dict[str, Any]:
    """The arguments of the network, as transformers' own documentation makes them."""
    if kind == "sound":
        with wave.open(str(file)) as opened:
            samples = np.frombuffer(opened.readframes(10**6), "<i2").astype(np.float32) / 32768
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        return extractor(samples, sampling_rate=8000, return_tensors="pt", return_attention_mask=True)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return processor(images=PIL_Image.open(file), return_tensors="pt")


@pytest.mark.parametrize("kind", MODELS)
def test_answers_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = make(kind, tmp_path / kind)
    with pytest.warns(UserWarning, match=f"transformers computes it. It reads {kind}."):
        model = antiphon.load(folder, device="cpu")
    assert f"by transformers, reads {kind}, " in repr(model)
    auto = transformers.AutoModelForSpeechSeq2Seq if kind == "sound" else transformers.AutoModelForImageTextToText
    theirs = auto.from_pretrained(folder, attn_implementation="eager").eval()
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    files = sources(kind, tmp_path)
    for beams in (1, 3):
        answers = model.generate([str(file) for file in files], beam_size=beams, max_new_tokens=7)
        scores = model.score(files, [answer.text for answer in answers])
        for file, answer, score in zip(files, answers, scores, strict=True):
            given = their_inputs(kind, folder, file)
            stops = "never" if beams > 1 else False
            found = theirs.generate(**given, num_beams=beams, max_new_tokens=7, early_stopping=stops)
            assert answer.text == reader.batch_decode(found, skip_special_tokens=True)[0]
            with torch.no_grad():
                log_p = theirs(**given, decoder_input_ids=found[:, :-1]).logits.log_softmax(-1)
            each = log_p.gather(-1, found[:, 1:, None])[0, :, 0]
            assert answer.score == pytest.approx(float(each.sum()), abs=1e-4)
            assert answer.finished or score == pytest.approx(answer.score, abs=1e-4)
    alone = model.generate(files[0], beam_size=3, max_new_tokens=7)[0].text
    assert alone == answers[0].text == next(model.stream(files[0], beam_size=3, max_new_tokens=7))


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("sound", "in 3 hours", "names no file: the model does not read text"),
        ("sound", "nowhere.wav", "`nowhere.wav` must be sound, but there is no such file"),
        ("images", "in 3 hours", "names no file: the model does not read text"),
        ("images", {"image": np.zeros((8, 8), np.uint8), "text": "what?"}, "This model reads images alone. Leave the"),
        ("images", {"image": np.zeros((8, 8), np.uint8), "text": 3}, "the text of .* must be a text, but is 3"),
    ],
)
def test_inputs_of_another_kind_are_refused(kind: str, given: object, said: str, tmp_path: Path) -> None:
    model = load(make(kind, tmp_path))
    with pytest.raises(DataError, match=said) as caught:
        model.generate([given])
    assert "\n" not in str(caught.value)


def test_an_empty_recording_has_an_empty_answer(tmp_path: Path) -> None:
    model: HFModel = load(make("sound", tmp_path))
    assert model.generate([np.zeros(0, np.float32)])[0].text == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"auto_map": {"AutoImageProcessor": "evil.Evil"}},
            "`auto_map` in .*preprocessor_config.json` must name no code",
        ),
        ({"patch_size": {"height": 2**31, "width": 4}}, "`patch_size.height` in .* must be at most 16777216, but is"),
        (
            {"size": {"height": 2**14, "width": 4}},
            "`size.height` in .* must be a side of an image, at most 8192 pixels",
        ),
        ({"crop_size": 2**20}, "`crop_size` in .* must be a side of an image, at most 8192 pixels, but is 1048576"),
    ],
)
def test_a_processor_is_data(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = make("images", tmp_path)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ModelError, match=said):
        antiphon.load(folder, device="cpu")
