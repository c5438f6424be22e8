"""Evaluation: metrics of answers against references, and comparisons of systems.

`metrics.py` looks up metrics by name and calls them. They are defined in `translation.py`, `rouge.py`,
`classification.py`, `edits.py` and `comet.py`, return the `MetricResult` of `result.py`, and get confidence intervals
from `bootstrap.py`, whose samples are scored at once by `sums.py`. `measuring.py` measures answers, `segments.py`
single ones, `groups.py` parts of a test set, which `test_set.py` puts together; `evaluate.py` generates a model's
answers and measures them. `comparing/` tests the differences of several systems.
"""
