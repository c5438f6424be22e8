"""Names for parts: registered, `module:Name`, entry points, and what is said of an unknown one."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from antiphon import registry
from antiphon.errors import ConfigError
from antiphon.registry import lookup, names, nearest, register, unregister


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers or imports does not outlive it."""
    kinds = [*registry.KINDS, "shape", "colour"]
    monkeypatch.setattr(registry, "KINDS", kinds)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known, before = set(sys.modules), {kind: set(names(kind)) for kind in kinds}
    yield  # pyright: ignore[reportReturnType]
    for kind in kinds:
        for name in set(names(kind)) - before[kind]:
            unregister(kind, name)
    for name in set(sys.modules) - known:
        if name.startswith("antiphon_test_"):
            del sys.modules[name]


def module(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="but is `attn`"):
        register("attn", "full")


def test_a_registered_name_stands_for_the_object() -> None:
    @register("shape", "round")
    def circle() -> str:
        return "o"

    assert lookup("shape", "round") is circle and names("shape") == ["round"]
    assert names("colour") == []


def test_the_same_definition_again_replaces_and_another_is_refused() -> None:
    def make(value: int):
        def part() -> int:
            return value

        return part

    register("shape", "part")(make(1))
    register("shape", "part")(make(2))  # a cell that is run twice
    assert lookup("shape", "part")() == 2
    with pytest.raises(ConfigError, match="the shape `part` is already registered as"):
        register("shape", "part")(lambda: 3)
    assert lookup("shape", "part")() == 2


def test_what_is_unregistered_is_unknown_and_its_name_is_free() -> None:
    register("shape", "round")(len)
    unregister("shape", "round")
    assert names("shape") == []
    with pytest.raises(ConfigError, match="`round` is not a known shape"):
        lookup("shape", "round")
    register("shape", "round")(max)
    assert lookup("shape", "round") is max
    with pytest.raises(ConfigError, match="`rund` is not a registered shape, did you mean `round`"):
        unregister("shape", "rund")
    with pytest.raises(ConfigError, match=r"a part must be one of .*, but is `nope`"):
        unregister("nope", "round")


def test_an_unknown_name_has_the_nearest_and_all() -> None:
    register("shape", "round")(len)
    register("shape", "square")(max)
    with pytest.raises(ConfigError) as caught:
        lookup("shape", "rond")
    text = str(caught.value)
    assert "`rond` is not a known shape, did you mean `round`?" in text and "round, square" in text
    with pytest.raises(ConfigError, match="Known: none"):
        lookup("colour", "red")


def test_nearest() -> None:
    assert nearest("bean_size", ["beam_size", "seed"]) == ", did you mean `beam_size`?"
    assert nearest("--bea", ["--stream", "--beam-groups", "--beam-size"]) == ", did you mean `--beam-size`?"
    assert nearest("zzz", ["beam_size", "seed"]) == "" and nearest("a", []) == ""


def test_module_and_name_are_looked_up_in_the_folder_then_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path / "recipes", "antiphon_test_both", "class Part:\n    where = 'folder'\n    class Inner: pass\n")
    module(tmp_path / "here", "antiphon_test_both", "class Part:\n    where = 'here'\n")
    module(tmp_path / "here", "antiphon_test_here", "class Part:\n    where = 'here'\n")
    monkeypatch.chdir(tmp_path / "here")
    before = list(sys.path)
    part = lookup("attention", "antiphon_test_both:Part", folder=tmp_path / "recipes")
    assert part.where == "folder"
    assert lookup("attention", "antiphon_test_both:Part.Inner", folder=tmp_path / "recipes") is part.Inner
    assert lookup("attention", "antiphon_test_here:Part", folder=tmp_path / "recipes").where == "here"
    assert lookup("attention", "collections:OrderedDict").__name__ == "OrderedDict"
    assert sys.path == before


def test_what_cannot_be_imported(tmp_path: Path) -> None:
    module(tmp_path, "antiphon_test_broken", "1 / 0\n")
    module(tmp_path, "antiphon_test_whole", "Part = 1\n")
    before = list(sys.path)
    with pytest.raises(ConfigError, match=r"`antiphon_test_broken:Part` cannot be imported \(ZeroDivisionError"):
        lookup("task", "antiphon_test_broken:Part", folder=tmp_path)
    with pytest.raises(ConfigError, match="cannot be imported"):
        lookup("task", "antiphon_test_absent:Part", folder=tmp_path)
    with pytest.raises(ConfigError, match="has no `Prat`, did you mean `Part`"):
        lookup("task", "antiphon_test_whole:Prat", folder=tmp_path)
    assert sys.path == before


def test_a_name_from_a_model_folder_is_never_imported(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    module(tmp_path, "antiphon_test_mark", f"open({str(mark)!r}, 'w').close()\nPart = 1\n")
    with pytest.raises(ConfigError, match="is not imported unasked"):
        lookup("attention", "antiphon_test_mark:Part", folder=tmp_path, allow_import=False)
    assert not mark.exists()
    register("attention", "antiphon_test_mark:Part")(str)  # named by the caller: then it is known
    assert lookup("attention", "antiphon_test_mark:Part", allow_import=False) is str


def test_an_entry_point_of_an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="ordered", value="collections:OrderedDict", group="antiphon.shape")

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [point] if group == point.group and name in (None, point.name) else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert lookup("shape", "ordered").__name__ == "OrderedDict" and names("shape") == ["ordered"]
    register("shape", "ordered")(dict)  # what the caller registers comes first
    assert lookup("shape", "ordered") is dict
