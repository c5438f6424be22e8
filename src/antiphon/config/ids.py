"""What an id in a file of a model may be."""

from __future__ import annotations

from typing import Annotated

from antiphon.settings import Range

# A file with a larger id or number is broken or hostile: a table of that size would be made for it.
MOST_IDS = 2**24
Id = Annotated[int, Range(low=0, high=MOST_IDS - 1)]
