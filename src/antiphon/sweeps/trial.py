"""One trial: the runs of one setting, a seed each, and what the study is told of them.

    TrialRunner(study, definition, metric=("bleu", False), flags=["--threads", "1"], say=print).run(claim)

After each run its figures become an attribute of the trial, so that a trial that is continued repeats no finished run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antiphon.display import fixed
from antiphon.errors import ConfigError, WorkError, argument
from antiphon.models.folders.checkpoint import replace_file
from antiphon.recipe import dump_yaml, to_mapping
from antiphon.sweeps.definition import Definition
from antiphon.sweeps.processes import ProcessEnd, last_message, run_training, wait_until_free
from antiphon.sweeps.run_figures import run_figures
from antiphon.sweeps.runs import run_config
from antiphon.sweeps.search import FAILED, Claim
from antiphon.sweeps.space import describe
from antiphon.sweeps.storage import import_optuna, patiently
from antiphon.training.reporting.record import read_rows

if TYPE_CHECKING:
    import optuna

RUN = "run "  # the attribute of the figures of a run is this and its seed
EXIT_WRONG_INPUT = 2
MOST_FAILURES = 3  # settings that fail in a row, after which a sweep ends: the cause is not the setting


def run_values(folder: Path, metric: str) -> Iterator[tuple[int, float]]:
    """(step, value) of each validation of a run that has the metric as a finite number."""
    for row in read_rows(folder):  # leaves out a last row that is being written
        value = row.get(metric)
        if isinstance(value, int | float) and math.isfinite(value):
            yield int(row["step"]), float(value)


@dataclass
class TrialRunner:
    """Runs trials. `metric` is the name of the metric and whether lower is better, `flags` go to each `train`,
    `failures` is the number of settings in a row that failed."""

    study: optuna.Study
    definition: Definition
    metric: tuple[str, bool]
    flags: Sequence[str]
    say: Callable[[str], None]
    failures: int = 0

    def run(self, claim: Claim) -> None:
        """Run the seeds of a trial that have not finished, and tell the study.

        ConfigError if the very first run of a study is refused as wrong input: nothing is told then, and the trial can
        be continued. WorkError after MOST_FAILURES settings in a row that failed.
        """
        optuna, url = import_optuna(), self.definition.storage
        self.say(f"trial {claim.trial.number}: {describe(claim.params)}")
        values = []
        for place, seed in enumerate(self.definition.config.seed_list):
            done = claim.trial.user_attrs.get(f"{RUN}{seed}")
            if done is None:
                end = self._train(claim, seed, prunable=place == 0)
                if end.stopped:
                    self.say(f"  seed {seed}: pruned, {self._last(claim, seed)}")
                    patiently(lambda: self.study.tell(claim.trial, state=optuna.trial.TrialState.PRUNED), url)
                    return
                if end.code:
                    self._failed(claim, seed, end.code)
                    return
                done = self._figures(claim, seed)
                patiently(lambda seed=seed, done=done: claim.trial.set_user_attr(f"{RUN}{seed}", done), url)
            values.append(done["value"])
            name = self.metric[0]
            self.say(f"  seed {seed}: {name} {fixed(done['value'])} at step {done['step']}, {done['minutes']:.1f} min")
        patiently(lambda: self.study.tell(claim.trial, statistics.fmean(values)), url)
        self.failures = 0

    def _train(self, claim: Claim, seed: int, *, prunable: bool) -> ProcessEnd:
        """Start or continue the run of a seed, and report its validations."""
        folder, recipe = claim.folder / f"seed-{seed}", claim.folder / f"seed-{seed}.yaml"
        config = run_config(self.definition, claim.params, seed=seed, output=str(folder))
        replace_file(recipe, dump_yaml(to_mapping(config)).encode())
        wait_until_free(folder, say=self.say)
        words = ["train", str(recipe), "--resume", "--output", str(folder), *self.flags]
        watch = self._watch(claim.trial, folder) if prunable else None
        return run_training(words, log=claim.folder / f"seed-{seed}.log", should_stop=watch)

    def _watch(self, trial: optuna.Trial, folder: Path) -> Callable[[], bool]:
        """A function that reports new validations of a run, and returns whether it is to be pruned."""
        stored = patiently(lambda: self.study.get_trials(deepcopy=False), self.definition.storage)[trial.number]
        reported = set(stored.intermediate_values)

        def watch() -> bool:
            for step, value in run_values(folder, self.metric[0]):
                if step not in reported:
                    reported.add(step)
                    patiently(lambda step=step, value=value: trial.report(value, step), self.definition.storage)
                    if patiently(trial.should_prune, self.definition.storage):
                        return True
            return False

        return watch

    def _figures(self, claim: Claim, seed: int) -> dict[str, Any]:
        """The figures of a finished run. The value is that of its best validation, whose weights are in model/."""
        folder = claim.folder / f"seed-{seed}"
        values = list(run_values(folder, self.metric[0]))
        if not values:
            raise WorkError(f"the run `{folder}` must have a validation with `{self.metric[0]}`, but has none.")
        choose = min if self.metric[1] else max
        step, value = choose(values, key=lambda pair: pair[1])
        return {**run_figures(folder), "value": value, "step": step}

    def _last(self, claim: Claim, seed: int) -> str:
        values = list(run_values(claim.folder / f"seed-{seed}", self.metric[0]))
        return f"{self.metric[0]} {fixed(values[-1][1])} at step {values[-1][0]}" if values else "no validation"

    def _failed(self, claim: Claim, seed: int, code: int) -> None:
        """Record that a run failed. The first run of a study that is refused as wrong input ends the sweep."""
        state, url = import_optuna().trial.TrialState, self.definition.storage
        log = claim.folder / f"seed-{seed}.log"
        reason = last_message(log) or f"exit code {code}"
        trials = patiently(lambda: self.study.get_trials(deepcopy=False), url)
        if code == EXIT_WRONG_INPUT and not any(trial.state == state.COMPLETE for trial in trials):
            raise ConfigError(
                f"trial {claim.trial.number} was refused: {reason.rstrip('.')} (`{log}`). Mend it, then go on with "
                f"{argument('resume=True', flag='--resume')}."
            )
        self.say(f"  seed {seed}: failed: {reason}")
        patiently(lambda: claim.trial.set_user_attr(FAILED, reason[:500]), url)
        # A diverged run is a result, which the search should learn from; Optuna takes a pruned one as bad.
        diverged = code == 1 and ("must be finite" in reason or "has left its range" in reason)
        patiently(lambda: self.study.tell(claim.trial, state=state.PRUNED if diverged else state.FAIL), url)
        self.failures = 0 if diverged else self.failures + 1
        if self.failures == MOST_FAILURES:
            raise WorkError(
                f"{MOST_FAILURES} settings in a row failed, the last one with: {reason.rstrip('.')} (`{log}`). Mend "
                f"it, then go on with {argument('resume=True', flag='--resume')}, which tries them again."
            )


def runs_of(attributes: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The figures of the finished runs of a trial by seed, from its attributes."""
    return {int(key[len(RUN) :]): value for key, value in attributes.items() if key.startswith(RUN)}
