"""`python -m antiphon.distributed.child PARENT WORDS...`: `antiphon WORDS`, ended when the process PARENT ends.

Started by `antiphon train --processes N`, as each of its ranks, and by sweeps.
"""

from __future__ import annotations

import runpy
import sys

from antiphon.distributed.failure import is_rank
from antiphon.distributed.parent import PATIENCE_SECONDS, end_with_parent


def main() -> None:
    """Run the command of the arguments."""
    parent, *words = sys.argv[1:]
    end_with_parent(int(parent), patience=PATIENCE_SECONDS if is_rank() else None)
    sys.argv = ["antiphon", *words]
    runpy.run_module("antiphon", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
