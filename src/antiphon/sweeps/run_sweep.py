"""`antiphon.sweep(path)`: runs the trials of a sweep and returns what it found."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from antiphon.errors import argument
from antiphon.sweeps.definition import read_definition
from antiphon.sweeps.outcome import SweepResult, make_result
from antiphon.sweeps.runs import check_runs, metric_of, run_config
from antiphon.sweeps.search import claims, enqueue_grid, make_pruner
from antiphon.sweeps.space import ChoiceSpace, Domain
from antiphon.sweeps.storage import load_study, open_study
from antiphon.sweeps.trial import TrialRunner


def domain_start(domain: Domain) -> object:
    """A parameter of a domain: the first label, or the lower bound."""
    return domain.grid()[0] if isinstance(domain, ChoiceSpace) else domain.value(domain.low)


def sweep(
    path: str | Path,
    *,
    storage: str | None = None,
    resume: bool = False,
    output: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    dtype: str | None = None,
    imports: Sequence[str] = (),
    show_only: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> SweepResult:
    """Run the sweep in the YAML file `path` and return its result, whose table and pages are in its `output` too.

    `storage`: sqlite:///FILE, journal:FILE or a URL of SQLAlchemy; several machines may share one. `resume`: continue
    or join a study that exists. `device`, `threads`, `dtype` and `imports` go to each run. `show_only`: run nothing,
    show what the study has so far. Raises ConfigError or DataError before the first run for a wrong sweep or setting,
    WorkError for a storage that cannot be used. Ctrl-C and SIGTERM save the current run first.
    """
    definition = read_definition(path, storage=storage, output=None if output is None else str(output))
    first = {key: domain_start(domain) for key, domain in definition.space.items()}
    metric = metric_of(definition, run_config(definition, first))
    if show_only:
        return make_result(load_study(definition), definition, metric)
    check_runs(definition)
    study = open_study(definition, lower_is_better=metric[1], resume=resume)
    study.pruner = make_pruner(definition)
    if definition.config.search == "grid":
        enqueue_grid(study, definition)
    flags = ["--device", device, *([] if threads is None else ["--threads", str(threads)])]
    flags += [] if dtype is None else ["--dtype", dtype]
    flags += [part for name in imports for part in ("--import", name)]
    runner = TrialRunner(study, definition, metric, flags, say)
    began = time.monotonic()
    for claim in claims(study, definition, say=say):
        runner.run(claim)
        if definition.config.minutes is not None and time.monotonic() - began > 60 * definition.config.minutes:
            more = argument("resume=True", flag="--resume")
            say(f"{definition.config.minutes:g} minutes are over; go on with {more}")
            break
    return make_result(study, definition, metric, write=True)
