"""Complete jobs (train, sweep, average, demo): they connect the parts that the lower packages define."""

from __future__ import annotations

from antiphon.workflows.average import average_run
from antiphon.workflows.demos.images import demo_images
from antiphon.workflows.demos.phrases import demo
from antiphon.workflows.train import Run, train

__all__ = ["Run", "average_run", "demo", "demo_images", "train"]
