"""Alerts tried out: scenarios under promtool, and faults in a running system under a real Prometheus."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.drill import Drill, Told
from benchmarks.faults import FAULTS
from benchmarks.options import Options
from cardwatch.monitoring.alert import Alert
from cardwatch.monitoring.objectives import read_promises
from cardwatch.monitoring.rules import all_alerts, rule_files
from tests.cardwatch.monitoring.scenarios import FIRES, MISSING, NEARLY, RESET, SCENARIOS, Scenario, promtool_document

PURPOSE = "who is paged when something breaks, and who is not when it nearly does"
PAGE = results.REPOSITORY / "docs" / "alerts.md"
_KINDS = (FIRES, NEARLY, RESET, MISSING)


def run(options: Options) -> None:
    """Play everything and write docs/alerts.md."""
    alerts = all_alerts(read_promises())
    results.write_section("alerts", alert_table(alerts), PAGE)
    options.say("scenarios under promtool")
    results.write_section("scenarios", _scenario_table(alerts), PAGE)
    folder = results.CACHE / "drill"
    shutil.rmtree(folder / "prometheus", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    drill = Drill(folder)
    try:
        told = [_play(drill, number, options) for number in range(len(FAULTS))]
    finally:
        drill.stop()
    results.save("alerts", {"drill": [(it.fault, it.alert, it.seconds, sorted(it.pages)) for it in told]})
    results.write_section("drill", results.machine_lines(options.busy_before) + "\n\n" + _drill_table(told), PAGE)


def alert_table(alerts: Sequence[Alert]) -> str:
    """All alerts with what they mean."""
    rows = [
        (f"[{alert.name}](runbooks/{alert.name}.md)", alert.severity, alert.summary, alert.payers) for alert in alerts
    ]
    rules = ["---"] * 4
    return "\n".join("| " + " | ".join(row) + " |" for row in (("alert", "severity", "when", "payers"), rules, *rows))


def _scenario_table(alerts: Sequence[Alert]) -> str:
    """For each alert: how many scenarios of each kind ended as they should."""
    rows = []
    for alert in alerts:
        cells = []
        for kind in _KINDS:
            mine = [it for it in SCENARIOS if (it.alert, it.severity, it.kind) == (alert.name, alert.severity, kind)]
            right = sum(_is_right(scenario) for scenario in mine)
            fires = "fires" if mine[0].fires else "quiet"
            cells.append(f"{fires}: {right} of {len(mine)}")
        rows.append((f"{alert.name}, {alert.severity}", *cells))
    return results.table(("alert", "fires", "nearly", "reset of counters", "no data"), rows)


def _is_right(scenario: Scenario) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        files = rule_files(read_promises(), interval_s=60)
        for name, text in files.items():
            Path(folder, name).write_text(text, "utf-8")
        tests = Path(folder, "tests.yml")
        tests.write_text(promtool_document(sorted(files), [scenario]), "utf-8")
        done = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, check=False)
        return done.returncode == 0


def _play(drill: Drill, number: int, options: Options) -> Told:
    fault = FAULTS[number]
    drill.until_quiet()
    told = drill.play(fault)
    options.say(f"{fault.name}: {told}")
    return told


def _drill_table(told: Sequence[Told]) -> str:
    rows = [
        (
            it.fault,
            it.alert,
            "not told" if it.seconds is None else f"{it.seconds:.1f} s",
            ", ".join(sorted(it.pages - {it.alert})) or "nothing",
        )
        for it in told
    ]
    return results.table(("fault", "told by", "after", "paged besides"), rows)
