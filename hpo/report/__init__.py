"""From a study to one HTML page, without torch: summary -> findings and figures -> page."""

from hpo.report.compare import Comparison
from hpo.report.page import write_report

__all__ = ["Comparison", "write_report"]
