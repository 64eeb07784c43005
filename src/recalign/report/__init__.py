"""The report of a run: `results.json` in; one self-contained page, tables and figures out."""

from __future__ import annotations

from recalign.report.write import Report, write_report

__all__ = ["Report", "write_report"]
