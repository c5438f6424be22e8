"""Reporters: they send each row of `metrics.jsonl` to another program, as `training.log_to` says.

    check_reporters(["tensorboard", {"wandb": {"project": "demo"}}])      # before anything is written
    reporters = open_reporters(config.training.log_to, folder, recipe=..., resumed_at=None, say=print)

`tensorboard`, `wandb`, `mlflow` and `trackio` are built in; each needs its package. A custom reporter is registered
(`antiphon.register("reporter", "name")`) or named `module:Name`: a function of the run folder and its settings that
returns a function of a row.
"""

from __future__ import annotations

from antiphon.training.reporting.reporters.guarded import GuardedReporter
from antiphon.training.reporting.reporters.names import check_reporters, open_reporters

__all__ = ["GuardedReporter", "check_reporters", "open_reporters"]
