"""Sweeps over the settings of a recipe, and what they find.

sweep(path)              the trials of a sweep file (run_sweep.py); SweepResult (outcome.py)
train_variants(recipe)   the variants of a recipe (variants.py)
"""

from __future__ import annotations

from antiphon.sweeps.outcome import SweepResult
from antiphon.sweeps.run_sweep import sweep

__all__ = ["SweepResult", "sweep"]
