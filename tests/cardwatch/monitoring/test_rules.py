"""Rules for Prometheus: made from the objectives, fresh, right in promtool's eyes, and each alert tried out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.alerts import PAGE, alert_table
from cardwatch.cli import main
from cardwatch.errors import EXIT_OK, SettingsError
from cardwatch.monitoring.burn import BURN_RATES, MEASURES, burn_alerts
from cardwatch.monitoring.objectives import SHIPPED, promises_of, read_promises
from cardwatch.monitoring.rules import all_alerts, rule_files
from cardwatch.monitoring.windows import Windows, duration
from cardwatch.settings import shipped_toml
from telemetry.catalogue import CATALOGUE
from tests.cardwatch.monitoring.scenarios import FIRES, MISSING, NEARLY, RESET, SCENARIOS, promtool_document

ROOT = Path(__file__).resolve().parents[3]
PROMETHEUS = ROOT / "configs" / "prometheus"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@pytest.mark.generated
def test_the_rules_are_fresh() -> None:
    """Whoever changes objectives or alerts makes the rules anew: cardwatch monitoring."""
    made = rule_files(read_promises())
    assert {name: (PROMETHEUS / name).read_text("utf-8") for name in made} == made


def test_the_command_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One command from objectives of one's own to files that Prometheus reads."""
    own = tmp_path / "own.toml"
    own.write_text((ROOT / "configs" / SHIPPED).read_text().replace("target = 0.999", "target = 0.99"))
    assert main(["monitoring", "--objectives", str(own), "--out", str(tmp_path / "rules")]) == EXIT_OK
    written = sorted(path.name for path in (tmp_path / "rules").iterdir())
    assert written == ["alerts.rules.yml", "objectives.rules.yml"]
    assert "0.144" in (tmp_path / "rules" / "alerts.rules.yml").read_text()
    assert "alerts.rules.yml" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("objectives", "decided", "target"), 1.0, r"objectives\.decided\.target"),
        (("objectives", "decision_latency", "within_s"), 0.3, "no bucket"),
        (("alerts", "lag_record"), 1, r"alerts\.lag_record"),
    ],
)
def test_a_wrong_promise_is_named(path: tuple[str, ...], value: float, why: str) -> None:
    """An objective that cannot be measured, or a slip of the pen, is told before rules are made."""
    tree = shipped_toml(SHIPPED)
    place = tree
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(SettingsError, match=why):
        promises_of(tree)


def test_a_burn_that_cannot_be_is_left_out() -> None:
    """An objective of 90 % cannot burn 14.4 times too fast; the alert keeps the rates that can."""
    tree = shipped_toml(SHIPPED)
    tree["objectives"]["freeze_latency"]["target"] = 0.9
    alerts = burn_alerts(promises_of(tree), Windows())
    page = next(it for it in alerts if (it.name, it.severity) == ("FreezeLatencyBurn", "page"))
    assert "1.44" not in page.expression
    assert "> 0.6" in page.expression


def test_windows_are_written_as_prometheus_reads_them() -> None:
    """The largest unit that divides them, and shortened together."""
    assert [duration(seconds) for seconds in (86_400, 5400, 15, 0.25)] == ["1d", "90m", "15s", "250ms"]
    assert Windows(1 / 60, 15).of(300) == "15s"
    assert Windows(1 / 60, 15).of(3600) == "1m"


def test_every_metric_in_a_rule_is_in_the_catalogue() -> None:
    """No alert waits for a metric that nobody shows."""
    known = {
        name + ending
        for name, row in CATALOGUE.items()
        for ending in (("_bucket", "_count", "_sum") if row.buckets else ("",))
    }
    used = {word for text in rule_files(read_promises()).values() for word in re.findall(r"\bcardwatch_\w+", text)}
    assert used <= known


def test_every_alert_says_what_it_means() -> None:
    """Severity, summary, what payers feel, and a runbook that exists."""
    for alert in all_alerts(read_promises()):
        assert alert.severity in {"page", "ticket"}
        assert alert.summary
        assert alert.payers.endswith(".")
        assert (ROOT / "docs" / "runbooks" / f"{alert.name}.md").is_file(), alert.name


@pytest.mark.generated
def test_the_page_of_alerts_is_fresh() -> None:
    """Whoever changes alerts writes the page anew: python -m benchmarks alerts."""
    text = PAGE.read_text("utf-8")
    assert f"<!-- begin alerts -->\n{alert_table(all_alerts(read_promises()))}\n<!-- end alerts -->" in text


def test_every_alert_has_its_scenarios() -> None:
    """One that fires, one that nearly does, a reset and nothing at all, for each alert and severity."""
    for alert in all_alerts(read_promises()):
        kinds = {it.kind for it in SCENARIOS if (it.alert, it.severity) == (alert.name, alert.severity)}
        assert kinds == {FIRES, NEARLY, RESET, MISSING}, alert.name


@needs_promtool
def test_promtool_finds_nothing_wrong() -> None:
    """Rules and the example of a configuration are what Prometheus takes."""
    for command in (("rules", *sorted(PROMETHEUS.glob("*.rules.yml"))), ("config", PROMETHEUS / "prometheus.yml")):
        done = subprocess.run(["promtool", "check", *map(str, command)], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("name", sorted({it.alert for it in SCENARIOS}))
def test_each_alert_fires_when_it_should_and_is_quiet_when_it_should(name: str, tmp_path: Path) -> None:
    """Promtool plays every scenario of the alert against the rules as they are shipped, looked at once a minute."""
    for file, text in rule_files(read_promises(), interval_s=60).items():
        (tmp_path / file).write_text(text)
    rules = [file.name for file in tmp_path.iterdir()]
    tests = tmp_path / "tests.yml"
    tests.write_text(promtool_document(rules, [it for it in SCENARIOS if it.alert == name]))
    done = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_budgets_are_spent_as_the_workbook_says() -> None:
    """The rates use 2 %, 5 % and 10 % of the budget of 30 days within their long window."""
    spent = [rate.factor * rate.long_s / (30 * 86_400) for rate in BURN_RATES]
    assert spent == pytest.approx([0.02, 0.05, 0.10])
    assert len({measure.alert for measure in MEASURES}) == len(MEASURES)
