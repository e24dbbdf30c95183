"""`cardwatch warm`: compile the kernels, train the demo's first model, and publish it where there is none."""

from __future__ import annotations

import argparse
import time

from cardwatch import warm
from cardwatch.commands.common import layers_of
from cardwatch.embedded import DataDirectory
from cardwatch.errors import EXIT_OK, SettingsError
from cardwatch.services import connected
from detector.errors import DetectorError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch warm`."""
    parser.add_argument("--publish", action="store_true", help="publish the model, unless Kafka has one already")


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch warm`.

    Raises:
        CardwatchError: a setting is wrong, or Kafka does not take the model.
    """
    layers = layers_of(args)
    settings = connected(layers, redis=False) if args.publish else layers.load()
    data = DataDirectory(settings.data.directory)
    data.create()
    began_s = time.monotonic()
    try:
        model, trained = warm.warm_model(settings, data.cache)
    except DetectorError as error:
        raise SettingsError(str(error)) from error
    took_s = time.monotonic() - began_s
    how = f"trained in {took_s:.1f} s" if trained else "kept from an earlier run"
    print(f"{model.name}: {model.examples_learned:,} examples, {model.frauds_learned:,} frauds, {how}")
    if args.publish:
        published = warm.publish(settings.kafka, model)
        print("published" if published else "Kafka has a model already; nothing was published")
    return EXIT_OK
