"""Sweeps over the settings of a recipe, and what they find.

run_sweep.sweep(path)            the trials of a sweep file; returns outcome.SweepResult
variants.train_variants(recipe)  the variants of a recipe

Nothing is imported here: `child.py` starts each run.
"""
