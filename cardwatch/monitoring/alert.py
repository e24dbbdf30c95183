"""An alert: when somebody is told, how urgently, and what they read first."""

from __future__ import annotations

from dataclasses import dataclass

from cardwatch.monitoring.documents import Node
from cardwatch.monitoring.windows import Windows

# page: somebody gets up now. ticket: somebody looks within the working day.
PAGE, TICKET = "page", "ticket"


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert.

    Attributes:
        name: also of its runbook, docs/runbooks/<name>.md.
        severity: page or ticket.
        wait_s: seconds for which it must hold.
        expression: in PromQL.
        summary: what is wrong, in one line.
        payers: what it means for those who pay, in one sentence.
        dashboard: which dashboard shows it.
    """

    name: str
    severity: str
    wait_s: float
    expression: str
    summary: str
    payers: str
    dashboard: str = "cardwatch-service"

    def rule(self, runbooks: str, windows: Windows) -> dict[str, Node]:
        """The alert as Prometheus reads it."""
        rule: dict[str, Node] = {"alert": self.name, "expr": self.expression}
        if self.wait_s:
            rule["for"] = windows.wait(self.wait_s)
        rule["labels"] = {"severity": self.severity}
        rule["annotations"] = {
            "summary": f"{self.summary}.",
            "payers": self.payers,
            "runbook_url": f"{runbooks.rstrip('/')}/{self.name}.md",
            "dashboard": self.dashboard,
        }
        return rule
