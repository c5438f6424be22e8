"""The property tests at full counts, file by file, short ones first; a run that was stopped goes on where it was.

    python run.py torture                    # = make torture; hours
    python run.py torture --rows 25-29,1     # the tests of some rows of docs/reliability.md
    python run.py torture tests/search       # some files or folders
    python run.py torture --fresh            # forgets what was run before
    python run.py torture --status           # what has run so far, and what failed; runs nothing

Each test's outcome is in .torture/ as soon as it is known, so that a run that was killed loses one test. A file whose
tests have all run is a line in docs/torture.jsonl, and docs/reliability.md is written anew. What pytest prints is in
.torture/logs/. Exit status: 0 all passed, 1 some failed, 2 wrong arguments, 130 stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torture import page, plan
from torture.records import ROOT, Outcome, append, read, record
from torture.resume import FOLDER, VARIABLE, ResumeFile, key

if os.name == "posix":
    import fcntl


class Stopped(Exception):
    """A signal asked for the end."""


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(arguments)
    try:
        chosen = choose(asked.paths, asked.rows)
    except ValueError as error:
        say(f"torture: {error}")
        return 2
    os.environ["ANTIPHON_TORTURE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    FOLDER.mkdir(exist_ok=True)
    resume = ResumeFile(FOLDER / f"{key()}.jsonl")
    if asked.status:
        return summary(resume, chosen)
    with (FOLDER / "lock").open("w") as lock:
        if not _alone(lock):
            say("torture: another run of this folder is under way; see it with --status")
            return 2
        if asked.fresh:
            resume.path.unlink(missing_ok=True)
        known = len(resume.outcomes())
        say(f"torture: {len(chosen)} files, {known} tests have run already ({resume.path})")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        try:
            run_all(resume, chosen)
        except Stopped:
            say("torture: stopped; the same command goes on from here")
            return 130
        return summary(resume, chosen)


def choose(paths: Sequence[str], numbers: str | None) -> list[str]:
    """The files to run: all, or those of the rows and paths that were asked for."""
    files = plan.files()
    if not paths and numbers is None:
        return files
    table = {row.number: row for row in plan.rows()}
    wanted = _numbers(numbers or "")
    if missing := [str(number) for number in wanted if number not in table]:
        raise ValueError(f"--rows must be among {', '.join(map(str, table))}, but has {', '.join(missing)}")
    found = {file for number in wanted for file in table[number].files}
    for path in paths:
        own = [file for file in files if Path(file).is_relative_to(Path(path))]
        if not own:
            raise ValueError(f"{path} must be or hold a test file with counts or of a row, but has none")
        found.update(own)
    return [file for file in files if file in found]


def run_all(resume: ResumeFile, chosen: Sequence[str]) -> None:
    """Each file in turn; after each one its record, the page, and a line of progress."""
    began, code, queue = time.monotonic(), resume.path.stem, plan.order(chosen, read())
    for place, (file, _) in enumerate(queue):
        before = resume.outcomes()
        if file in resume.collected() and _left(resume, file) == 0:
            continue
        if place and key() != code:
            raise SystemExit("torture: src or tests have changed since this run began; start it again")
        try:
            run_file(resume, file)
        finally:
            if len(resume.outcomes()) > len(before):
                keep(resume, file)
        done = [each for name, each in resume.outcomes().items() if name.startswith(file + "::")]
        left = sum(seconds for _, seconds in queue[place + 1 :])
        say(
            f"[{place + 1}/{len(queue)}] {file}: {_counted(done)}, {sum(each.seconds for each in done):.0f} s; "
            f"so far {_counted(resume.outcomes().values())}, {(time.monotonic() - began) / 60:.0f} min, "
            f"at a guess {left / 60:.0f} min left"
        )
        for each in done:
            if each.outcome == "failed" and each.test not in before:
                say(f"  FAILED {each.test}: {each.why}")


def run_file(resume: ResumeFile, file: str) -> None:
    """Runs the tests of `file` that have no outcome. One that ends the process has failed, and the others go on."""
    log = FOLDER / "logs" / (file.replace("/", "-") + ".log")
    log.parent.mkdir(exist_ok=True)
    environment = {**os.environ, VARIABLE: str(resume.path)}
    while True:
        with log.open("ab") as output:
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", file]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
            try:
                status = process.wait()
            except Stopped:
                process.terminate()
                process.wait()
                raise
        if status in (0, 1, 5):  # 5: nothing was left to run
            return
        test = resume.begun()
        if test is None or not test.startswith(file + "::"):
            say(f"  FAILED {file}: pytest ended with status {status} before a test; see {log}")
            resume.end(Outcome(file + "::collection", "failed", 0.0, f"pytest ended with status {status}", {}))
            return
        resume.end(Outcome(test, "failed", 0.0, f"the process ended with status {status}", {}))


def keep(resume: ResumeFile, file: str) -> None:
    """The file's record, and the page that shows it."""
    own = [each for name, each in resume.outcomes().items() if name.startswith(file + "::")]
    counts = {name: row["torture"] for name, row in plan.counts_of(file).items()}
    append(record(file, own, left=_left(resume, file), counts=counts))
    page.write()


def summary(resume: ResumeFile, chosen: Sequence[str]) -> int:
    """Prints totals, failures and what is left; the exit status."""
    outcomes = [each for each in resume.outcomes().values() if each.test.partition("::")[0] in chosen]
    for each in outcomes:
        if each.outcome == "failed":
            say(f"FAILED {each.test}: {each.why}")
    begun = resume.collected()
    left = [file for file in chosen if file not in begun or _left(resume, file)]
    seconds = sum(each.seconds for each in outcomes)
    say(f"torture: {_counted(outcomes)} in {seconds:.0f} s; {len(chosen) - len(left)} of {len(chosen)} files done")
    if left:
        say("not done: " + ", ".join(left))
    return 1 if any(each.outcome == "failed" for each in outcomes) else 0


def _left(resume: ResumeFile, file: str) -> int:
    ended = sum(name.startswith(file + "::") for name in resume.outcomes())
    return max(0, resume.collected().get(file, 0) - ended)


def _counted(outcomes: Iterable[Outcome]) -> str:
    """12 passed, 1 failed"""
    number = Counter(each.outcome for each in outcomes)
    return ", ".join(f"{number[kind]:,} {kind}" for kind in ("passed", "failed", "skipped") if number[kind]) or "none"


def _numbers(text: str) -> list[int]:
    """1,9-14 as numbers."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            raise ValueError(f"--rows must be numbers and ranges, such as 1,9-14, but is {text}")
        found += range(int(first), int(last or first) + 1)
    return found


def _alone(lock: TextIO) -> bool:
    """Whether no other run of this folder holds the lock; it is free when its process has ended, however that was."""
    if os.name == "posix":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _stop(number: int, frame: object) -> None:
    raise Stopped


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", help="test files or folders; default all with counts or of a row")
    parser.add_argument("--rows", help="numbers of rows: 1,9-14")
    parser.add_argument("--fresh", action="store_true", help="forget what was run before")
    parser.add_argument("--status", action="store_true", help="say what has run so far, and run nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
