"""An evaluation as one HTML page that can be sent to anybody. Knows no torch."""

from ssbsn_cli.core.evaluation.report.page import Pictures, draw_report

__all__ = ["Pictures", "draw_report"]
