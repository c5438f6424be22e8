"""Whole jobs: each builds the parts that the lower stages define, and passes search and metrics in as functions."""

from __future__ import annotations

from antiphon.workflows.average import average_run
from antiphon.workflows.demo import demo
from antiphon.workflows.train import Run, train

__all__ = ["Run", "average_run", "demo", "train"]
