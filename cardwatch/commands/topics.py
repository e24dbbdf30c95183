"""`cardwatch topics`: list the topics as they should be and as they are; make the missing ones."""

from __future__ import annotations

import argparse

from cardwatch import kafka
from cardwatch.commands.common import layers_of
from cardwatch.errors import EXIT_FAILED, EXIT_OK, SettingsError
from cardwatch.services import connected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch topics`."""
    parser.add_argument("--create", action="store_true", help="make the missing ones")


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch topics`.

    Returns:
        0 if all topics are as they should be, else 1.

    Raises:
        CardwatchError: settings are wrong, the broker does not answer or refuses a topic.
    """
    settings = connected(layers_of(args), redis=False).kafka
    findings = kafka.compare_topics(settings, kafka.look_at(settings))
    missing = [finding.name for finding in findings if finding.found is None]
    if args.create and missing:
        if settings.embedded:
            message = "the embedded broker makes its topics when it starts; --create is for a real one"
            raise SettingsError(message)
        kafka.create_topics(settings, missing)
        findings = kafka.compare_topics(settings, kafka.look_at(settings))
    for finding in findings:
        found = "missing" if finding.found is None else f"{finding.found} partitions"
        print(f"{finding.name:32} {found}{'' if finding.right else f', must have {finding.wanted}'}")
    return EXIT_OK if all(finding.right for finding in findings) else EXIT_FAILED
