"""The metrics of running processes, as Prometheus would scrape them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cardwatch.embedded import DataDirectory
from cardwatch.metrics import read_url
from cardwatch.services import RunningServices
from cardwatch.system import ROLES
from tests.cardwatch.test_demo import STORY_S, demo_command, demo_environment
from tests.services.process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.compiled, pytest.mark.timeout(600)]


@pytest.fixture
def running_demo(tmp_path: Path) -> Iterator[DataDirectory]:
    """All processes, with payments flowing through them."""
    data = DataDirectory(tmp_path / "data")
    with (tmp_path / "demo.log").open("wb") as log:
        process = subprocess.Popen(
            demo_command(data.root, "--rate", "20"), stdout=log, stderr=log, env=demo_environment()
        )
    try:
        wait_until(
            lambda: RunningServices.find(data) is not None or process.poll() is not None,
            seconds=STORY_S,
            what="the demo is ready",
        )
        assert process.poll() is None, (tmp_path / "demo.log").read_text()
        yield data
    finally:
        process.terminate()
        process.wait(120)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say_of_running_processes(running_demo: DataDirectory) -> None:
    """Names, units and help texts of every role and of the API follow Prometheus' conventions."""
    said: dict[str, bytes] = {}
    for name in (*ROLES, "api"):
        url = read_url(running_demo, name)
        assert url is not None
        scraped = httpx.get(f"{url}/metrics", headers={"accept": "text/plain"}, timeout=30)
        assert scraped.is_success
        assert "cardwatch_" in scraped.text
        done = subprocess.run(["promtool", "check", "metrics"], input=scraped.content, capture_output=True, check=False)
        said[name] = done.stdout + done.stderr + (b"" if done.returncode == 0 else b"failed")
    assert said == dict.fromkeys(said, b"")
