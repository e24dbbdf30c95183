"""`cardwatch topics list|diff|apply`: the topics as they should be and as they are; what differs, and making it so."""

from __future__ import annotations

import argparse

from cardwatch import kafka, topic_changes
from cardwatch.commands.common import layers_of
from cardwatch.errors import EXIT_FAILED, EXIT_OK, SettingsError
from cardwatch.services import connected
from cardwatch.settings import KafkaSettings
from cardwatch.topic_changes import Difference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch topics`."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "diff", "apply"),
        default="list",
        help="list them (the default); say what differs from what cardwatch needs, and what that means; make missing "
        "ones and set what differs, but delete nothing, add no partitions, and leave other settings alone",
    )


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch topics`.

    Returns:
        0 if all topics are as they should be (with apply: are now), else 1.

    Raises:
        CardwatchError: settings are wrong, the broker does not answer or refuses a topic.
    """
    settings = connected(layers_of(args), redis=False).kafka
    return {"list": _list, "diff": _diff, "apply": _apply}[args.action](settings)


def _list(settings: KafkaSettings) -> int:
    findings = kafka.compare_topics(settings, kafka.look_at(settings))
    for finding in findings:
        found = "missing" if finding.found is None else f"{finding.found} partitions"
        print(f"{finding.name:32} {found}{'' if finding.right else f', must have {finding.wanted}'}")
    return EXIT_OK if all(finding.right for finding in findings) else EXIT_FAILED


def _diff(settings: KafkaSettings) -> int:
    found = topic_changes.differences(settings, kafka.look_at(settings))
    _show(found)
    if settings.embedded:
        print("the embedded broker has no settings of topics: only partitions were compared")
    print(f"{len(found)} differences" if found else "nothing differs")
    return EXIT_FAILED if found else EXIT_OK


def _apply(settings: KafkaSettings) -> int:
    if settings.embedded:
        message = "the embedded broker makes its topics when it starts; apply is for a real one"
        raise SettingsError(message)
    found = topic_changes.differences(settings, kafka.look_at(settings))
    for line in topic_changes.apply(settings, found):
        print(line)
    left = [each for each in found if not each.can_be_applied]
    if left:
        print("not done:")
        _show(left)
    elif not found:
        print("nothing differs")
    return EXIT_FAILED if left else EXIT_OK


def _show(found: list[Difference]) -> None:
    for each in found:
        print(f"{each.topic}: {each.setting} is {each.found}, should be {each.wanted}")
        print(f"    payers  {each.means}")
        print(f"    apply   {each.remedy}")
