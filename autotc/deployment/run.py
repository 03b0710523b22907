"""`autotc.export`: a policy as the settings of a serving engine, or the nearest that the engine can express."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autotc.deployment.nearest import measured_accuracy, sample_flops, with_stand_ins
from autotc.errors import DataError
from autotc.evaluate.base import Evaluator
from autotc.evaluate.embedded import embedded_evaluator
from autotc.export import Flops, Target, get_engine, plan_export
from autotc.export.estimate import Estimate
from autotc.files import write_text
from autotc.models.checkpoints import Checkpoint, find_checkpoint, is_embedded, policy_checkpoint
from autotc.policy import Policy, read_policy
from autotc.ranges import check_count
from autotc.records.export import Export, FlopsPair
from autotc.vocabulary import MODALITIES


@dataclass(frozen=True)
class Served:
    """What is to be served.

    Attributes:
        model: name of the checkpoint, for the settings; also looked at for its shape. None takes the policy's.
        architecture: class of the model, where the policy's model stands in for it; None takes the policy's, and any
            where it names none.
        pixels: of every image that will be asked about, for input stages.
        policy_file: that will hold the policy which is served, for an engine that reads policies; None takes the file
            that the policy came from, where it is served as it is.
    """

    model: str | Checkpoint | None = None
    architecture: str | None = None
    pixels: int | None = None
    policy_file: str | Path | None = None

    @property
    def name(self) -> str:
        """Of the model, in the settings."""
        known = self.model.name if isinstance(self.model, Checkpoint) else self.model
        return known or "MODEL"

    def target(self, source: str | Path | None) -> Target:
        """What settings are written for; ``source``: file of the policy where it is served as it is."""
        file = self.policy_file or source
        return Target(self.name, self.pixels, *(() if file is None else (str(file),)))


def export(
    policy: Policy | str | Path,
    to: str,
    evaluator: Evaluator | None = None,
    *,
    served: Served | None = None,
    measure: bool | None = None,
    limit: int | None = None,
) -> Export:
    """Settings of a serving engine for a policy, or for the nearest that the engine can run.

    Args:
        policy: to deploy, or its file.
        to: name of the engine: ``vllm`` (with autotc's plug-in), ``vllm-built-in``, ``sglang``, ``tensorrt-llm``,
            ``tensorrt-edge-llm`` or ``openvino``.
        evaluator: measures the nearest policy's accuracy beside the policy's. Where several mechanisms could stand in,
            the validation split decides; numbers are of the test split. None takes the embedded benchmark, where the
            policy is for the embedded model.
        served: model, architecture, pixels and the policy's file.
        measure: whether to measure; None measures where there is something to measure on.
        limit: samples of each modality group to measure; None takes all.

    Raises:
        PolicyError: there is no such engine, or the policy file is wrong.
        DataError: there is nothing to measure on though it was asked for, the data lacks a modality, or a number is no
            whole number from 1.

    Example:
        >>> exported = autotc.export("policies/qwen2.5-vl-7b/evs-0.25.yaml", "vllm")  # doctest: +SKIP
        >>> exported.deployment.command  # doctest: +SKIP
    """
    source = None if isinstance(policy, Policy) else policy
    policy, engine, served = read_policy(policy), get_engine(to), served or Served()
    for name, number in (("limit", limit), ("pixels", served.pixels)):
        if number is not None:
            check_count(number, name)
    evaluator = _measured_on(policy, evaluator, served, measure)
    checkpoint = known_checkpoint(policy, served)
    architecture = served.architecture or (
        None if served.model is None or checkpoint is None else checkpoint.bound.architecture
    )
    flops: Flops | None = None
    if evaluator is not None:
        flops = sample_flops(evaluator)
    elif checkpoint is not None:
        flops = Estimate(checkpoint.bound)
    plan = plan_export(policy, engine, architecture, pixels=served.pixels)
    deployed = plan.deployed
    if plan.refused:
        plan, deployed = with_stand_ins(plan, policy, flops, evaluator, limit)
    accuracy = difference = None
    if evaluator is not None and plan.refused:
        accuracy, difference = measured_accuracy(evaluator, policy, deployed, limit)
    costs: dict[str, FlopsPair] | None = None
    if flops is not None:
        touched = [modality for modality in MODALITIES if modality in policy.modalities]
        costs = {m: FlopsPair(flops(policy, m), flops(deployed, m)) for m in touched}
    deployment = engine.render(deployed, served.target(None if plan.refused else source))
    return Export(plan, deployed, deployment, costs, accuracy, difference)


def _measured_on(policy: Policy, evaluator: Evaluator | None, served: Served, measure: bool | None) -> Evaluator | None:
    """What measures; None where nothing is to be measured, or nothing can be."""
    embedded = served.model is None and is_embedded(policy)
    if measure is False:
        return None
    if evaluator is None and embedded:
        return embedded_evaluator()
    if evaluator is None and measure:
        raise DataError("--measure: there is nothing to measure on; give --model and --data FILE")
    return evaluator


def known_checkpoint(policy: Policy, served: Served) -> Checkpoint | None:
    """What is known of the model to be served: as it was given, or by the policy's reference.

    Raises:
        DataError: there is no such checkpoint.
    """
    if served.model is None:
        return policy_checkpoint(policy)
    return served.model if isinstance(served.model, Checkpoint) else find_checkpoint(served.model)


def write_config(path: str | Path, config: Mapping[str, Any], option: str = "--out") -> Path:
    """Write an engine's configuration file, JSON where its name says so, else YAML; returns its path.

    Args:
        path: of the file.
        config: as in `Deployment`.
        option: that named the file, for errors.

    Raises:
        DataError: it cannot be written.
    """
    contents = dict(config)
    if not Path(path).absolute().parent.is_dir():
        raise DataError(f"{option}: {path} cannot be written (no such folder); give another file")
    as_json = Path(path).suffix == ".json"
    text = json.dumps(contents, indent=2) + "\n" if as_json else yaml.safe_dump(contents, sort_keys=False)
    return write_text(path, text, option)
