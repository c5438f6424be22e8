"""A kind of input is a subclass of InputKind and a row of KINDS: nothing else in the library asks which it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import pytest
import torch
from generation.test_speech import SPEECH
from torch import Tensor, nn

import antiphon
import antiphon.inputs
from antiphon.batch import Example, Tokens, collate
from antiphon.config import AttentionConfig, FamilyConfig, GenerationConfig, InputSettings, ModelConfig
from antiphon.errors import ConfigError, DataError
from antiphon.generation.model import Model
from antiphon.inputs import KINDS, InputKind, SpeechInput, TextInput, input_kind
from antiphon.inputs.embeddings import SourceEmbedding
from antiphon.inputs.kind import Source, SourceParts
from antiphon.inputs.limits import BoundedNetwork
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts
from antiphon.nn.noise import Noise
from antiphon.nn.positions import Sinusoidal
from antiphon.text import train_tokenizer

HEIGHT, COLUMNS = 4, 8  # pixels of a patch, and the most patches of an image


class PatchEmbedding(SourceEmbedding):
    """Patches (B, F, M) to vectors (B, F, D)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.project, self.positions = nn.Linear(HEIGHT, d_model), Sinusoidal(d_model)

    @property
    def d_model(self) -> int:
        return self.project.out_features

    def forward(self, patches: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        x = self.positions(self.project(patches.to(self.project.weight.dtype)), tokens.pos)
        return x * tokens.valid[..., None], tokens


@dataclass(frozen=True)
class ImageInput(InputKind[Tensor]):
    """Images of one height: rows are (W, HEIGHT), which the network reads column by column."""

    has_tokens: ClassVar[bool] = False

    @classmethod
    def of(cls, family: FamilyConfig | None, settings: InputSettings | None) -> Self | None:
        return cls() if family is not None and family.name == "images" else None

    def embedding(self, model: ModelConfig, ids: Callable[[], SourceEmbedding], noise: Noise) -> SourceEmbedding:
        return PatchEmbedding(model.d_model)

    def read(self, inputs: object, what: str, *, names: bool = True, template: bool = True) -> list[Tensor]:
        rows = [inputs] if isinstance(inputs, Tensor) else inputs
        if not isinstance(rows, list) or not all(isinstance(row, Tensor) and row.dim() == 2 for row in rows):
            raise DataError(f"`{what}` must be images. Give tensors (W, {HEIGHT}).")
        return rows

    def is_empty(self, row: Tensor) -> bool:
        return len(row) == 0

    def parts(
        self, rows: Sequence[Tensor], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[SourceParts]:
        found = []
        for row, image in enumerate(rows, first_row):
            if len(image) > COLUMNS and config.overflow == "error":
                raise DataError(f"input {row + 1} must have at most {COLUMNS} columns, but has {len(image)}. Cut it.")
            parts = [part for part in image.split(COLUMNS) if len(part)]
            found.append(SourceParts(parts, [" "] * len(parts)))
        return found

    def whole(
        self, rows: Sequence[Tensor], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[Source]:
        return [row if len(row) else torch.zeros(1, HEIGHT) for row in rows]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(antiphon.inputs, "KINDS", (ImageInput, *KINDS))
    family = FamilyConfig(name="images", pad_id=256, start_id=257, end_id=258)
    tokenizer = train_tokenizer(["in 3 hours"], kind="bytes", vocab_size=260)
    size = tokenizer.vocab_size
    family = replace(family, pad_id=tokenizer.pad_id, start_id=tokenizer.start_id, end_id=tokenizer.end_id)
    config = ModelConfig(preset="tiny", d_model=16, num_heads=2, ffn_dim=20, dropout=0.0, max_length=24, family=family)
    network = build_network(config, AttentionConfig(), source_vocab=size, target_vocab=size, shared=True, seed=3)
    for parameter in network.parameters():
        parameter.data.mul_(3.0)  # so that answers differ
    search = GenerationConfig(beam_size=2, max_new_tokens=6)
    return Model.from_parts(Parts(network.eval(), config, AttentionConfig(), tokenizer, tokenizer, "text", search))


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(width, HEIGHT, generator=generator) for width in (3, 8, 1, 5)]


def test_a_further_kind_answers_streams_and_scores(model: Model) -> None:
    assert isinstance(model.input_kind, ImageInput) and isinstance(model.network.source, PatchEmbedding)
    answers = model.generate(images())
    assert len({answer.text for answer in answers}) > 1
    for image, answer in zip(images(), answers, strict=True):
        assert "".join(model.stream(image)) == answer.text == model.generate(image)[0].text
    allowed = model.generate(images(), allowed=("in 3", "hours"))
    scores = model.score(images(), [answer.text for answer in allowed])
    assert scores == pytest.approx([answer.score for answer in allowed], abs=1e-4)
    empty = torch.zeros(0, HEIGHT)
    assert model.generate(empty)[0].text == "" and model.score(empty, [""]) == [0.0]
    with pytest.raises(DataError, match="`texts` must be images"):
        model.generate("in 3 hours")
    with pytest.raises(DataError, match="`source` must be images"):
        model.attention("in 3 hours")
    maps = model.attention(images()[0])  # without a picture, positions have numbers
    assert maps.picture is None and maps.source_tokens == ["1", "2", "3"] and maps.cross is not None


def test_long_sources_of_a_further_kind_are_refused_or_split(model: Model) -> None:
    long = torch.cat([images()[1], images()[3]])
    with pytest.raises(DataError, match="input 3 must have at most 8 columns, but has 13"):
        model.generate(long, first_row=2)
    parts = [answer.text for answer in model.generate([images()[1], images()[3]])]
    whole = model.generate(long, overflow="split")[0]
    assert [part for part in parts if part in whole.text] == parts and len(whole.text) >= sum(map(len, parts))


def test_a_further_kind_is_classified_saved_and_trained(model: Model, tmp_path: Path) -> None:
    labels = {"yes": "in 3", "no": "hours"}
    classifier = Model.from_parts(replace(model.parts, task="classification", labels=labels))
    for image, answer in zip(images(), classifier.generate(images()), strict=True):
        assert answer.probabilities is not None and sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.score == pytest.approx(max(classifier.score([image] * 2, list(labels.values()))), abs=1e-4)
    model.save(tmp_path / "model")
    again = antiphon.load(tmp_path / "model", device="cpu")
    assert again.generate(images()) == model.generate(images())
    pairs = antiphon.load([tmp_path / "model", tmp_path / "model"], device="cpu")
    assert [answer.text for answer in pairs.generate(images())] == [a.text for a in model.generate(images())]
    targets = [model.tokenizer.encode(text) for text in ("in", "3", "h", "s")]
    examples = [Example(image, ids, i) for i, (image, ids) in enumerate(zip(images(), targets, strict=True))]
    loss = model.network(collate(examples, pad_id=model.special_tokens.pad, start_id=model.special_tokens.start))
    loss.backward()
    assert isinstance(model.network.source, PatchEmbedding)
    gradient = model.network.source.project.weight.grad
    assert gradient is not None and float(gradient.abs().max()) > 0


def test_the_kind_of_a_family() -> None:
    family = FamilyConfig(name="whisper", pad_id=2, start_id=265, end_id=2, speech=SPEECH)
    assert input_kind(None, None) == input_kind(replace(family, speech=None), None) == TextInput()
    assert input_kind(family, None) == SpeechInput(SPEECH)
    assert repr(input_kind(family, None)) == "SpeechInput(1000 Hz, 1 s at once, 5 mel bands)"


def test_the_prompt_of_speech_holds_what_is_given_and_leaves_the_rest_to_be_chosen() -> None:
    free, given = SpeechInput(SPEECH), SpeechInput(replace(SPEECH, language="de"))
    assert (free.prompt(), free.prompt_choices, free.prompt_length) == ((268, 269), (266, 267), 3)
    assert free.prompt(266) == (266, 268, 269)
    assert (given.prompt(), given.prompt_choices, given.prompt_length) == ((267, 268, 269), (), 3)
    assert TextInput().prompt() is None and TextInput().prompt_length == 0


def test_speech_can_be_trained_in_a_language() -> None:
    TextInput().check_trainable()
    SpeechInput(replace(SPEECH, language="de")).check_trainable()
    with pytest.raises(ConfigError, match=r"needs the language of its data.*Set `generation\.source_language`"):
        SpeechInput(SPEECH).check_trainable()
