"""`cardwatch doctor`: is everything that cardwatch needs there, and as it should be? Each finding says what to do."""

from __future__ import annotations

import argparse

from cardwatch import diagnosis
from cardwatch.commands.common import layers_of
from cardwatch.diagnosis import Finding, Grade
from cardwatch.embedded import DataDirectory
from cardwatch.errors import EXIT_FAILED, EXIT_OK
from cardwatch.services import RunningServices, connected
from streams.clock import epoch_ms

_MARKS = {Grade.GOOD: "ok   ", Grade.DOUBTFUL: "look ", Grade.WRONG: "WRONG"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch doctor`."""
    parser.add_argument(
        "--broker-clock", action="store_true", help="compare the broker's clock too: makes a topic and removes it again"
    )


def run(args: argparse.Namespace) -> int:
    """Check everything and print what was found.

    Returns:
        0 if nothing is wrong, else 1.

    Raises:
        CardwatchError: a setting is wrong, or neither services nor a demo are there to be looked at.
    """
    settings = connected(layers_of(args))
    demo = RunningServices.find(DataDirectory(settings.data.directory))
    findings: list[Finding] = [Finding(Grade.GOOD, "settings: read")]
    findings += diagnosis.check_secrets(settings)
    findings += diagnosis.check_sign_in(settings, epoch_ms, is_demo=demo is not None)
    findings += diagnosis.check_ports(settings, demo)
    findings += diagnosis.check_kafka(settings.kafka, epoch_ms())
    if args.broker_clock:
        findings += diagnosis.check_broker_clock(settings.kafka, epoch_ms)
    findings += diagnosis.check_redis(settings.redis, epoch_ms)
    findings += diagnosis.check_endpoints(settings)
    for finding in findings:
        print(f"{_MARKS[finding.grade]}  {finding.what}")
        if finding.remedy:
            print(f"       -> {finding.remedy}")
    wrong = sum(finding.grade is Grade.WRONG for finding in findings)
    print(f"{len(findings)} checks, {wrong} wrong")
    return EXIT_FAILED if wrong else EXIT_OK
