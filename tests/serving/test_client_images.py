"""`antiphon.Client` and a server of a model of texts with images: what a script gives locally is sent as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from inputs.images import picture, stored
from models.test_hub import parts_of
from serving.http.live import running
from serving.process.tools import DTYPE

import antiphon
from antiphon.errors import ConfigError, DataError
from antiphon.generation.model import Model
from antiphon.serving.process.service import ProcessService
from antiphon.serving.process.settings import ModelEntry, ProcessSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("both")
    parts = parts_of("t5gemma2")
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parts.network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    Model.from_parts(parts).save(path / "model")
    for number in range(2):
        (path / f"{number}.png").write_bytes(stored(picture(9, 14, channels=3, seed=number)).getvalue())
    return path


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Any]:
    entry = ModelEntry(name="both", path=str(folder / "model"), dtype=DTYPE)
    service = ProcessService(ProcessSettings(models=(entry,)))
    with running(service) as server, antiphon.Client(server.url) as made:
        yield made


def test_a_script_with_images_is_the_same_there(client: Any, folder: Path) -> None:
    local = antiphon.load(folder / "model", dtype=DTYPE, device="cpu")
    first, second = folder / "0.png", folder / "1.png"
    inputs = ["in 3 hours", first, {"image": second, "text": "what?"}, {"image": str(first)}]
    for settings in ({}, {"beam_size": 2, "max_new_tokens": 6}):
        there, here = client.generate(inputs, **settings), local.generate(inputs, **settings)
        assert [answer.text for answer in there] == [answer.text for answer in here]
        assert [answer.score for answer in there] == pytest.approx([answer.score for answer in here], abs=1e-4)
    assert client.generate([first], prompt=["what?"])[0].text == local.generate([first], prompt=("what?",))[0].text
    asked = {"image": first, "text": "what?"}
    assert "".join(client.stream(asked, max_new_tokens=6)) == "".join(local.stream(asked, max_new_tokens=6))
    assert client.score(inputs, ["a", "b", "c", "d"]) == pytest.approx(local.score(inputs, ["a", "b", "c", "d"]))
    maps = client.attention({"image": first}, "a", prompt="what?")
    assert maps.source_tokens == local.attention(asked, "a").source_tokens
    there, here = client.attention(asked, "a"), local.attention(asked, "a")
    assert there.source_tokens == here.source_tokens
    torch.testing.assert_close(there.cross, here.cross, atol=1e-3, rtol=0)
    assert client.models()[0]["images"] is True


def test_what_cannot_be_sent_is_one_line(client: Any, folder: Path) -> None:
    first = folder / "0.png"
    for call, line in (
        (lambda: client.generate({"image": [first, first], "text": "a"}), r"`texts` must be texts, paths or"),
        (lambda: client.generate({"image": first, "text": "a"}, prompt="b"), "`prompt` must be left out beside"),
        (
            lambda: client.score([first], ["a"], prompt=["b", "c"]),
            "`prompt` must be one text, or one for each of the 1",
        ),
        (lambda: client.generate(folder / "gone.png"), r"there is no file `.*gone\.png`"),
    ):
        with pytest.raises((DataError, ConfigError), match=line) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert client.generate(str(first))[0].text  # a str is a text
