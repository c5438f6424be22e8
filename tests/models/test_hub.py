"""Folders of the Hugging Face hub without transformers: what is refused, by which line, and what is read all the same.

That the numbers are transformers' own is tests/parity/test_families.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import antiphon
from antiphon.batch import Tokens
from antiphon.config import AttentionConfig, FamilyConfig, GenerationConfig, ModelConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.inputs.embeddings import FeatureEmbedding
from antiphon.inputs.patch_embedding import PatchEmbedding
from antiphon.models.build import build_network
from antiphon.models.families import FAMILIES
from antiphon.models.folders.checkpoint import Parts, load_parts, save_model_folder
from antiphon.models.folders.hub import fetch, load_pretrained, save_pretrained
from antiphon.models.folders.lengths import PRETRAINING_LENGTHS
from antiphon.models.folders.stored import WeightFiles, is_whole, sketching
from antiphon.nn.positions import SINUSOIDS
from antiphon.settings import build
from antiphon.text import train_tokenizer

T5 = {
    "vocab_size": 270, "d_model": 16, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 2,
    "feed_forward_proj": "gated-gelu", "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0,
}  # fmt: skip
BART = {
    "vocab_size": 270, "d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 20, "decoder_ffn_dim": 24, "max_position_embeddings": 40,
    "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_bos_token_id": 1,
    "forced_eos_token_id": 2,
}  # fmt: skip
WHISPER = {name: value for name, value in BART.items() if not name.startswith(("forced", "max_position"))} | {
    "num_mel_bins": 5, "max_source_positions": 4, "sampling_rate": 1000, "hop_length": 125, "chunk_length": 1,
    "lang_to_id": {"<|de|>": 9}, "task_to_id": {"transcribe": 8}, "max_target_positions": 40,
}  # fmt: skip
_STACK = {
    "vocab_size": 270, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 6, "sliding_window": 2,
}  # fmt: skip
T5GEMMA = {
    "encoder": _STACK,
    "decoder": _STACK | {"hidden_size": 12, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 2},
    "bos_token_id": 1,
}
T5GEMMA2 = {
    "encoder": {
        "text_config": _STACK,
        "vision_config": {
            "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 8, "patch_size": 4,
        },
        "mm_tokens_per_image": 1, "boi_token_index": 261, "eoi_token_index": 262,
    },
    "decoder": _STACK | {"num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 2, "sliding_window": 3},
    "bos_token_id": 1, "image_token_index": 263,
}  # fmt: skip
M2M_100 = BART | {"pad_token_id": 1, "forced_bos_token_id": 3}
SPEECH2TEXT = {name: value for name, value in BART.items() if not name.startswith(("forced", "max_position"))} | {
    "pad_token_id": 1, "conv_channels": 6, "input_feat_per_channel": 5, "max_source_positions": 60,
    "max_target_positions": 40,
}  # fmt: skip
MOONSHINE = {
    "vocab_size": 270, "hidden_size": 20, "intermediate_size": 24, "encoder_num_hidden_layers": 1,
    "decoder_num_hidden_layers": 2, "encoder_num_attention_heads": 2, "decoder_num_attention_heads": 2,
    "max_position_embeddings": 40, "eos_token_id": 2, "decoder_start_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
TROCR = {
    "encoder": {
        "model_type": "vit", "hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 24, "image_size": 8, "patch_size": 4, "num_channels": 1,
    },
    "decoder": {
        "vocab_size": 270, "d_model": 20, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 24,
        "max_position_embeddings": 40,
    },
    "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
SETTINGS = {name: T5 if name.endswith("t5") else BART for name in FAMILIES}
SETTINGS |= {
    "whisper": WHISPER,
    "t5gemma": T5GEMMA,
    "t5gemma2": T5GEMMA2,
    "m2m_100": M2M_100,
    "speech_to_text": SPEECH2TEXT,
    "moonshine": MOONSHINE,
    "vision-encoder-decoder": TROCR,
}
WITHOUT_TEXTS = ("whisper", "speech_to_text", "moonshine", "vision-encoder-decoder")  # parity/ writes and reads these


def parts_of(name: str, *, shared: bool = True, tied: bool = True) -> Parts:
    """A random model of a family, with a tokenizer of bytes."""
    family = FAMILIES[name]
    tables = family.tables.place(shared=shared, tied=tied)
    ours = family.ours(build(family.keys, SETTINGS[name]), WeightFiles([]), tables)
    network = build_network(
        ours.model,
        ours.attention,
        source_vocab=ours.source_vocab,
        target_vocab=ours.target_vocab,
        shared=ours.tables.shared,
    )
    tokenizer = train_tokenizer(["in 3 hours"], kind="bytes", vocab_size=260)
    search = GenerationConfig(beam_size=2, max_new_tokens=9)
    return Parts(network.eval(), ours.model, ours.attention, tokenizer, tokenizer, "text", search)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A T5 as the hub has it."""
    return save_pretrained(tmp_path / "t5", parts_of("t5"))


def change(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


def edit(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    weights = {name: tensor.clone() for name, tensor in weights.items()}
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def logits(parts: Parts) -> Tensor:
    """Of a padded batch."""
    source, target = torch.tensor([[5, 6, 7, 2], [8, 2, 0, 0]]), torch.tensor([[0, 9, 10], [0, 11, 12]])
    lengths, embedding = torch.tensor([4, 2]), parts.network.source
    if isinstance(embedding, FeatureEmbedding):
        times = 2 if parts.model.family and parts.model.family.name == "whisper" else 8  # as many as it reads
        width = embedding.convolutions.layers[0].in_channels
        source = source.repeat_interleave(times, 1)[:, :, None] * torch.linspace(0.1, 1, width)
        lengths = lengths * times
    elif isinstance(embedding, PatchEmbedding):
        grid = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).expand(2, 4, 2)
        pixels = source[:, :, None] * torch.linspace(0.1, 1, embedding.project.in_features)
        source = torch.cat([pixels, grid], 2)
    with torch.no_grad():
        memory = parts.network.encode(source, Tokens.of_lengths(lengths, source.shape[1]))
        hidden, _ = parts.network.decode(target, Tokens(torch.arange(3)[None]), memory, None)
        return parts.network.logits(hidden)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("shared", "tied"), [(True, True), (True, False), (False, True), (False, False)])
def test_written_and_read_again(name: str, shared: bool, tied: bool, tmp_path: Path) -> None:
    parts = parts_of(name, shared=shared, tied=tied)
    made = save_pretrained(tmp_path / "theirs", parts)
    again = load_pretrained(made)
    usual = replace(parts.generation, max_source_tokens=PRETRAINING_LENGTHS.get(name))  # where the folder says nothing
    assert (again.model, again.attention, again.generation) == (parts.model, parts.attention, usual)
    assert torch.equal(logits(again), logits(parts))
    own = load_parts(save_model_folder(tmp_path / "own", again))
    assert own.model == parts.model and torch.equal(logits(own), logits(parts))
    assert own.network.vocab_size == 270 and own.target_tokenizer.vocab_size == 260
    assert not list(tmp_path.glob("**/*.tmp"))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in WITHOUT_TEXTS])
@pytest.mark.parametrize(("shared", "tied"), [(True, True), (True, False), (False, True), (False, False)])
def test_transformers_reads_each_way_of_sharing_tables(name: str, shared: bool, tied: bool, tmp_path: Path) -> None:
    """Its own ties are fewer than ours: what it would take for another table, or not find, is written besides."""
    import transformers

    parts = parts_of(name, shared=shared and name != "t5gemma", tied=tied)
    folder = save_pretrained(tmp_path, parts)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    source, target = torch.tensor([[5, 6, 7, 2]]), torch.tensor([[2, 9, 10]])
    with torch.no_grad():
        found = theirs(input_ids=source, decoder_input_ids=target).logits
        memory = parts.network.encode(source, Tokens(torch.arange(4)[None]))
        hidden, _ = parts.network.decode(target, Tokens(torch.arange(3)[None]), memory, None)
        assert float((found - parts.network.logits(hidden)).abs().max()) < 1e-4


def test_an_m2m_100_that_counts_positions_from_elsewhere_is_refused(tmp_path: Path) -> None:
    made = save_pretrained(tmp_path, parts_of("m2m_100"))
    change(made / "config.json", pad_token_id=0)
    change(made / "generation_config.json", pad_token_id=0)
    with pytest.raises(ConfigError, match="`pad_token_id` must be 1, behind which the library counts positions, but"):
        load_pretrained(made)


def test_load_answers_scores_and_saves(folder: Path, tmp_path: Path) -> None:
    model = antiphon.load(folder, device="cpu")
    answer = model.generate("in 3 hours")[0]
    assert model.generation == GenerationConfig(beam_size=2, max_new_tokens=9, max_source_tokens=512)
    model.save(tmp_path / "again", format="huggingface")
    model.save(tmp_path / "own")
    for made in ("again", "own"):
        assert antiphon.load(tmp_path / made, device="cpu").generate("in 3 hours")[0] == answer
    with pytest.raises(ModelError, match="`format` must be antiphon or huggingface, but is the text `onnx`"):
        model.save(tmp_path, format="onnx")


def test_ids_that_are_never_said(folder: Path, tmp_path: Path) -> None:
    said = antiphon.load(folder, device="cpu").generate("in 3 hours", beam_size=1)[0]
    never = antiphon.load(folder, device="cpu").tokenizer.encode(said.text)[0]
    change(folder / "generation_config.json", bad_words_ids=[[0], [never]])
    model = antiphon.load(folder, device="cpu")
    assert model.special_tokens.suppress == (0, never) and said.tokens[0] not in model.generate("in 3 hours")[0].tokens
    again = antiphon.load(model.save(tmp_path / "again", format="huggingface"), device="cpu")
    assert again.special_tokens == model.special_tokens


def test_a_forced_first_token_begins_every_answer_and_is_not_scored(tmp_path: Path) -> None:
    save_pretrained(tmp_path, parts_of("bart"))
    model = antiphon.load(tmp_path, device="cpu")
    assert (model.special_tokens.first, model.special_tokens.force_end) == ((1,), True)
    answer = model.generate("in 3 hours", max_new_tokens=5)[0]
    assert answer.finished  # the limit ends it
    text = "hours"
    ids = [1, *model.tokenizer.encode(text)]
    found = model.score("in 3 hours", text)[0]
    source = torch.tensor([model.tokenizer.encode("in 3 hours")])
    begun, places = torch.tensor([[2, *ids[:-1]]]), [torch.arange(n)[None] for n in (source.shape[1], len(ids))]
    with torch.no_grad():
        memory = model.network.encode(source, Tokens(places[0]))
        hidden, _ = model.network.decode(begun, Tokens(places[1]), memory, None)
        log_p = model.network.logits(hidden)[0].log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[1:].sum()
    assert found == pytest.approx(float(log_p), abs=1e-5)
    for settings in ({}, {"prefix": "ho"}, {"required": ("hours",)}):
        answer = model.generate("in 3 hours", allowed=("hours", "in"), **settings)[0]
        assert answer.text == "hours" or not settings
        assert answer.score == pytest.approx(model.score("in 3 hours", answer.text)[0], abs=1e-4), settings
    pieces = "".join(model.stream("in 3 hours", max_new_tokens=5))
    assert pieces == model.generate("in 3 hours", max_new_tokens=5)[0].text
    assert model.attention("in 3 hours", "hours").target_tokens[0] == model.tokenizer.pieces([1], specials=True)[0]


def test_shards_a_prefix_that_is_absent_and_aliases(tmp_path: Path) -> None:
    parts = parts_of("bart")
    made = save_pretrained(tmp_path, parts)
    weights = load_file(made / "model.safetensors")
    (made / "model.safetensors").unlink()
    weights = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
    weights["encoder.embed_tokens.weight"] = weights["shared.weight"].clone()
    names = sorted(weights)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in shards.items():
        save_file({name: weights[name] for name in own}, made / file)
    index = {"weight_map": {name: file for file, own in shards.items() for name in own}}
    (made / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(logits(load_pretrained(made)), logits(parts))


def test_bfloat16_is_near_and_float16_refused(folder: Path, tmp_path: Path) -> None:
    wide, narrow = load_pretrained(folder), load_pretrained(folder, dtype=torch.bfloat16)
    found = logits(narrow)
    assert found.dtype == torch.bfloat16
    away, exact = (
        found.float() - logits(wide),
        logits(wide),
    )  # how far at the size of a T5: tests/parity/test_bfloat16.py
    assert away.norm() < 1e-2 * exact.norm() and away.abs().max() < 3e-2 * exact.abs().max()
    with pytest.raises(ModelError, match=r"`dtype` must not be float16 for t5, .*65,504.* Use bfloat16"):
        antiphon.load(folder, device="cpu", dtype="float16")
    save_model_folder(tmp_path / "own", wide)
    with pytest.raises(ModelError, match="must not be float16 for t5"):
        antiphon.load(tmp_path / "own", device="cpu", dtype="float16")


def test_activations_beyond_float16_are_finite_in_bfloat16(folder: Path) -> None:
    edit(folder, lambda w: [w[k].mul_(300) for k in w if "wo.weight" in k or "wi_" in k])
    parts = load_pretrained(folder, dtype=torch.bfloat16)
    seen: list[float] = []
    for layer in parts.network.encoder.layers:
        layer.ffn.down.register_forward_hook(lambda module, given, made: seen.append(float(made.abs().max())))
    assert logits(parts).isfinite().all() and max(seen) > 65504
    assert load_pretrained(folder, dtype=torch.float32).network.device.type == "cpu"


@pytest.mark.parametrize(
    ("break_it", "said", "kind"),
    [
        (
            lambda f: edit(f, lambda w: w.pop("encoder.final_layer_norm.weight")),
            "must hold `encoder.final_layer_norm.weight` by its config.json",
            ModelError,
        ),
        (
            lambda f: edit(f, lambda w: w.update(bonus=torch.ones(3))),
            r"model.safetensors` must hold .* but has `bonus`, the first of shape \(3,\)",
            ModelError,
        ),
        (
            lambda f: change(f / "config.json", d_ff=24),
            r"wi_0.weight` in .*safetensors` must have shape \(24, 16\) by config.json, but has \(20, 16\)",
            ModelError,
        ),
        (
            lambda f: edit(f, lambda w: w.update({"shared.weight": torch.ones(270, 16, dtype=torch.int64)})),
            "must hold floating-point numbers, but `shared.weight` is I64",
            ModelError,
        ),
        (
            lambda f: change(f / "config.json", model_type="t55"),
            "must be one of t5, .* but is 't55', did you mean `t5`",
            ModelError,
        ),
        (
            lambda f: change(f / "config.json", model_type="prophetnet", is_encoder_decoder=True),
            r"but is 'prophetnet'.*extra \[hf\]",
            ModelError,
        ),
        (
            lambda f: change(f / "config.json", auto_map={"AutoModel": "x.Y"}),
            "has `auto_map`: code of its own",
            ModelError,
        ),
        (
            lambda f: change(f / "config.json", d_model="wide"),
            r"`d_model` must be a whole number, but is the text `wide` \(.*config.json\)",
            ConfigError,
        ),
        (lambda f: change(f / "config.json", d_model=...), r"`d_model` must be given", ConfigError),
        (
            lambda f: change(f / "config.json", feed_forward_proj="gated-mish"),
            "`feed_forward_proj` must be one of relu, .* but is `gated-mish`",
            ConfigError,
        ),
        (
            lambda f: change(f / "generation_config.json", eos_token_id=[2, 3]),
            "`eos_token_id` must be one id",
            ModelError,
        ),
        (
            lambda f: change(f / "generation_config.json", num_beams=0),
            r"`num_beams` must be at least 1 and at most 4096, but is 0 \(.*generation_config.json\)",
            ConfigError,
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-7]),
            "must be a safetensors file, but cannot be read",
            ModelError,
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64),
            "must be a safetensors file with a header of at most 8388608 bytes, but says 18446744073709551615",
            ModelError,
        ),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            r"holds only pytorch_model.bin, a pickle.* antiphon convert .*t5 NEW --allow-pickle",
            ModelError,
        ),
        (
            lambda f: (f / "model.safetensors").unlink(),
            "must hold model.safetensors or model.safetensors.index.json",
            ModelError,
        ),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "must be JSON", ModelError),
        (
            lambda f: change(f / "generation_config.json", bad_words_ids=[[3, 4]]),
            "`bad_words_ids` must be single ids",
            ModelError,
        ),
        (lambda f: change(f / "config.json", vocab_size=200), "must have at most 200 ids", ModelError),
    ],
)
def test_a_broken_folder_is_one_line(
    folder: Path, break_it: Callable[[Path], object], said: str, kind: type[Exception]
) -> None:
    break_it(folder)
    with pytest.raises(kind, match=said) as caught:
        load_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"d_model": 2**31}, {"num_layers": 10**6}, {"vocab_size": 10**9}, {"num_heads": 10**9}, {"d_ff": 2**62},
        {"num_layers": 256, "num_decoder_layers": 256}, {"vocab_size": 2**24, "d_model": 2**16, "d_ff": 2**18},
        {"relative_attention_num_buckets": 2**40}, {"d_kv": -1}, {"dropout_rate": 1e999},
    ],
)  # fmt: skip
def test_bombs_are_refused_at_once(folder: Path, changes: dict[str, Any]) -> None:
    change(folder / "config.json", **changes)
    start = time.process_time()
    # Each key has its bounds; values that only together ask for too much are those of no file.
    with pytest.raises(ConfigError if len(changes) == 1 else ModelError):
        load_pretrained(folder)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("changes", [{"d_model": 2**31}, {"encoder_layers": 10**6}, {"max_length": 2**40}])
def test_bombs_in_a_folder_of_ours(changes: dict[str, Any], tmp_path: Path) -> None:
    save_model_folder(tmp_path, parts_of("marian"))
    content = json.loads((tmp_path / "config.json").read_text())
    content["model"] |= changes
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="must be at most"):
        load_parts(tmp_path)
    content["model"] = json.loads(json.dumps(content["model"])) | dict.fromkeys(changes, 8)
    content["vocabulary"]["target"] = 10**9
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError):
        load_parts(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../t5/model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "x.bin", "a\x00.safetensors"],
)
def test_an_index_names_files_of_its_folder(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / "x.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"shared.weight": name}}))
    with pytest.raises(ModelError, match="must name files of its own folder"):
        load_pretrained(folder)


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    outside = (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    (folder / "model.safetensors").symlink_to(outside)
    with pytest.raises(ModelError, match="must be a file of its folder, but is a link"):
        load_pretrained(folder)
    # The hub's own cache: snapshots/REVISION holds links to blobs/.
    snapshot = tmp_path / "cache" / "snapshots" / "abc"
    (tmp_path / "cache" / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in [*folder.iterdir()]:
        blob = file.resolve().rename(tmp_path / "cache" / "blobs" / file.name)
        (snapshot / file.name).symlink_to(blob)
    assert load_pretrained(snapshot).model.d_model == 16


def test_what_no_family_can_express_is_named(tmp_path: Path) -> None:
    parts = parts_of("marian")
    plain = ModelConfig(preset="tiny")
    with pytest.raises(ModelError, match=r"a model of your own .* must have `norm` 'layer', but it is 'rms'"):
        save_pretrained(tmp_path, Parts(parts.network, plain, *_rest(parts)))
    record = FamilyConfig(name="marian", pad_id=0, start_id=0, end_id=2, sinusoids="interleaved")
    odd = ModelConfig(preset="base", family=record)
    with pytest.raises(ModelError, match="written as marian must have `sinusoids` 'halves'"):
        save_pretrained(tmp_path, Parts(parts.network, odd, *_rest(parts)))
    assert not (tmp_path / "config.json").exists()


def interleaved(pos: Tensor, dim: int) -> Tensor:
    """The paper's sinusoids in float64, sines and cosines by turns."""
    values = SINUSOIDS["halves"](pos, dim)
    return torch.stack([values[..., : dim // 2], values[..., dim // 2 :]], -1).flatten(-2)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
@pytest.mark.parametrize("placement", ["post", "pre"])
def test_a_model_of_our_own_that_a_family_can_express(placement: str, activation: str, tmp_path: Path) -> None:
    """The presets base, big (post) and small, student (pre): equal logits here and in transformers, in float64."""
    import transformers

    sizes = {"d_model": 16, "ffn_dim": 20, "encoder_layers": 2, "decoder_layers": 2, "num_heads": 2, "max_length": 40}
    made = ModelConfig(preset="base", norm_placement=placement, activation=activation, **sizes)
    network = build_network(made, AttentionConfig(), source_vocab=270, target_vocab=270, shared=True).double().eval()
    for weight in network.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    parts = Parts(network, made, AttentionConfig(), *_rest(parts_of("marian"))[1:])
    folder = save_pretrained(tmp_path / "theirs", parts)
    again = load_pretrained(folder, dtype=torch.float64)
    assert again.model.family.name == ("marian" if placement == "post" else "pegasus")
    assert float((logits(again) - logits(parts)).abs().max()) < 1e-6
    for front in (network.source, network.target):  # ours are float32, theirs float64
        front.positions.values = interleaved
    assert float((logits(again) - logits(parts)).abs().max()) < 1e-10
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float64).eval()
    source, target = torch.tensor([[5, 6, 7, 2], [8, 2, 0, 0]]), torch.tensor([[0, 9, 10], [0, 11, 12]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.no_grad():
        found = theirs(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits
    assert float((found - logits(parts)).abs().max()) < 1e-5  # its table of sinusoids is float32


def test_a_longt5_with_transient_global_attention_is_refused_by_name(tmp_path: Path) -> None:
    made = save_pretrained(tmp_path, parts_of("longt5"))
    assert load_pretrained(made).attention.encoder["all"][1] == {"window": 128}  # type: ignore[index]
    change(made / "config.json", encoder_attention_type="transient-global")
    with pytest.raises(ConfigError, match="`encoder_attention_type` must be `local`, but is `transient-global`"):
        load_pretrained(made)


def test_a_longt5_is_written_only_with_its_rules(tmp_path: Path) -> None:
    parts = parts_of("longt5")
    for encoder in ("full", parts.attention.decoder, {"all": [parts.attention.decoder, "full"]}):
        odd = replace(parts, attention=replace(parts.attention, encoder=encoder))
        with pytest.raises(ModelError, match="written as longt5 must have the rules `relative` and `window`"):
            save_pretrained(tmp_path, odd)


def _rest(parts: Parts) -> tuple[Any, ...]:
    return parts.attention, parts.source_tokenizer, parts.target_tokenizer, parts.task, parts.generation


def test_a_sketch_has_no_memory(tmp_path: Path) -> None:
    parts = parts_of("t5")
    with sketching():
        sketch = build_network(parts.model, parts.attention, source_vocab=9, target_vocab=9, shared=True)
    assert sketch.source.table.weight.is_meta and sketch.source.table is sketch.output and is_whole(sketch)


def test_names_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def snapshot(name: str, **settings: Any) -> str:
        asked.update(settings, name=name)
        raise OSError("no network\nhere")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(
        ModelError, match=r"there is no folder `google-t5/t5-small` here, and the hub could not be asked"
    ) as caught:
        antiphon.load("google-t5/t5-small")
    assert "\n" not in str(caught.value) and asked["name"] == "google-t5/t5-small"
    assert not any(pattern.endswith((".bin", ".py", ".pt")) or pattern == "*" for pattern in asked["allow_patterns"])
    for name in ("a/../b", "a b/c", "https://x/y"):
        with pytest.raises(ModelError, match="must be a folder, or the name of a model on the hub"):
            fetch(name)
    with pytest.raises(ModelError, match="there is no model at"):
        antiphon.load(tmp_path / "nowhere")
