"""Images as input: features and their length, fronts whose result depends on the image alone, and a whole model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from generation.test_model import model as text_model
from inputs.images import picture, png_head, stored
from page_commands import passages
from torch import nn

import antiphon
from antiphon.batch import Example, Tokens, collate
from antiphon.config import AttentionConfig, GenerationConfig, ImageConfig, ModelConfig
from antiphon.data.lines import DataPlace
from antiphon.data.media.rows import MediaSources
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.generation.attention.maps import entropies
from antiphon.generation.model import Model
from antiphon.inputs import ImageInput, input_kind
from antiphon.inputs.image_features import image_of, pixels, scaled
from antiphon.inputs.patch_embedding import PatchEmbedding
from antiphon.inputs.pictures import spectrogram
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.grid_positions import GridLearned, GridSinusoidal
from antiphon.nn.image_convolutions import ImageConvolutions
from antiphon.nn.positions import Rotary, sinusoids
from antiphon.recipe import from_mapping
from antiphon.settings import hints
from antiphon.text import train_tokenizer

SETTINGS = [
    ImageConfig(),
    ImageConfig(height=16, patch=5, channels=3),
    ImageConfig(height=None, patch=4),
    ImageConfig(height=None, width=20, patch=4),
    ImageConfig(height=20, width=24, patch=8),
    ImageConfig(height=20, width=24, patch=8, stretch=True, resample="bicubic"),
    ImageConfig(height=16, front="convolutions"),
    ImageConfig(height=15, width=40, front="convolutions", channels=3),
]
POSITIONS = ["sinusoidal", "learned", "rotary", "relative", "alibi", "none"]


def network_of(settings: dict[str, Any], **changes: Any) -> EncoderDecoder:
    base = {"preset": "tiny", "d_model": 16, "num_heads": 2, "ffn_dim": 20, "dropout": 0.0, "max_length": 80}
    config = ModelConfig(**{**base, "input": {"image": settings}, **changes})
    network = build_network(config, AttentionConfig(), source_vocab=9, target_vocab=9, shared=False, seed=1)
    return network.eval()


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_the_length_is_known_before_decoding(settings: ImageConfig) -> None:
    kind = ImageInput(settings)
    for height, width in ((1, 1), (16, 16), (15, 31), (33, 20), (7, 100), (60, 3)):
        file = stored(picture(height, width, channels=settings.channels))
        features = kind.features(kind.load(file, "`a`"))
        assert kind.measure(file, "`a`") == len(features), (height, width)
        assert features.dtype == torch.float32 and bool(features.isfinite().all())
        _, high, wide = kind.load(file, "`a`").shape
        if not settings.stretch and min(high, wide) > 1:  # in ratio, but for whole pixels
            assert abs(wide * height - high * width) <= max(width, height)


def test_patches_are_those_of_a_convolution_and_know_their_place() -> None:
    kind = ImageInput(ImageConfig(height=None, patch=4, channels=3, mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7)))
    image, convolution = picture(10, 15, channels=3), nn.Conv2d(3, 7, kernel_size=4, stride=4)
    features = kind.features(image)
    assert features[:, -2:].tolist() == [[row, column] for row in range(3) for column in range(4)]
    whole = torch.full((3, 12, 16), 255.0)
    whole[:, :10, :15] = image
    mean, std = torch.tensor(kind.settings.mean)[:, None, None], torch.tensor(kind.settings.std)[:, None, None]
    wanted = convolution((whole[None] / 255 - mean) / std).flatten(2)[0].T
    found = nn.functional.linear(features[:, :-2], convolution.weight.flatten(1), convolution.bias)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_columns_are_the_image_from_left_to_right() -> None:
    kind = ImageInput(
        ImageConfig(height=6, front="convolutions", mean=(0.0,), std=(1.0,), conv_channels=(4,), conv_strides=((1, 1),))
    )
    image = picture(6, 9)
    assert torch.allclose(kind.features(image), image[0].T / 255)


def test_a_cropped_image_is_scaled_again() -> None:
    kind = ImageInput(ImageConfig(height=16, patch=8))
    assert torch.equal(
        kind.features(picture(8, 20)), kind.features(pixels(scaled(image_of(picture(8, 20)), kind.settings)))
    )


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize(
    "front",
    [
        {"front": "patches", "prefix_tokens": 1},
        {"front": "convolutions"},
        {"front": "convolutions", "fold_height": False},
        {"front": "convolutions", "fold_height": False, "conv_strides": [[4, 2], [2, 2], [2, 1]]},  # one row of places
    ],
)
def test_an_image_alone_and_in_a_batch(front: dict[str, Any], positions: str) -> None:
    network = network_of({"height": 16, **front}, positions=positions)
    kind = ImageInput(ImageConfig(front=front["front"], height=16))
    features = [kind.features(picture(16, width, seed=width)) for width in (24, 41, 5)]
    batch = collate([Example(each, [4, 5, 2], i) for i, each in enumerate(features)], pad_id=0, start_id=1)
    together = network.encode(batch.source, batch.source_tokens)
    for i, each in enumerate(features):
        one = collate([Example(each, [4, 5, 2], i)], pad_id=0, start_id=1)
        alone = network.encode(one.source, one.source_tokens)
        length = alone.hidden.shape[1]
        assert int(together.tokens.valid[i].sum()) == length
        assert torch.allclose(together.hidden[i, :length], alone.hidden[0], atol=1e-5)
        assert not together.hidden[i, length:].any()
    loud = batch.source.masked_fill(~batch.source_tokens.valid[..., None], 7.0)
    assert torch.allclose(network.encode(loud, batch.source_tokens).hidden, together.hidden, atol=1e-6)
    network.train()(batch).backward()
    weights = dict(network.source.named_parameters())
    assert weights and all(each.grad is not None and bool(each.grad.any()) for each in weights.values())


def test_convolutions_by_place_are_those_of_torch_on_the_whole_image() -> None:
    settings = ImageConfig(
        height=12, front="convolutions", conv_channels=(5,), conv_strides=((4, 2),), fold_height=False
    )
    front = ImageConvolutions(1, 12, 8, widths=(5,), strides=((4, 2),), fold_height=False)
    image = picture(12, 9)
    features = ImageInput(settings).features(image)[None]
    x, tokens = front(features, Tokens.of_lengths(torch.tensor([9]), 9))
    whole = features[0].T[None, None]  # (1, C, H, W)
    wanted = front.project(nn.functional.gelu(front.layers[0](whole))[0].permute(1, 2, 0))  # (3, 5, D)
    assert tokens.grid is not None and x.shape == (1, 15, 8) and tokens.pos.tolist() == [list(range(15))]
    for vector, (row, column) in zip(x[0], tokens.grid[0].tolist(), strict=True):
        assert torch.allclose(vector, wanted[row, column], atol=1e-6)


@pytest.mark.parametrize("layers", [1, 3, 5])
@pytest.mark.parametrize("fold_height", [True, False])
def test_the_vectors_of_new_convolutions_differ_as_much_as_the_pixels(layers: int, fold_height: bool) -> None:
    """With PyTorch's own weights the standard deviation was 0.003 after four layers, and nothing was learned for
    hundreds of steps."""
    torch.manual_seed(0)
    widths, strides = (32, 64, 128, 128, 128)[:layers], ((2, 2),) * layers
    front = ImageConvolutions(1, 32, 64, widths=widths, strides=strides, fold_height=fold_height)
    x, _ = front(torch.randn(1, 64, 32), Tokens.of_lengths(torch.tensor([64]), 64))
    assert 0.2 < float((x - x.mean(1, keepdim=True)).detach().std()) < 1.5


def test_an_image_that_is_too_long_is_named_when_data_is_read(tmp_path: Path) -> None:
    """Not when its batch comes, hundreds of steps later."""
    kind, place = ImageInput(ImageConfig(height=8, front="convolutions")), DataPlace("lines.tsv", 3)
    image_of(picture(8, 21)).save(tmp_path / "wide.png")
    items = [(str(tmp_path / "wide.png"), place, 0, ())]
    assert MediaSources(kind, max_length=21).rows(items)[0] is not None
    found = r"`.*wide.png` \(lines.tsv:\d\) must have at most 20 columns of pixels.*max_length`\), but has 21\."
    with pytest.raises(DataError, match=found):
        MediaSources(kind, max_length=20).rows(items)
    with pytest.warns(UserWarning, match="a bad row is left out"):
        assert MediaSources(kind, bad_rows="skip", max_length=20).rows(items) == [None]


def test_where_a_patch_is_matters() -> None:
    for positions in ("sinusoidal", "learned", "rotary"):
        network = network_of({"height": 16, "positions": positions}, positions="none")
        features = ImageInput(ImageConfig(height=16)).features(picture(16, 24))
        tokens = Tokens.of_lengths(torch.tensor([len(features)]), len(features))
        found = network.encode(features[None], tokens).hidden
        for axis in (-2, -1):
            moved = features.clone()
            moved[0, axis] = 1
            assert not torch.allclose(network.encode(moved[None], tokens).hidden, found, atol=1e-4), (positions, axis)


def test_positions_in_two_dimensions() -> None:
    grid = torch.tensor([[[0, 0], [0, 2], [3, 0], [3, 2]]])
    zero = torch.zeros(1, 4, 6)
    found = GridSinusoidal(6)(zero, grid)
    assert torch.equal(found[..., :3], sinusoids(grid[..., 0], 3)) and torch.equal(
        found[..., 3:], sinusoids(grid[..., 1], 3)
    )
    learned = GridLearned(6, rows=4, columns=3)
    assert torch.allclose(learned(zero, grid)[0, 3], learned.row.weight[3] + learned.column.weight[2])


def test_rotary_scores_depend_on_differences_of_rows_and_columns() -> None:
    rotary, generator = Rotary(8), torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 1, 8, generator=generator) for _ in range(2))

    def score(one: list[int], other: list[int]) -> float:
        turned = [rotary(x, rotary.grid_tables(torch.tensor([[place]]))) for x, place in ((q, one), (k, other))]
        return float((turned[0] * turned[1]).sum())

    assert score([5, 1], [2, 4]) == pytest.approx(score([9, 7], [6, 10]), abs=1e-5)
    assert abs(score([5, 1], [2, 4]) - score([5, 1], [3, 4])) > 1e-3
    assert abs(score([5, 1], [2, 4]) - score([5, 1], [2, 5])) > 1e-3
    with pytest.raises(ConfigError, match="a head must have at least 4 features for rotary positions of rows"):
        Rotary(2).grid_tables(torch.tensor([[[0, 0]]]))
    with pytest.raises(
        ConfigError, match="`head_dim` must be a multiple of 4 for rotary positions of images, but is 6"
    ):
        ModelConfig(preset="tiny", d_model=12, num_heads=2, positions="rotary", input="image")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"height": None, "front": "convolutions"}, "`model.input.image.height` must be given for"),
        ({"mean": [0.1, 0.2]}, "`model.input.image.mean` must have one number, or one for each of the 1 channels"),
        ({"stretch": True}, "`model.input.image.stretch` must be left out without"),
        ({"fold_height": False}, "`model.input.image.fold_height` must be left out for"),
        ({"front": "convolutions", "conv_channels": [4]}, "a pair for each of the 1 `conv_channels`, but has 3"),
        ({"front": "convolutions", "prefix_tokens": 1}, "`model.input.image.prefix_tokens` must be left out"),
        ({"channels": 2}, "`model.input.image.channels` must be one of 1, 3"),
        ({"hight": 3}, "`model.input.image.hight` is not a known setting, did you mean `height`"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_mapping({"model": {"input": {"image": settings}}, "data": {"train": [("a", "b")]}})
    assert message in str(error.value)


def test_what_is_read_as_an_image(tmp_path: Path) -> None:
    kind, image = ImageInput(ImageConfig(height=8, patch=4)), picture(8, 12)
    (tmp_path / "a.png").write_bytes(stored(image).getvalue())
    content = (tmp_path / "a.png").read_bytes()
    forms: list[Any] = [
        tmp_path / "a.png", str(tmp_path / "a.png"), content, image_of(image), image, image[0], image.numpy(),
        image[0].numpy(), image.float() / 255, numpy.stack([image[0].numpy()], -1), {"bytes": content, "path": None},
        {"bytes": None, "path": str(tmp_path / "a.png")},
    ]  # fmt: skip
    for form in forms:
        assert torch.equal(kind.read(form, "texts")[0], image), type(form)
    assert all(torch.equal(row, image) for row in kind.read(forms, "texts"))
    assert (
        len(kind.read(torch.stack([image] * 3), "texts"))
        == len(kind.read(numpy.stack([image.numpy()] * 3), "texts"))
        == 3
    )
    assert kind.read([], "texts") == []
    grey = kind.read(picture(8, 12, channels=3), "texts")[0]
    assert grey.shape == (1, 8, 12)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "`texts` must be images, but is 5. Give the path of an image"),
        ([5], "number 1 has shape ()"),
        (["nowhere.png"], "`nowhere.png` must be an image, but there is no such file. Check the path."),
        (Path("nowhere"), "`nowhere` must be an image, but there is no such file. Check the path."),
        (["in 3 hours\0"], "which names no file: the model does not read text. Give the path of an image"),
        ("a" * 5000, "which names no file"),
        ("", "`texts` must be images, but number 1 is the text ``, which names no file"),
        ("tests", "`tests` must be an image, but is a folder. Give the files in it, such as tests/a.png."),
        ("/dev/null", "`/dev/null` must be an image, but is no regular file"),
        ([torch.zeros(2, 4, 4)], "number 1 has shape (2, 4, 4)"),
        ([torch.zeros(0, 4)], "number 1 has shape (0, 4)"),
        ([torch.full((4, 4), 16.0)], "number 1 has values that are not from 0 to 1"),
        ([torch.full((4, 4), float("nan"))], "number 1 has values that are not from 0 to 1"),
        ([torch.zeros(4, 4, dtype=torch.long)], "number 1 has values of type torch.int64"),
        ([b"hello"], "`texts` must be an image (PNG"),
        ([object()], "number 1 is a object"),
    ],
)
def test_what_is_no_image(value: object, message: str) -> None:
    with pytest.raises(DataError) as error:
        ImageInput(ImageConfig()).read(value, "texts")
    assert message in str(error.value) and str(error.value).count(", but ") == 1


def test_a_narrow_image_is_not_scaled_to_a_huge_one() -> None:
    kind = ImageInput(ImageConfig(height=16))
    for read in (kind.measure, kind.load):
        with pytest.raises(DataError, match="`a` of 10000000 x 1 pixels would have 160000000 x 16 when scaled"):
            read(png_head(10**7, 1), "`a`")


def image_model(*, labels: tuple[str, ...] = (), settings: dict[str, Any] | None = None, max_length: int = 60) -> Model:
    """A random model of images of 8 rows; with `labels` a classifier."""
    tokenizer = train_tokenizer(["in 3 hours", *labels], kind="bytes", vocab_size=260)
    given = {"image": settings or {"height": 8, "patch": 4}}
    config = ModelConfig(
        preset="tiny", d_model=16, num_heads=2, ffn_dim=20, dropout=0.0, max_length=max_length, input=given
    )
    size = tokenizer.vocab_size
    network = build_network(config, AttentionConfig(), source_vocab=size, target_vocab=size, shared=True, seed=3)
    for parameter in network.parameters():
        parameter.data.mul_(3.0)  # so that answers differ
    search = GenerationConfig(beam_size=2, max_new_tokens=6)
    parts = Parts(network.eval(), config, AttentionConfig(), tokenizer, tokenizer, "text", search)
    if labels:
        parts = replace(parts, task="classification", labels={label: label for label in labels})
    return Model.from_parts(parts)


@pytest.fixture(scope="module")
def model() -> Model:
    return image_model(max_length=24)


def test_a_model_of_images_answers_streams_scores_and_is_saved(model: Model, tmp_path: Path) -> None:
    assert isinstance(model.input_kind, ImageInput) and isinstance(model.network.source, PatchEmbedding)
    images = [picture(8, width, seed=width) for width in (8, 40, 4, 21)]
    answers = model.generate(images)
    assert len({answer.text for answer in answers}) > 1
    for image, answer in zip(images, answers, strict=True):
        assert "".join(model.stream(image)) == answer.text == model.generate(image)[0].text
    allowed = model.generate(images, allowed=("in 3", "hours"))
    scores = model.score(images, [answer.text for answer in allowed])
    assert scores == pytest.approx([answer.score for answer in allowed], abs=1e-4)
    model.save(tmp_path / "model")
    again = antiphon.load(tmp_path / "model", device="cpu")
    assert isinstance(again, Model) and again.parts.model == model.parts.model and again.generate(images) == answers
    quantized = antiphon.load(tmp_path / "model", device="cpu", quantize="int8")
    assert len(quantized.generate(images)) == 4


def test_an_image_that_is_too_long_and_settings_without_meaning(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(stored(picture(8, 50)).getvalue())
    with pytest.raises(DataError, match=r"^input 1 \(`.*/a.png`\) must have at most 24 patches \(`model.max_length`\)"):
        model.generate(file)
    (pixels,) = model.input_kind.read(file, "texts")
    assert type(pixels + 0) is torch.Tensor  # nothing that is computed from it has its name
    with pytest.raises(DataError, match=r"^input 2 must have at most 24 patches \(`model.max_length`\), but has 26\. "):
        model.generate([picture(8, 8), picture(8, 50)])
    with pytest.raises(ConfigError, match=r"`overflow` must be error for a model of images.*but is truncate"):
        model.generate(picture(8, 8), overflow="truncate")
    with pytest.raises(ConfigError, match="`max_source_tokens` must be left out for a model of images"):
        model.generate(picture(8, 8), max_source_tokens=5)
    with pytest.raises(DataError, match="an image must have at most 24 patches, but has 26"):
        model.network.encode(torch.zeros(1, 26, 18), Tokens.of_lengths(torch.tensor([26]), 26))


def test_the_kind_of_a_model() -> None:
    assert input_kind(None, ImageConfig()) == ImageInput(ImageConfig())
    assert repr(ImageInput(ImageConfig())) == "ImageInput(48 x any pixels, grey, patches of 8)"
    wide = replace(ImageConfig(), channels=3, front="convolutions")
    assert repr(ImageInput(wide)) == "ImageInput(48 x any pixels, colour, convolutions)"


def test_maps_are_on_the_image(model: Model) -> None:
    image = picture(8, 20)
    maps = model.attention(image, "in 3")
    assert maps.cross is not None and maps.cross.shape == (2, 2, len(maps.target_tokens), 10)
    assert maps.source_tokens == [f"{row},{column}" for row in (1, 2) for column in range(1, 6)]
    assert maps.picture is not None and torch.equal(maps.picture.pixels, image)
    assert maps.picture.boxes[7] == (8, 4, 4, 4) and repr(maps.picture) == "SourcePicture(8 x 20 pixels, 10 positions)"
    assert maps.encoder is not None and maps.encoder.shape[-1] == 10
    asked = model.attention(image, "in 3", prompt="what")
    assert "".join(asked.target_tokens).startswith("what") and asked.cross is not None
    assert asked.cross.shape[2] == maps.cross.shape[2] + 4
    with pytest.raises(ConfigError, match="`prompt` must be left out for the maps of a model that reads text"):
        text_model().attention("in 3", prompt="what")
    own = model.attention(image)
    answer = model.generate(image)[0]
    assert len(own.target_tokens) == len(answer.tokens) + answer.finished
    assert len(maps.alignment()) == len("in 3") and len(maps.alignment(words=True)) <= len("in 3")
    shown = maps._repr_html_()
    assert shown.count("<figure") == len(maps.target_tokens) and "data:image/png;base64," in shown
    with pytest.raises(DataError, match="`source` must be one image or recording that is not empty, but is 2"):
        model.attention([image, image])
    with pytest.raises(
        ModelError, match="an explanation needs sources of tokens, but this model reads images or sound"
    ):
        antiphon.explain(model, image)  # type: ignore[arg-type]


def test_the_places_of_prefix_tokens_and_columns() -> None:
    patches = ImageInput(ImageConfig(height=8, patch=4, prefix_tokens=2))
    found = patches.picture(picture(8, 7), positions=6)
    assert found.labels == ["[1]", "[2]", "1,1", "1,2", "2,1", "2,2"] and found.boxes[:3] == [None, None, (0, 0, 4, 4)]
    assert found.pixels.shape == (1, 8, 8) and bool((found.pixels[:, :, 7] == 255).all())
    columns = ImageInput(ImageConfig(height=8, front="convolutions"))
    found = columns.picture(picture(8, 21), positions=6)
    assert found.labels == ["0", "4", "8", "12", "16", "20"] and found.boxes[-1] == (20, 0, 1, 8)
    places = ImageInput(ImageConfig(height=12, front="convolutions", fold_height=False))
    found = places.picture(picture(12, 6), positions=4)
    assert found.labels == ["1,1", "2,1", "1,2", "2,2"] and found.boxes[1:3] == [(0, 8, 4, 4), (4, 0, 2, 8)]
    sound = spectrogram(torch.rand(9, 5), 5, each=2, seconds=0.01)
    assert sound.beneath and sound.pixels.shape == (1, 5, 9) and sound.labels[-1] == "0.08 s"
    assert sound.boxes[-1] == (8, 0, 1, 5)
    rising = spectrogram(torch.arange(6.0).view(1, 6), 1, each=1, seconds=0.01).pixels[0, :, 0]
    assert rising.tolist() == [0, 51, 102, 153, 204, 255]  # high bands above, loud ones dark


def test_entropies_of_networks_whose_front_has_strides() -> None:
    network = network_of({"front": "convolutions", "height": 16})
    kind = ImageInput(ImageConfig(front="convolutions", height=16))
    examples = [Example(kind.features(picture(16, width)), [4, 5, 2], i) for i, width in enumerate((24, 41, 5))]
    found = entropies(network, [collate(examples, pad_id=0, start_id=1)])
    assert 0 < found["entropy_encoder"] < 2.4 and 0 < found["entropy_cross"] < 2.4  # ln 11


def test_the_page(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for passage in passages("docs/images.md"):
        if passage.python:
            exec(compile(passage.text, "docs/images.md", "exec"), names)
    assert capsys.readouterr().out == "[(1, 48, 320), (1, 48, 32)]\n[(240, 66), (24, 66)]\n"
    assert len(names["show"](model, picture(8, 20))) > 0 and (tmp_path / "map.png").stat().st_size > 1000
    text = (Path(__file__).resolve().parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
    assert {name for name in hints(ImageConfig) if f"`{name}`" not in text} == set()
