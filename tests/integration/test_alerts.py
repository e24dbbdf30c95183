"""A running system under Debian's Prometheus: each fault pages the one it should and nobody else.

While a fault lasts, the commands of its runbook are executed. Afterwards every panel of every dashboard has data, and
the commands of the other runbooks work as well.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.drill import Drill, Fault
from benchmarks.faults import FAULTS
from cardwatch.monitoring.panels import DASHBOARDS, RATE
from tests.integration.runbooks import FOLDER, commands_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.compiled,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed"),
]

# Of the drill's rates; Grafana chooses its own.
_WINDOW = "1m"
_FILLED_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def drill(warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """One system for all faults, one after the other."""
    folder = tmp_path_factory.mktemp("drill")
    (folder / "data").mkdir(mode=0o700)
    shutil.copytree(warm_cache, folder / "data" / "cache")
    running = Drill(folder)
    yield running
    running.stop()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_pages_whom_it_should(drill: Drill, fault: Fault) -> None:
    """The alert comes, nothing else pages meanwhile, and its runbook's commands show what the page says."""
    assert drill.until_quiet(), drill.watched.firing("page")
    problems: list[str] = []

    def follow_the_runbook() -> None:
        problems.extend(filter(None, (command.problem(drill.system.data.root) for command in commands_of(fault.alert))))

    told = drill.play(fault, follow_the_runbook)
    assert told.seconds is not None, f"{fault.alert} did not come"
    assert told.pages <= fault.may_page
    assert problems == []


def test_every_panel_has_data(drill: Drill) -> None:
    """Each query of each dashboard is one that this Prometheus answers with series."""
    for path in ("/livez", "/v1/cards/nobody"):
        httpx.get(drill.system.api_url + path)
    queries = {
        (board.uid, panel.title, query.expression.replace(RATE, _WINDOW))
        for board in DASHBOARDS
        for panel in board.panels
        for query in panel.queries
    }
    empty = set(queries)

    def all_filled() -> bool:
        empty.difference_update({it for it in set(empty) if drill.watched.query(it[2])})
        return not empty

    drill.until(all_filled, _FILLED_WITHIN_S)
    assert empty == set()


def test_the_commands_of_all_runbooks_work(drill: Drill) -> None:
    """Also of those whose fault is not injected here: a page that is followed half asleep must not lead astray."""
    assert drill.until_quiet(), drill.watched.firing("page")
    faults = {fault.alert for fault in FAULTS}
    pages = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem not in faults)
    data = drill.system.data.root
    wanted = list(dict.fromkeys(command for page in pages for command in commands_of(page)))
    assert [found for command in wanted if (found := command.problem(data))] == []
