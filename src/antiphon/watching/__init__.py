"""The page that shows runs while they train: their logs as curves, read as they grow.

    from antiphon.watching import watch
    page = watch("runs/a", "runs/b")     # served by this process, on 127.0.0.1; in a notebook shown below the cell
    page.url, page.close()

`antiphon watch` is the same in a process of its own (docs/watching.md).
"""

from __future__ import annotations

from antiphon.watching.page_handle import WatchPage, watch

__all__ = ["WatchPage", "watch"]
