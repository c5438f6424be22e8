"""Processes that end with the server, models that cannot be loaded, loading and unloading."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from serving.process.tools import DTYPE, TEXTS, Served, collect, is_running, same, save_model, until

import antiphon
from antiphon.serving.process.settings import ModelEntry
from antiphon.serving.service import Answered, GenerateCall, ServiceError, Unavailable


@pytest.mark.parametrize("ending", ["exit", "kill"])
def test_the_process_ends_with_the_server(folder: Path, ending: str) -> None:
    """Whatever it does then: here it is in the middle of a long call."""
    program = textwrap.dedent(f"""
        import asyncio, os, signal, sys
        from antiphon.serving.process.service import ProcessService
        from antiphon.serving.process.settings import ModelEntry, ProcessSettings
        from antiphon.serving.service import GenerateCall

        async def main():
            entry = ModelEntry(name="tiny", path={str(folder)!r})
            service = ProcessService(ProcessSettings(models=(entry,)))
            await service.start()
            await service.load("tiny")
            print(service._model(None).supervisor.pid, flush=True)
            call = service.generate(GenerateCall(inputs=["a"] * 50, settings={{"temperature": 1.0}}))
            asyncio.ensure_future(anext(call))
            await asyncio.sleep(0.02)
            os.kill(os.getpid(), signal.SIGKILL) if {ending!r} == "kill" else os._exit(0)

        asyncio.run(main())
    """)
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert made.stdout.strip().isdecimal(), made.stderr
    deadline = time.monotonic() + 5
    while is_running(int(made.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(int(made.stdout))


def test_a_model_that_is_not_there_fails_at_once(folder: Path, tmp_path: Path) -> None:
    there, missing = str(folder), str(tmp_path / "no")
    served = Served(ModelEntry(name="tiny", path=there, dtype=DTYPE), ModelEntry(name="none", path=missing)).ready()
    try:
        with pytest.raises(Unavailable, match="the model none cannot be loaded: there is no model at"):
            served.run(served.service.load("none"))
        tiny, none = served.service.statuses()
        assert (tiny.state, none.state, none.info) == ("ready", "failed", None)
        assert none.error is not None and "\n" not in none.error and "there is no model" in none.error
        with pytest.raises(Unavailable, match="there is no model at") as caught:
            served.run(collect(served.service, GenerateCall(inputs=["a"], model="none")))
        assert caught.value.retry_after_seconds
        assert served.answers(["a"]), "the other model answers"
        save_model(tmp_path / "no")
        assert served.run(served.service.load("none")).state == "ready", "`load` is a new try"
        assert served.run(collect(served.service, GenerateCall(inputs=["a"], model="none")))
    finally:
        served.close()


def test_a_process_that_dies_while_it_loads_is_tried_again_some_times(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module dies once, by the count in a file; the second try is the last one that is allowed."""
    tries = tmp_path / "tries"
    (tmp_path / "fragile.py").write_text(
        textwrap.dedent(f"""
            import os, signal
            from pathlib import Path
            tries = Path({str(tries)!r})
            count = int(tries.read_text()) if tries.exists() else 0
            tries.write_text(str(count + 1))
            if count < int(os.environ["FRAGILE"]):
                os.kill(os.getpid(), signal.SIGKILL)
        """),
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FRAGILE", "1")
    entry = ModelEntry(name="tiny", path=str(folder), dtype=DTYPE, imports=("fragile",))
    served = Served(entry, max_load_failures=2).ready()
    assert tries.read_text() == "2" and served.answers(["a"])
    served.close()
    tries.unlink()
    monkeypatch.setenv("FRAGILE", "100")
    served = Served(entry, max_load_failures=2)
    try:
        with pytest.raises(Unavailable, match=r"cannot be loaded: its process ended \(signal 9\)"):
            served.run(served.service.load("tiny"))
        assert tries.read_text() == "2"
        assert served.service.statuses()[0].state == "failed"
    finally:
        served.close()


def test_a_model_is_unloaded_and_loaded(folder: Path) -> None:
    served = Served(ModelEntry(name="tiny", path=str(folder), dtype=DTYPE)).ready()

    async def unload_during_a_call() -> list[Answered]:
        call = asyncio.create_task(collect(served.service, GenerateCall(inputs=TEXTS)))
        await asyncio.sleep(0)
        status = await served.service.unload("tiny")
        assert status.state == "unloaded" and call.done()
        return await call

    try:
        pid, first = served.pid(), served.run(unload_during_a_call())
        assert len(first) == len(TEXTS) and not is_running(pid)
        with pytest.raises(Unavailable, match="the model tiny is not loaded"):
            served.answers(["hello"])
        assert served.service.statuses()[0].info is not None
        assert served.run(served.service.load("tiny")).state == "ready"
        hits = served.service.cache.hits
        assert served.answers(TEXTS) == [each.answer for each in first]
        assert served.service.cache.hits == hits, "the folder may hold another model now"
    finally:
        served.close()


def test_a_model_without_calls_leaves_and_comes_back(folder: Path) -> None:
    entries = [ModelEntry(name=name, path=str(folder), preload=name == "first") for name in ("first", "second")]
    served = Served(*entries, unload_after_seconds=0.5).ready()
    try:
        assert served.service.statuses()[1].state == "unloaded"
        assert served.answers(["hello"])
        pid = served.pid("first")
        served.run(until(lambda: served.service.statuses()[0].state == "unloaded"))
        served.run(until(lambda: not is_running(pid)))

        async def together() -> list[Any]:
            names = ["first", "second", "first", "second"]
            calls = [collect(served.service, GenerateCall(inputs=["hello"], model=name)) for name in names]
            return await asyncio.gather(*calls)

        found = served.run(together())
        assert all(each == found[0] for each in found)
        assert served.numbers("first")["loads"] == 2 and served.numbers("second")["loads"] == 1
    finally:
        served.close()


def test_a_call_that_loads_the_model_has_a_time_limit(folder: Path) -> None:
    served = Served(ModelEntry(name="tiny", path=str(folder), preload=False))
    try:
        with pytest.raises(ServiceError, match="the model tiny was not loaded in time"):
            served.run(collect(served.service, GenerateCall(inputs=["a"], timeout_seconds=0.05)))
        assert served.run(collect(served.service, GenerateCall(inputs=["a"])))
    finally:
        served.close()


def test_a_classifier_answers_with_its_labels(tmp_path: Path) -> None:
    labels = ("go", "hours", "ein Haus")
    folder = save_model(tmp_path / "labels", labels=labels)
    served = Served(ModelEntry(name="labels", path=str(folder), dtype=DTYPE)).ready()
    try:
        wanted = antiphon.load(folder, dtype=DTYPE).generate(TEXTS, n_best=2)
        for stream in (False, True):
            call = GenerateCall(inputs=TEXTS, settings={"n_best": 2}, stream=stream, cached=False)
            for found, own in zip(served.run(collect(served.service, call)), wanted, strict=True):
                assert same(found.answer, own)
                assert found.answer["probabilities"] == pytest.approx(own.probabilities)
        info = served.service.statuses()[0].info
        assert info is not None and info.labels == labels and info.task == "classification"
        with pytest.raises(ServiceError, match="`temperature` must be left out of a classification"):
            served.answers(["a", "b"], temperature=1.0)
    finally:
        served.close()


def test_entries_are_checked() -> None:
    for wrong in ({"name": "a b", "path": "x"}, {"name": "", "path": "x"}, {"name": "a", "path": ()}):
        with pytest.raises(ValueError, match=r"`(name|path)` must"):
            ModelEntry(**wrong)  # type: ignore[arg-type]
    entry = ModelEntry(name="a", path="x")
    assert entry.paths == ("x",) and dataclasses.replace(entry, path=("x", "y")).paths == ("x", "y")
    with pytest.raises(ValueError, match="different names"):
        Served(entry, entry)
