"""Models of images: the bytes of files, never their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from inputs.images import picture, png_head, stored
from inputs.test_image import image_model
from models.test_hub import parts_of
from serving.process.tools import DTYPE, Served, collect, same

import antiphon
from antiphon.errors import DataError
from antiphon.generation.model import Model
from antiphon.inputs.image_features import image_of
from antiphon.serving.process.messages import ScorePairs, ShowAttention
from antiphon.serving.process.settings import ModelEntry
from antiphon.serving.process.worker.results import maps_as_object, scores_of_pairs, source_of
from antiphon.serving.service import BadInput, GenerateCall, UnreadableInput

IMAGES = [
    stored(picture(16, 20 + 8 * seed, seed=seed), kind).getvalue() for seed, kind in enumerate(("PNG", "BMP", "JPEG"))
]
LABELS = ("cat", "dog")


def test_images_as_bytes(tmp_path: Path) -> None:
    folder, kinds = image_model().save(tmp_path / "reader"), image_model(labels=LABELS).save(tmp_path / "kinds")
    offline, classifier = (antiphon.load(each, dtype=DTYPE, device="cpu") for each in (folder, kinds))
    assert isinstance(offline, Model)
    entries = [ModelEntry(name=each.name, path=str(each), dtype=DTYPE) for each in (folder, kinds)]
    served = Served(*entries).ready()
    try:
        infos = [status.info for status in served.service.statuses()]
        assert infos[0] is not None and infos[0].input == "image"
        found = served.run(collect(served.service, GenerateCall(inputs=IMAGES, stream=True)))
        assert all(same(mine.answer, theirs) for mine, theirs in zip(found, offline.generate(IMAGES), strict=True))
        large = IMAGES[0] + bytes(5_000_000)  # more bytes than characters may wait
        assert same(served.answers([large])[0], offline.generate(IMAGES[:1])[0])
        asked = served.answers(IMAGES[:2], prompt=["in 3", "hours"])
        wanted = offline.generate(IMAGES[:2], prompt=("in 3", "hours"))
        assert all(same(mine, theirs) for mine, theirs in zip(asked, wanted, strict=True))
        assert asked[0]["text"] != found[0].answer["text"]  # the question was read
        scores = served.run(served.service.score(IMAGES, ["a", "b", "c"]))
        assert scores == pytest.approx(offline.score(IMAGES, ["a", "b", "c"]))
        maps = served.run(served.service.attention(IMAGES[0], "in 3"))
        assert maps["source_tokens"] == offline.attention(IMAGES[0], "in 3").source_tokens
        assert maps["source_tokens"][0] == "1,1" and len(maps["cross"][0][0]) == len(maps["target_tokens"])
        served.run(served.service.load("kinds"))
        call = GenerateCall(inputs=IMAGES, model="kinds", details=["token_confidence"])
        for mine, theirs in zip(served.run(collect(served.service, call)), classifier.generate(IMAGES), strict=True):
            assert mine.answer["text"] in LABELS and theirs.probabilities is not None
            assert mine.answer["probabilities"] == pytest.approx(theirs.probabilities)
        _refused(served, tmp_path)
    finally:
        served.close()


def _refused(served: Served, folder: Path) -> None:
    """Names of files, and files that cannot be read: one line each, and the process lives."""
    file = folder / "secret.png"
    file.write_bytes(IMAGES[0])
    names = (str(file), "http://127.0.0.1:1/a.png", f"{folder}/a.tar!a.png", "hello")
    for name in names:
        with pytest.raises(
            BadInput, match=r"`inputs` must be the bytes of image files, which .*, but number 2 is a text"
        ):
            served.answers([IMAGES[0], name])
        with pytest.raises(BadInput, match=r"`source` must be the bytes of image files"):
            served.run(served.service.attention(name))
        with pytest.raises(BadInput, match=r"`sources` must be the bytes of image files"):
            served.run(served.service.score([name], ["a"]))
    bomb, narrow = png_head(2**16, 2**15).getvalue(), png_head(10**7, 1).getvalue()
    frames = stored(image_of(picture(8, 8)), "GIF", save_all=True, append_images=[image_of(picture(8, 8, seed=1))])
    pdf = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    for broken in (b"", b"hello", IMAGES[0][:60], bomb, narrow, frames.getvalue(), pdf, str(file).encode()):
        with pytest.raises(UnreadableInput, match=r"^[^\n]*`inputs`[^\n]*$") as caught:
            served.answers([broken])
        assert caught.value.status == 400 and caught.value.field == "inputs"
        with pytest.raises(UnreadableInput, match=r"^[^\n]*`source`[^\n]*$"):
            served.run(served.service.attention(broken, "a"))
    with pytest.raises(BadInput, match=r"must have at most 60 patches .`model.max_length`., but has 2000"):
        served.answers([stored(picture(8, 4000)).getvalue()])
    assert served.answers([IMAGES[0]])[0]["tokens"] and served.service.statuses()[0].restarts == 0


def test_a_process_opens_no_file_that_a_message_names(tmp_path: Path) -> None:
    """Even where the server's own checks were passed by."""
    file = tmp_path / "a.png"
    file.write_bytes(IMAGES[0])
    model = image_model()
    for name in (str(file), file.as_uri(), "hello"):
        with pytest.raises(DataError, match="`inputs` must be files, which this model reads, but one is a text"):
            source_of(model, name)
        with pytest.raises(DataError, match="`sources` must be files"):
            scores_of_pairs(model, ScorePairs(job=1, sources=[name], targets=["a"], row=0))
        with pytest.raises(DataError, match="`source` must be files"):
            maps_as_object(model, ShowAttention(job=1, source=name, target="a"), max_values=10**9)
    with pytest.raises(DataError, match=r"`source` must give at most 5 attention weights, .* Send a smaller file"):
        maps_as_object(model, ShowAttention(job=1, source=IMAGES[0], target="a"), max_values=5)


def test_texts_with_images(tmp_path: Path) -> None:
    """A T5Gemma 2: texts and images in one call, as the model alone answers them."""
    parts = parts_of("t5gemma2")
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parts.network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    folder = Model.from_parts(parts).save(tmp_path / "both")
    labelled = replace(parts, task="classification", labels={label: label for label in LABELS})
    kinds = Model.from_parts(labelled).save(tmp_path / "kinds")
    offline, classifier = (antiphon.load(each, dtype=DTYPE, device="cpu") for each in (folder, kinds))
    served = Served(*(ModelEntry(name=each.name, path=str(each), dtype=DTYPE) for each in (folder, kinds))).ready()
    colour = [stored(picture(9, 14, channels=3, seed=seed)).getvalue() for seed in range(2)]
    try:
        info = served.service.statuses()[0].info
        assert info is not None and info.input == "text" and info.images
        asked, prompts = ["hello", colour[0], colour[1], "in 3 hours"], ("", "what?", "which colour?", "")
        given = ["hello", *({"image": each, "text": text} for each, text in zip(colour, prompts[1:3], strict=True))]
        wanted = offline.generate([*given, "in 3 hours"], max_new_tokens=8)
        call = GenerateCall(
            inputs=asked, settings={"prompt": list(prompts), "max_new_tokens": 8}, stream=True,
            details=["token_confidence"],
        )  # fmt: skip
        found = served.run(collect(served.service, call))
        assert all(same(mine.answer, theirs) for mine, theirs in zip(found, wanted, strict=True))
        assert wanted[1].score != offline.generate({"image": colour[0], "text": ""}, max_new_tokens=8)[0].score
        scores = served.run(served.service.score(asked[:2], ["a", "b"]))
        assert scores == pytest.approx(offline.score(["hello", {"image": colour[0]}], ["a", "b"]))
        served.run(served.service.load("kinds"))
        call = GenerateCall(inputs=asked[:2], model="kinds", settings={"prompt": ["", "what?"]})
        for mine, theirs in zip(served.run(collect(served.service, call)), classifier.generate(given[:2]), strict=True):
            assert mine.answer["probabilities"] == pytest.approx(theirs.probabilities)
        with pytest.raises(UnreadableInput, match="`inputs`") as caught:
            served.answers([b"no image"])
        assert "\n" not in str(caught.value)
        scores = served.run(served.service.score(asked[:3], ["a", "b", "c"], settings={"prompt": ["", "what?", ""]}))
        assert scores == pytest.approx(offline.score(["hello", given[1], {"image": colour[1]}], ["a", "b", "c"]))
        maps = served.run(served.service.attention(colour[0], "a", settings={"prompt": "what?"}))
        alone = offline.attention(given[1], "a")
        assert maps["source_tokens"] == alone.source_tokens and alone.cross is not None
        torch.testing.assert_close(torch.tensor(maps["cross"]), alone.cross, atol=1e-3, rtol=0)
        with pytest.raises(BadInput, match="`inputs` must be texts"):
            served.answers([7])
        assert served.service.statuses()[0].restarts == 0
    finally:
        served.close()
