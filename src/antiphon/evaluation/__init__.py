"""How good answers are.

`metrics.py` finds metrics by name and calls them; they are defined in `translation.py`, `rouge.py`,
`classification.py`, `edits.py` and `comet.py`, give what `result.py` says, and have intervals by `bootstrap.py`.
`evaluate.py` measures a model on pairs, `groups.py` each part of a test set.
"""
