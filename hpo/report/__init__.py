"""From a study to one HTML page, without torch: summary -> findings and figures -> page."""

from hpo.report.compare import comparison_table, write_comparison
from hpo.report.page import write_report

__all__ = ["comparison_table", "write_comparison", "write_report"]
