"""Does a test see a fault? Each mutant of the table is put into a copy of the tree, and its test must fail there.

    python run.py mutants                  # all; a named test each, minutes
    python run.py mutants penalty hub      # those whose file or test has one of these words

First all named tests must pass in the copy as it is. A mutant is killed where its test fails; one that lives, a test
that does not run, and a text that is not in its file exactly once, are named, and the exit status is 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("src", "tests", "docs", "recipes", "benchmarks", "examples", "pyproject.toml", "README.md", "CHANGELOG.md")
SECONDS = 300  # for one test; a mutant that makes it run longer is not seen by it
FAILED = 1  # pytest's exit status where a test failed, as opposed to one that could not be run


def copy(folder: Path) -> Path:
    """The tree without what is made in it."""
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """pytest's exit status in `tree`, and what it said; -1 where it ran too long."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    given = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=given, capture_output=True, text=True, timeout=SECONDS * len(tests), check=False
        )
    except subprocess.TimeoutExpired:
        return -1, f"ran longer than {SECONDS} s"
    return done.returncode, done.stdout[-2000:] + done.stderr[-500:]


def judge(tree: Path, mutant: Mutant) -> str:
    """Why the mutant was not killed; empty where it was."""
    file = tree / "src" / "antiphon" / mutant.file
    whole = file.read_text(encoding="utf-8")
    if whole.count(mutant.old) != 1:
        return f"its text must be in the file once, but is there {whole.count(mutant.old)} times"
    file.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        status, _ = run_tests(tree, [mutant.test])
    finally:
        file.write_text(whole, encoding="utf-8")
    if status == FAILED:
        return ""
    return "it lives" if status == 0 else f"its test could not be run (status {status})"


def judged(mutants: Sequence[Mutant], folder: Path, *, jobs: int) -> Iterator[tuple[Mutant, str]]:
    """Each mutant with what `judge` says, several at a time, each in a copy of its own."""
    with ThreadPoolExecutor(jobs) as pool:
        trees = [copy(folder / str(job)) for job in range(jobs)]
        free = list(trees)

        def work(mutant: Mutant) -> str:
            tree = free.pop()
            try:
                return judge(tree, mutant)
            finally:
                free.append(tree)

        yield from zip(mutants, pool.map(work, mutants), strict=True)


def main(words: Sequence[str]) -> int:
    chosen = [each for each in MUTANTS if not words or any(word in each.file + each.test for word in words)]
    if not chosen:
        sys.stderr.write(f"no mutant has one of {', '.join(words)} in its file or test.\n")
        return 2
    jobs = max(1, min(int(os.environ.get("JOBS", "1")), len(chosen)))
    with tempfile.TemporaryDirectory() as made:
        status, said = run_tests(copy(Path(made) / "whole"), sorted({mutant.test for mutant in chosen}))
        if status:
            sys.stderr.write(f"the tests must pass without a mutant, but do not:\n{said}\n")
            return 1
        alive = 0
        for mutant, why in judged(chosen, Path(made), jobs=jobs):
            alive += bool(why)
            verdict = f"LIVES ({why})" if why else "killed"
            sys.stdout.write(f"{verdict} {mutant.file}: {mutant.what}\n")
            sys.stdout.flush()
        sys.stdout.write(f"{len(chosen) - alive} of {len(chosen)} mutants killed.\n")
        return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
