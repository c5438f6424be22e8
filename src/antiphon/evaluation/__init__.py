"""Evaluation: metrics of answers against references.

`metrics.py` looks up metrics by name and calls them. They are defined in `translation.py`, `rouge.py`,
`classification.py`, `edits.py` and `comet.py`, return the `MetricResult` of `result.py`, and get confidence intervals
from `bootstrap.py`. `evaluate.py` evaluates a model on pairs, `groups.py` parts of a test set.
"""
