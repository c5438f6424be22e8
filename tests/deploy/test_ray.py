"""deploy/ray_serve.py, where Ray is installed: `pip install "ray[serve]"`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import ray_cluster
from generation.test_model import model as random_model

import antiphon
from antiphon.errors import ConfigError

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'ray[serve]', 617 MB)")
FILE = Path(__file__).resolve().parents[2] / "deploy" / "ray_serve.py"


@pytest.fixture(scope="module")
def ray_serve() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ray_serve", FILE)
    assert spec is not None and spec.loader is not None
    module = sys.modules["ray_serve"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(ray_serve: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    from ray import serve

    folder = random_model("bytes").save(tmp_path_factory.mktemp("ray") / "model")
    with ray_cluster.cluster():
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": 8191})
            serve.run(ray_serve.build({"model": str(folder), "dtype": "float64", "max_items": "8"}))
            yield "http://127.0.0.1:8191", folder
        finally:
            serve.shutdown()


def test_answers_of_a_replica_are_those_of_the_model(url: tuple[str, Path]) -> None:
    address, folder = url
    model = antiphon.load(folder, dtype="float64")
    texts = [f"hello {number}" for number in range(20)]
    with antiphon.Client(address, timeout_seconds=60) as client:
        assert [each.text for each in client.generate(texts)] == [each.text for each in model.generate(texts)]
        assert "".join(client.stream("hello, world")) == model.generate("hello, world")[0].text
        assert client.models()[0]["limits"]["max_items"] == 8
        with pytest.raises(ConfigError, match="`beam_size` must be at least 1"):
            client.generate("hello", beam_size=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "`model` must be the path of a model"),
        ({"model": "x", "thraeds": "2"}, "`thraeds` is not a known setting"),
        ({"model": "x", "threads": "none at all"}, "`threads` must be a whole number"),
    ],
)
def test_wrong_arguments(ray_serve: ModuleType, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ray_serve.build(arguments)
