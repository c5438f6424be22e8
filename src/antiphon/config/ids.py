"""The range of ids in the files of a model."""

from __future__ import annotations

from typing import Annotated

from antiphon.settings import Range

# A file with a larger id or size is broken or hostile: it would need a table of that size.
MOST_IDS = 2**24
Id = Annotated[int, Range(low=0, high=MOST_IDS - 1)]
