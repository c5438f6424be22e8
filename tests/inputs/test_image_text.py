"""Texts with images as a T5Gemma 2 reads them: files, arrays, several images, texts alone, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.test_hub import parts_of

from antiphon.cli.main import main
from antiphon.data.media.references import located
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.maps.drawing import draw
from antiphon.generation.attention.maps import maps_of_features
from antiphon.generation.model import Model
from antiphon.inputs import ImageTextInput, TextInput
from antiphon.inputs.image_text import ImageText, patches_of

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def model() -> Model:
    parts = parts_of("t5gemma2")
    with torch.no_grad():
        draw = torch.Generator().manual_seed(0)
        for parameter in parts.network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    return Model.from_parts(parts)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)).save(path)
    return path


def kind_of(model: Model) -> ImageTextInput:
    assert isinstance(model.input_kind, ImageTextInput)
    return model.input_kind


def test_ids_and_pixels(model: Model, file: Path) -> None:
    """The image between blank lines, then the text; scaled to the square as Pillow does, from -1 to 1."""
    kind = kind_of(model)
    (row,) = kind.read({"image": file, "text": "what?"}, "texts")
    scaled = np.asarray(Image.open(file).resize((8, 8), Image.Resampling.BILINEAR), dtype=np.float32)
    torch.testing.assert_close(row.images[0], torch.from_numpy(scaled).permute(2, 0, 1) / 127.5 - 1)
    blank, text = (model.tokenizer.bare(model.tokenizer.encode(each)) for each in ("\n\n", "\n\nwhat?"))
    after = model.tokenizer.frame[1]
    assert kind.ids_of("what?", 1) == [*blank, 261, 263, 262, *text, *after]
    assert kind.ids_of("what?", 0) == model.tokenizer.encode("what?")
    patches = patches_of(row.images[0], kind.vision)
    torch.testing.assert_close(patches[1], row.images[0][:, :4, 4:].flatten())


def test_an_answer_depends_on_the_image_and_on_the_text(model: Model, file: Path) -> None:
    asked: list[Any] = [
        {"image": file, "text": "what?"}, {"image": np.zeros((5, 5), np.uint8), "text": "what?"}, file, "what?",
        {"image": [file, file], "text": "what?"}, "",
    ]  # fmt: skip
    answers = model.generate(asked, beam_size=2, max_new_tokens=6)
    alone = [model.generate([each], beam_size=2, max_new_tokens=6)[0] for each in asked]
    assert [answer.text for answer in answers] == [answer.text for answer in alone] and answers[5].text == ""
    scores = [round(answer.score, 4) for answer in answers[:5]]
    assert len(set(scores)) == 5 and scores == pytest.approx([answer.score for answer in alone[:5]], abs=1e-4)
    texts = [answer.text for answer in answers[:4]]
    each = [model.score([one], [text])[0] for one, text in zip(asked[:4], texts, strict=True)]
    assert model.score(asked[:4], texts) == pytest.approx(each, abs=1e-4)
    assert "".join(model.stream(asked[0], beam_size=2, max_new_tokens=6)) == texts[0]


def test_texts_alone_are_read_as_by_a_model_of_texts(model: Model) -> None:
    plain = TextInput().with_tokenizer(model.tokenizer)
    for given in ("a", ["a", "b"], ("a",), np.array(["a", "b"])):
        asked = list(given) if not isinstance(given, str) else given
        assert kind_of(model).read(asked, "texts") == plain.read(asked, "texts")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": "a"}, r"number 1 of `texts` must be a text, or {\"image\": image, \"text\": text}, but is"),
        ({"image": "nowhere.png", "text": "a"}, "there is no such file"),
        ({"image": np.zeros((3, 3), np.uint8), "text": 5}, "must be a text, or"),
        (7, "must be a text or several, but is 7"),
        ([7], "must be images, but number 1 has"),
    ],
)
def test_other_inputs_are_refused(given: object, said: str, model: Model) -> None:
    with pytest.raises(DataError, match=said) as caught:
        model.generate(given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_lengths(model: Model, file: Path) -> None:
    with pytest.raises(DataError, match=r"must have at most 8 tokens .* Shorten its text, or give fewer images"):
        model.generate({"image": file, "text": "a b c d e f g"}, max_source_tokens=8)
    asked = {"image": file, "text": "a b c d"}
    uncut = model.generate(asked, max_new_tokens=4)[0].text
    assert model.generate(asked, max_new_tokens=4, overflow="truncate")[0].text == uncut
    with pytest.raises(DataError, match="must have at most 8 tokens"):
        model.generate(asked, max_source_tokens=8, overflow="truncate")
    assert model.generate(file)[0].tokens != [] and len(model.generate(file)[0].tokens) <= 2 * 20 + 32
    assert kind_of(model).is_empty(ImageText("", ())) is False


def test_a_prompt_is_the_text_beside_an_image(model: Model, file: Path) -> None:
    want = model.generate([{"image": file, "text": "a"}, {"image": file, "text": "b"}], max_new_tokens=5)
    for given in ([file, file], [located(str(file))] * 2, [located(str(file), prompt="x")] * 2):
        found = model.generate(given, prompt=("a", "b"), max_new_tokens=5)
        assert [one.score for one in found] == pytest.approx([one.score for one in want], abs=1e-5)
    assert model.score([file], ["c"], prompt="a") == pytest.approx(model.score([{"image": file, "text": "a"}], ["c"]))
    assert model.score([located(str(file), prompt="a")], ["c"]) == pytest.approx(model.score([file], ["c"], prompt="a"))
    with pytest.raises(ConfigError, match="`prompt` must be left out for an image with a `text`"):
        model.generate({"image": file, "text": "a"}, prompt="b")


def test_maps_have_the_places_of_images_and_the_tokens_of_the_text(model: Model, file: Path, tmp_path: Path) -> None:
    kind = kind_of(model)
    maps = model.attention({"image": [file, file], "text": "what?"}, "word one")
    assert maps.picture is not None and maps.picture.pixels.shape == (3, 8, 16)
    assert [maps.source_tokens[place] for place in maps.picture.tokens][-5:] == list("what?")
    places = [place for place, box in enumerate(maps.picture.boxes) if box is not None]
    assert [maps.source_tokens[place] for place in places] == ["1:1,1", "2:1,1"]
    boxes = [maps.picture.boxes[place] for place in places]
    assert [(box.left, box.top, box.width, box.height) for box in boxes if box] == [(0, 0, 8, 8), (8, 0, 8, 8)]
    marks = [token for token, special in zip(maps.source_tokens, maps.source_special, strict=True) if special]
    assert len(marks) == 5 and not set(maps.picture.tokens) & {
        place for place, special in enumerate(maps.source_special) if special
    }
    assert maps.cross is not None and maps.decoder is not None and maps.encoder is not None
    whole = maps.cross.sum(-1) + maps.decoder.sum(-1)  # one softmax over the source and the target
    torch.testing.assert_close(whole, torch.ones_like(whole), rtol=1e-5, atol=1e-5)
    assert torch.allclose(maps.encoder.sum(-1), torch.ones(()), atol=1e-5)
    drawn = maps._repr_html_()
    assert "<svg" in drawn and ">what" not in drawn and drawn.count("<figure") == len(maps.target_tokens)
    one, two = model.attention({"image": file, "text": "what?"}), model.attention(file, prompt="what?")
    torch.testing.assert_close(one.cross, two.cross)
    asked = {"image": file, "text": "what?"}
    (answer,) = model.generate([asked])
    assert [token for token, left_out in zip(one.target_tokens, one.target_special, strict=True) if not left_out] == (
        answer.tokens
    )
    for name in ("maps.png", "maps.html"):
        draw(maps, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    assert kind.picture("what?", positions=6) is None


def test_maps_of_a_text_are_those_of_its_ids_read_as_features(model: Model) -> None:
    kind, text, target = kind_of(model), "what is it", "a word"
    plain = model.attention(text, target)
    ids = model.tokenizer.encode(text)
    features = kind.features_of_ids(ids)
    known = {"special_tokens": model.special_tokens, "picture": lambda positions: None}
    again = maps_of_features(model, features, model.tokenizer.encode(target), **known)
    for role in ("cross", "encoder", "decoder"):
        torch.testing.assert_close(again.weights(role), plain.weights(role))
    with pytest.raises(DataError, match="`source` must be one image"):
        model.attention([{"image": np.zeros((5, 5), np.uint8)}, "what?"])


def test_the_command_shows_the_maps_of_an_image(model: Model, file: Path, tmp_path: Path, capsys: Any) -> None:
    model.save(tmp_path / "model")
    assert main(["attention", "show", str(tmp_path / "model"), str(file), "word", "--prompt", "what?"]) == 0
    shown = capsys.readouterr().out
    assert "1,1" in shown and "?" in shown
