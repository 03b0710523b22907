"""``autotc validate``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autotc.cli.command import Command
from autotc.cli.output import Output
from autotc.errors import AutotcError, PolicyError, one_line

if TYPE_CHECKING:
    from autotc.depths import Depths
    from autotc.policy import Policy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a .yaml policy or search space, a .jsonl data file"
    )


def run(args: argparse.Namespace) -> Output:
    """Check files without running them."""
    files = []
    for path in args.files:
        try:
            files.append({"file": str(path), "kind": _validate(path), "valid": True, "message": None})
        except AutotcError as error:
            files.append({"file": str(path), "kind": None, "valid": False, "message": one_line(error)})
            print(f"autotc validate: {one_line(error)}", file=sys.stderr)
    text = "\n".join(f"{f['file']}: a valid {f['kind']}" for f in files if f["valid"])
    return Output(files, text, 0 if all(f["valid"] for f in files) else 2)


def _validate(path: Path) -> str:
    """Kind of a file that is right."""
    import yaml

    from autotc.policy import Policy

    if path.suffix == ".jsonl":
        from autotc.evaluate.records import load_jsonl, split_records

        split_records(load_jsonl(path), seed=0)
        return "data file"
    # Space and policy are told apart by a key that only one of them has; a file that is neither is told as a policy.
    with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        head = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(head, dict) and "modalities" in head:
            from autotc.search.space import SearchSpace

            SearchSpace.load(path)
            return "search space"
    policy = Policy.load(path)
    _validate_policy(policy, path)
    return "policy"


def _validate_policy(policy: Policy, path: Path) -> None:
    """Rules on a policy, with the model's depths where its size is known without loading it.

    Raises:
        PolicyError: a rule refuses it.
    """
    from autotc.conflicts.rules import check_rules
    from autotc.models import ADAPTERS
    from autotc.models.fingerprint import config_fingerprint

    depths: Depths | None = None
    locations = None
    if policy.model is not None:
        adapters = [adapter for adapter in ADAPTERS if policy.model.architecture in adapter.architectures]
        if not adapters:
            known = ", ".join(name for adapter in ADAPTERS for name in adapter.architectures)
            raise PolicyError(
                f"{path}: model.architecture: {policy.model.architecture!r} is not supported; supported: {known}"
            )
        from autotc.models.published import PUBLISHED, published_config
        from autotc.tiny.config import build_config

        locations = {str(modality): places for modality, places in adapters[0].locations.items()}
        names = [name for name, (architecture, _) in PUBLISHED.items() if architecture == policy.model.architecture]
        configs = [published_config(name) for name in names]
        if policy.model.architecture == "Qwen2_5OmniThinkerForConditionalGeneration":
            configs.append(build_config())
        for config in configs:
            if policy.model.fingerprint == config_fingerprint(config, adapters[0].structural):
                depths = adapters[0].depths(config)
    try:
        check_rules(policy, depths=depths, locations=locations)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


COMMAND = Command(
    name="validate",
    function="validate",
    summary="check policy, search space and data files without running them",
    examples=("autotc validate policies/x.yaml space.yaml data.jsonl",),
    add_arguments=add_arguments,
    run=run,
)
