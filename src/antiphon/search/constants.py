"""Numbers that all of the search uses."""

from __future__ import annotations

NEG_INF = float("-inf")  # the score of a token that must not follow, and the sum of a hypothesis that does not exist
