"""``autotc models``."""

from __future__ import annotations

import argparse

from autotc.cli.command import Command
from autotc.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(args: argparse.Namespace) -> Output:
    """List the model families."""
    from autotc.models import ADAPTERS
    from autotc.report.tables import table
    from autotc.vocabulary import LOCATIONS

    document = [
        {
            "family": adapter.family,
            "architectures": list(adapter.architectures),
            "locations": {modality: list(places) for modality, places in adapter.locations.items()},
            "refused": {modality: dict(places) for modality, places in adapter.refused.items()},
        }
        for adapter in ADAPTERS
    ]
    rows = [
        [adapter.family if first else "", modality, *("yes" if place in places else "-" for place in LOCATIONS)]
        for adapter in ADAPTERS
        for first, (modality, places) in zip([True, False, False], adapter.locations.items(), strict=False)
    ]
    lines = [table(["family", "modality", *LOCATIONS], rows), "", "classes of transformers:"]
    lines += [f"  {adapter.family:16s} {', '.join(adapter.architectures)}" for adapter in ADAPTERS]
    lines += ["", "what a family does not offer, and why:"]
    lines += [
        f"  {adapter.family:16s} {modality}, {location}: {reason}"
        for adapter in ADAPTERS
        for modality, places in adapter.refused.items()
        for location, reason in places.items()
    ]
    lines += ["", "another family is one file in autotc/models/; README, 'Add a model family'"]
    return Output(document, "\n".join(lines))


COMMAND = Command(
    name="models",
    function="models",
    summary="list the model families that policies can be applied to",
    examples=("autotc models",),
    add_arguments=add_arguments,
    run=run,
)
