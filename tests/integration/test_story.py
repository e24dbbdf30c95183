"""The whole story on a real Kafka and Debian's Redis; on embedded services `tests/cardwatch/test_demo.py` plays it."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.cardwatch.test_demo import STEPS, STORY_S, demo_command, processes_of
from tests.integration.installation import Installation

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.compiled, pytest.mark.timeout(600)]


def test_the_whole_story_happens_on_real_servers(installation: Installation) -> None:
    """Pointed at a broker and a Redis by flags, the demo starts neither, and every step happens there; exit code 0."""
    given = dict(installation.environment)
    broker = given.pop("CARDWATCH_KAFKA__BOOTSTRAP_SERVERS")
    redis = given.pop("CARDWATCH_REDIS__URL")
    ended = subprocess.run(
        demo_command(
            installation.data, "--until-case", "--timeout", str(STORY_S), "--broker", broker, "--redis", redis
        ),
        capture_output=True,
        text=True,
        check=False,
        env=given | {"PYTHONUNBUFFERED": "1"},
    )
    told = ended.stdout + ended.stderr
    assert ended.returncode == 0, told
    assert tuple(re.findall(r"^\[ *[\d.]+ s\] ([a-zA-Z ]+)", ended.stdout, re.MULTILINE)) == STEPS, told
    assert f"the broker at {broker}" in ended.stdout
    assert not installation.data.joinpath("logs", "kafka.log").exists()
    assert not installation.data.joinpath("logs", "redis.log").exists()
    assert processes_of(installation.data) == []
