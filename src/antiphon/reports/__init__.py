"""Reports of runs: `report(run)` reads a run folder and makes one self-contained HTML page and a model card.

contents.py reads the folder, results.py computes metrics and examples, facts.py collects what is said, page.py and
card.py write it. run_file.py and answers.py are the files that a run leaves for its report.
"""

from __future__ import annotations

from antiphon.reports.run_report import RunReport, report, write_end_report

__all__ = ["RunReport", "report", "write_end_report"]
