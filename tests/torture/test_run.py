"""`make torture` in a small tree: it goes on where it was killed, records crashes, and says what failed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from torture import run
from torture.figures import FigureRecorder, together
from torture.records import read
from torture.resume import ResumeFile

TESTS = Path(__file__).resolve().parents[1]
CONFTEST = """
import os
from pathlib import Path
import pytest
from torture.figures import FigureRecorder
from torture.resume import VARIABLE, ResumeFile, ResumePlugin

RESUME = os.environ.pop(VARIABLE, None)

def pytest_configure(config):
    if RESUME is not None:
        config.pluginmanager.register(ResumePlugin(ResumeFile(Path(RESUME))))

@pytest.fixture
def figures(request):
    return FigureRecorder(request.node.user_properties)
"""
SLOW = """
import os, time
from pathlib import Path
import pytest
from counts import parts

@pytest.mark.parametrize("numbers", parts("tries", most=1))
def test_slow(numbers, figures):
    with Path("ran").open("a") as file:
        file.write(f"{numbers.start}\\n")
    if numbers.start == 2 and not Path("go").exists():
        time.sleep(60)
    figures.add("tries", 1)
    figures.most("start", numbers.start)
"""
BAD = """
import os, signal
from counts import count

def test_before(): assert count("falls") == 5
def test_fails(): assert 1 == 2, "a reason"
def test_dies(): os.kill(os.getpid(), signal.SIGSEGV)
def test_behind(): pass
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two test files, the slow one with the smaller count."""
    root = tmp_path_factory.mktemp("tree")
    (root / "tests").mkdir()
    (root / "docs").mkdir()
    (root / "src").mkdir()
    shutil.copytree(TESTS / "torture", root / "tests" / "torture", ignore=shutil.ignore_patterns("test_*", "__py*"))
    shutil.copy(TESTS / "counts.py", root / "tests")
    (root / "tests" / "conftest.py").write_text(CONFTEST)
    (root / "tests" / "test_slow.py").write_text(SLOW)
    (root / "tests" / "test_bad.py").write_text(BAD)
    (root / "tests" / "counts.toml").write_text(
        "[tries]  # a\ntest = 1\ntorture = 4\n\n[falls]  # b\ntest = 1\ntorture = 5\n"
    )
    row = '[[row]]\nnumber = 1\npromise = "p"\nasked = "q"\ntests = ["tests/test_slow.py"]\n'
    (root / "tests" / "torture" / "rows.toml").write_text(row)
    marks = "".join(f"<!-- table: {name} -->\n\n" for name in ("rows", "counts", "files"))
    (root / "docs" / "reliability.md").write_text(f"# Page\n\n{marks}end\n")
    (root / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\npythonpath = ["tests"]\naddopts = ["--import-mode=importlib"]\n'
    )
    (root / "constraints.txt").write_text("")
    return root


# The tests of the small tree need none of the plugins that are installed, which take seconds to import.
ENVIRONMENT = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def torture(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tests/torture/run.py", *arguments]
    return subprocess.run(command, cwd=root, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)


def test_a_killed_run_goes_on_and_a_crash_is_a_failure(tree: Path) -> None:
    """Four runs, since each imports PyTorch: killed inside a test; asked for its state; to the end; once more."""
    process = subprocess.Popen(
        [sys.executable, "tests/torture/run.py"],
        cwd=tree,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ran, began = tree / "ran", time.monotonic()
    while not (ran.exists() and ran.read_text().split()[-1:] == ["2"]):
        assert process.poll() is None and time.monotonic() - began < 100
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tree / "go").touch()

    state = torture(tree, "--status")
    assert state.returncode == 0 and "2 passed" in state.stderr and "0 of 2 files done" in state.stderr
    assert ran.read_text().split() == ["0", "1", "2"], "--status runs nothing"

    ended = torture(tree)
    assert ended.returncode == 1, ended.stderr
    assert ran.read_text().split() == ["0", "1", "2", "2", "3"], "what had ended is not run again"
    assert "FAILED tests/test_bad.py::test_fails: AssertionError: a reason" in ended.stderr
    assert f"FAILED tests/test_bad.py::test_dies: the process ended with status -{int(signal.SIGSEGV)}" in ended.stderr
    assert "torture: 6 passed, 2 failed" in ended.stderr and "2 of 2 files done" in ended.stderr
    slow, bad = read(tree / "docs" / "torture.jsonl")
    assert (slow.file, slow.left, slow.counts) == ("tests/test_slow.py", 0, {"tries": 4})
    assert slow.tests["test_slow"]["figures"] == {"tries": ["add", 4], "start": ["most", 3.0]}
    assert bad.tests["test_behind"]["passed"] == 1 and set(bad.failures) == {"test_fails", "test_dies"}
    page = (tree / "docs" / "reliability.md").read_text()
    assert "| 1 | p | q | 4 tries; start at most 3; 4 tests passed |" in page and page.endswith("end\n")

    again = torture(tree)
    assert again.returncode == 1 and len(ran.read_text().split()) == 5 and "6 passed, 2 failed" in again.stderr


def test_wrong_arguments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--rows", "99"], "--rows must be among 1, "),
        (["--rows", "x"], "--rows must be numbers and ranges, such as 1,9-14, but is x"),
        (["tests/none"], "tests/none must be or hold a test file with counts or of a row, but has none"),
    ):
        assert run.main(words) == 2
        assert said in capsys.readouterr().err


def test_files_are_chosen_by_rows_and_paths() -> None:
    assert run.choose([], "29") == ["tests/search/test_oracle.py"]
    assert run.choose(["tests/recovery"], "29") == [
        *(f for f in run.choose([], None) if "recovery" in f or "oracle" in f)
    ]


def test_a_file_that_was_cut_loses_its_last_line_alone(tmp_path: Path) -> None:
    file = ResumeFile(tmp_path / "resume.jsonl")
    file.write({"file": "tests/a.py", "tests": 2})
    file.write({"begun": "tests/a.py::test_x"})
    with file.path.open("ab") as lines:
        lines.write(b'{"test": "tests/a.py::te')
    assert file.collected() == {"tests/a.py": 2} and file.outcomes() == {} and file.begun() == "tests/a.py::test_x"
    file.write({"begun": "tests/a.py::test_y"})
    assert file.begun() == "tests/a.py::test_y", "a line behind a cut one is whole"


def test_figures_of_several_tests() -> None:
    one: list[tuple[str, object]] = []
    recorder = FigureRecorder(one)
    recorder.add("tries", 2)
    recorder.add("tries", 3)
    recorder.most("worst", 1e-3)
    recorder.most("worst", 1e-4)
    recorder.least("best", 4)
    assert one == [("figures", {"tries": ["add", 5], "worst": ["most", 1e-3], "best": ["least", 4.0]})]
    other = {"tries": ["add", 1], "best": ["least", 2.0]}
    assert together([one[0][1], other]) == {"tries": ["add", 6], "worst": ["most", 1e-3], "best": ["least", 2.0]}  # type: ignore[list-item]


def test_make_torture_runs_this_program(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("the_run_py", TESTS.parent / "run.py")
    assert spec is not None and spec.loader is not None
    run_py = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run_py)
    asked: list[list[str]] = []

    def started(command: list[str], **_: object) -> SimpleNamespace:
        asked.append(command[1:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(run_py, "environment", lambda: (Path("venv"), Path("python")))
    monkeypatch.setattr(run_py, "install", lambda *_: None)
    monkeypatch.setattr(
        run_py, "subprocess", SimpleNamespace(run=started, CalledProcessError=subprocess.CalledProcessError)
    )
    assert run_py.main(["torture", "--rows", "1"]) == 0
    assert asked == [["tests/torture/run.py", "--rows", "1"]] and (TESTS / "torture" / "run.py").exists()
    assert "ANTIPHON_TORTURE" not in os.environ
