"""`antiphon train --processes`: what starts again, what ends with one line, and that nobody outlives the launcher.

The ranks are small scripts that need no PyTorch; tests/recovery/test_lost_ranks.py kills ranks that train.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from antiphon.cli.flags import parse
from antiphon.cli.main import main
from antiphon.cli.train import Train
from antiphon.distributed import launch as module
from antiphon.distributed.agent import End, Ranks, end_of, run_ranks
from antiphon.distributed.failure import describe_lost_peer, is_lost_peer, launch_id, restarts
from antiphon.distributed.launch import launch
from antiphon.errors import ConfigError, WorkError, on_command_line

RANK = """
import os, signal, sys, time
from pathlib import Path
from antiphon.distributed.failure import record_failure, restarts
from antiphon.distributed.parent import end_with_parent
folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
end_with_parent(int(os.environ["ANTIPHON_LAUNCHER"]), patience=0.5)
def wait():
    (folder / f"began-{rank}-{restarts()}").write_text(str(os.getpid()))
    time.sleep(60)
def others():
    while len(list(folder.glob(f"began-*-{restarts()}"))) < int(os.environ["WORLD_SIZE"]) - 1:
        time.sleep(0.01)
def save(number, frame):
    (folder / f"saved-{rank}").write_text(str(number))
    sys.exit(128 + number)
def stop_well():
    signal.signal(signal.SIGTERM, save)
    signal.signal(signal.SIGINT, save)
    wait()
def stop_never():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait()
"""


def run(folder: Path, script: str, *, max_restarts: int = 3, processes: int = 2) -> tuple[End, list[str]]:
    """The end of `processes` ranks that run `script`, and the lines about their restarts."""
    lines: list[str] = []
    file = folder / "rank.py"
    file.write_text(RANK + script, encoding="utf-8")
    logs = folder / "logs"
    ranks = Ranks(processes, (str(file), str(folder)), max_restarts=max_restarts, name="t", logs=logs, say=lines.append)
    with module._environment(processes, None), module._handlers(), module._without_logs():
        return run_ranks(ranks), lines


def signalled(folder: Path, *numbers: int) -> threading.Thread:
    """Send signals to this process once two ranks run, one second apart."""

    def send() -> None:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("began-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        for number in numbers:
            time.sleep(0.5)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_a_lost_rank_starts_all_again(tmp_path: Path) -> None:
    end, lines = run(
        tmp_path, "others() or os.kill(os.getpid(), 9) if rank and restarts() < 2 else restarts() < 2 and wait()"
    )
    assert end == End(0)
    assert lines == [
        "antiphon: rank 1 was lost (signal 9, SIGKILL, as the system does when memory runs out); all ranks start again "
        f"from the newest whole snapshot ({number} of 3 restarts)"
        for number in (1, 2)
    ]


def test_the_restarts_have_a_bound(tmp_path: Path) -> None:
    with on_command_line():
        end, lines = run(tmp_path, "wait() if rank else (others(), os.kill(os.getpid(), 11))", max_restarts=1)
    assert len(lines) == 1
    assert end.code == 1 and end.message == (
        "rank 0 was lost (signal 11, SIGSEGV) after 1 restarts. The last snapshot is untouched. Continue with --resume."
    )


def test_an_error_of_a_rank_is_one_line_and_no_restart(tmp_path: Path) -> None:
    said = "record_failure('no such file', 2, lost=False, expected=True)"
    script = f"if rank:\n    others()\n    {said}\n    sys.exit(2)\nwait()"
    end, lines = run(tmp_path, script)
    assert (end, lines) == (End(2, "rank 1: no such file"), [])
    end, lines = run(tmp_path, "wait() if rank == 0 else (others(), os._exit(7))")
    assert (end.code, end.message, end.keep_logs) == (1, "rank 1 ended with exit code 7 and no message.", True)
    assert lines == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_waited_for(tmp_path: Path, number: signal.Signals) -> None:
    thread = signalled(tmp_path, number)
    end, _ = run(tmp_path, "stop_well()")
    thread.join()
    assert end == End(128 + number)
    assert [(tmp_path / f"saved-{rank}").read_text() for rank in range(2)] == [str(int(number))] * 2


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    thread = signalled(tmp_path, signal.SIGTERM, signal.SIGTERM)
    began = time.monotonic()
    end, _ = run(tmp_path, "stop_never()")
    thread.join()
    assert end == End(143) and time.monotonic() - began < 40


def test_a_rank_that_cannot_save_says_so(tmp_path: Path) -> None:
    script = """
def save(number, frame):
    record_failure("the disk is full", 1, lost=False, expected=True)
    sys.exit(1)
stop_well() if rank else (signal.signal(signal.SIGTERM, save), wait())
"""
    thread = signalled(tmp_path, signal.SIGTERM)
    end, _ = run(tmp_path, script)
    thread.join()
    assert end == End(1, "the disk is full")


LAUNCHER = """
import sys
from pathlib import Path
from antiphon.distributed import launch as module
from antiphon.distributed.agent import Ranks, run_ranks
with module._environment(2, None), module._without_logs():
    run_ranks(Ranks(2, (sys.argv[2], sys.argv[1]), 3, "t", Path(sys.argv[1], "logs"), print))
"""


def test_ranks_end_when_the_launcher_is_killed(tmp_path: Path) -> None:
    """They get SIGTERM; one that does not end by it is ended."""
    file = tmp_path / "rank.py"
    file.write_text(f"{RANK}stop_never() if rank else stop_well()\n", encoding="utf-8")
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path), str(file)])
    files = [tmp_path / f"began-{rank}-0" for rank in range(2)]
    deadline = time.monotonic() + 90
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline and launcher.poll() is None
        time.sleep(0.05)
    launcher.kill()
    launcher.wait(timeout=20)
    pids = [int(file.read_text()) for file in files]
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a rank outlives its launcher"
        time.sleep(0.05)
    assert [(tmp_path / f"saved-{rank}").exists() for rank in range(2)] == [True, False]


def test_a_wrong_recipe_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The whole way: the command, the agent, the ranks, their error."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {train: {path: nowhere.tsv}}\ntraining: {max_steps: 1}\n", encoding="utf-8")
    assert main(["train", str(recipe), "--processes", "2", "--output", str(tmp_path / "run"), "--quiet"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("antiphon: ") and "nowhere.tsv" in line
    assert not (tmp_path / "run").exists()


def failure(
    folder: Path, rank: int, code: int, record: dict[str, Any] | None = None, *, age: float = 0
) -> ProcessFailure:
    file = folder / f"{rank}.json"
    if record is not None:
        message = {"message": record.pop("text"), "extraInfo": {"timestamp": str(int(time.time()))}}
        file.write_text(json.dumps({"message": message, **record}), encoding="utf-8")
        os.utime(file, (time.time() - age,) * 2)
    return ProcessFailure(rank, 1, code, str(file))


LOST = {"text": "connection closed", "code": 1, "lost": True, "expected": False}
OWN = {"text": "bad line", "code": 2, "lost": False, "expected": True}
STRANGE = {"text": "TypeError", "code": 1, "lost": False, "expected": False}


@pytest.mark.parametrize(
    ("rows", "first", "code", "lost", "says"),
    [
        # A rank was killed: what the others say when they lose it, or are ended, is no cause.
        ({0: (1, LOST), 1: (-9, None)}, {0, 1}, 1, True, "rank 1 was lost (signal 9"),
        ({0: (1, LOST), 1: (-9, None)}, {0}, 1, True, "rank 0 lost its connection"),
        ({0: (1, STRANGE), 1: (-9, None)}, {1}, 1, True, "rank 1 was lost"),
        ({0: (143, None), 1: (-6, None)}, {1}, 1, True, "rank 1 was lost (signal 6, SIGABRT)"),
        # A rank with an error of its own closes its connections before it ends.
        ({0: (1, LOST), 1: (2, OWN)}, {0}, 2, False, "rank 1: bad line"),
        ({0: (2, OWN), 1: (1, LOST)}, {0, 1}, 2, False, "bad line"),
        ({0: (2, OWN), 1: (-9, None)}, {0}, 2, False, "bad line"),
        ({0: (1, STRANGE), 1: (-15, None)}, {0}, 1, False, "TypeError"),
        # All were stopped.
        ({0: (143, None), 1: (143, None)}, {0, 1}, 143, False, None),
        ({0: (-15, None), 1: (143, None)}, {0}, 143, False, None),
        ({0: (130, None)}, {0}, 130, False, None),
        ({0: (3, None)}, {0}, 1, False, "rank 0 ended with exit code 3 and no message."),
    ],
)
def test_the_cause_among_the_failures(
    tmp_path: Path,
    rows: dict[int, tuple[int, dict[str, Any] | None]],
    first: set[int],
    code: int,
    lost: bool,
    says: str | None,
) -> None:
    began = time.time()
    later = {rank for rank, (_, record) in rows.items() if record and rank not in first}
    failures = {
        rank: failure(
            tmp_path, rank, exit_code, None if record is None else dict(record), age=-5 if rank in later else 5
        )
        for rank, (exit_code, record) in rows.items()
    }
    end = end_of(failures, first, began=began)
    assert (end.code, end.lost) == (code, lost)
    assert end.message is None if says is None else (end.message or "").startswith(says)


def test_only_a_rank_loses_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError(
        "[../gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]: Connection reset by peer.\n  more"
    )
    wrapped = WorkError("the ranks cannot be connected")
    wrapped.__cause__ = error
    assert not is_lost_peer(error)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert is_lost_peer(error) and is_lost_peer(wrapped) and not is_lost_peer(RuntimeError("mat1 and mat2"))
    assert not is_lost_peer(ConfigError("connection reset by peer"))
    assert "\n" not in describe_lost_peer(error) and "The last snapshot is untouched" in describe_lost_peer(error)


def test_processes_under_torchrun_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with on_command_line(), pytest.raises(ConfigError, match="--processes starts the processes, but torchrun has"):
        launch(2, ["train", "recipe.yaml"])


def test_what_a_restart_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert restarts() == 0 and launch_id() is None
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "2"}.items():
        monkeypatch.setenv(name, value)
    assert restarts() == 2 and launch_id() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # torchrun's default
    assert launch_id() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-7")
    assert launch_id() == "job-7"


def test_an_error_of_a_rank_is_left_for_torchrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "error.json"
    known = {"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_ERROR_FILE": str(file)}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert main(["train", str(tmp_path / "none.yaml")]) == 2
        said = capsys.readouterr().err
        assert said.startswith("antiphon: rank 1: ") and len(said.splitlines()) == 1
        found = json.loads(file.read_text())
        assert (found["code"], found["lost"], found["expected"]) == (2, False, True)
        assert said == f"antiphon: rank 1: {found['message']['message']}\n"
        monkeypatch.setenv("ANTIPHON_LAUNCHER", "1")
        assert main(["train", str(tmp_path / "none.yaml")]) == 2
        assert capsys.readouterr().err == ""  # the launcher prints it
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_command_of_the_ranks_is_the_one_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [
        "recipes/x.yaml",
        "--training.max-steps",
        "7",
        "--import",
        "mine",
        "--variant",
        "a",
        "--resume",
        "--seed",
        "3",
    ]
    command = parse(Train, [*given, "--processes", "4", "--max-restarts", "9", "--watch"], prog="antiphon train")
    words = ["recipes/x.yaml", *command.flags(), "--variant", "a"]
    again = parse(Train, words, prog="antiphon train")
    assert again.overrides == command.overrides and (again.imports, again.resume, again.variant) == (
        ("mine",),
        True,
        "a",
    )
    assert (again.processes, again.watch) == (None, False)


def test_each_rank_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen: Callable[[], str | None] = lambda: os.environ.get("OMP_NUM_THREADS")  # noqa: E731
    with module._environment(2, None):
        assert seen() == str(max(1, cores // 2))
    with module._environment(2, 5):
        assert seen() == "5"
    assert seen() is None
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with module._environment(2, None):
        assert seen() == "3"
    assert seen() == "3"
