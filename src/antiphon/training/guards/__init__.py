"""What keeps a run alive, or ends it with its results.

Memory that runs out (splitting.py), a loss that leaves its range (loss_range.py, rollback.py), a GPU that fails
(failures.py), a clock that stands still or jumps (step_clock.py). What the guards know (state.py) is part of
`Progress`, hence of each snapshot: a resumed run decides as the uninterrupted one does.
"""
