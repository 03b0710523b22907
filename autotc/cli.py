"""The command line: one thin command each; the work is in functions that a notebook can call.

stdout holds the result alone (with ``--json`` one JSON document), stderr progress and errors. Exit code 0: done; 1: a
check failed; 2: the user's input is wrong, told in one line; 130: interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from autotc.errors import AutotcError, DataError, PolicyError

# Nothing else is imported here: torch reads OMP_WAIT_POLICY when it is loaded, and --help must not wait for it.
if TYPE_CHECKING:
    from autotc.conflicts.pairs import Place
    from autotc.evaluate.model import ModelEvaluator
    from autotc.latency import LatencyModel
    from autotc.models.base import Depths
    from autotc.models.loading import Checkpoint
    from autotc.policy import ModelReference, Policy, Stage
    from autotc.search.space import SearchSpace
    from autotc.vocabulary import Modality, Split

RUNS = Path("runs")
ENGINE_NAMES = ("vllm", "sglang", "tensorrt-llm", "openvino")
"""Of `autotc.export.ENGINES`, which --help must not wait for."""
BENCH_TOKENS = 1024
"""Media tokens of a random request, where it is not said."""
LOADING = ("dtype", "device_map", "attn_implementation", "revision", "trust_remote_code")
"""Options of every command that loads a model."""
PHASES = {
    "uncompressed": "evaluating the uncompressed model",
    "val": "ranking the front on the validation split",
    "test": "measuring the front on the test split",
}
EXTRAS = {
    "lmms_eval": "lmms",
    **dict.fromkeys(
        ("optuna", "mlflow", "moocore", "plotly", "matplotlib", "rich", "pandas", "pyarrow", "sklearn", "scipy"),
        "search",
    ),
    **dict.fromkeys(("soundfile", "PIL", "torchvision"), "search"),
}
"""Package -> the extra that brings it."""


@dataclass(frozen=True)
class Outcome:
    """What a command found.

    Attributes:
        data: printed with ``--json``.
        text: printed without.
        code: exit code.
    """

    data: Any
    text: str
    code: int = 0


class _Parser(argparse.ArgumentParser):
    """Tells a wrong argument in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {_one_line(message)}; see {self.prog} --help\n")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _ratio(text: str) -> float:
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 < value <= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} given; a ratio in (0, 1] is right")


def _budget(text: str) -> tuple[float | None, float | None]:
    """A FLOPs ratio, or milliseconds."""
    with contextlib.suppress(ValueError):
        if not text.endswith("ms"):
            return _ratio(text), None
        value = float(text.removesuffix("ms"))
        if 0 < value < math.inf:
            return None, value
    raise argparse.ArgumentTypeError(f"{text!r} given; a ratio in (0, 1], or milliseconds such as 300ms, is right")


def _ratios(text: str) -> list[float]:
    return [_ratio(part) for part in text.split(",")]


def _keeps(text: str) -> list[tuple[float, float]]:
    """Settings such as ``0.5:0.25,0.3:0.1``."""
    out = []
    for part in text.split(","):
        ratios = [_ratio(ratio) for ratio in part.split(":")]
        if len(ratios) != 2 or ratios[1] >= ratios[0]:
            raise argparse.ArgumentTypeError(
                f"{part!r} given; FIRST:SECOND is right, both of the uncompressed count, the second lower, e.g. 0.5:0.2"
            )
        out.append((ratios[0], ratios[1]))
    return out


def _names(text: str) -> list[str] | str:
    return "all" if text == "all" else [part.strip() for part in text.split(",")]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _whole(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def _several(text: str) -> int:
    value = _positive(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text!r} given; a whole number from 2 is right")
    return value


def _fall(text: str) -> float:
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 <= value <= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} given; a fall in accuracy in [0, 1], e.g. 0.03, is right")


def _positive(text: str) -> int:
    with contextlib.suppress(ValueError):
        value = int(text)
        if value >= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} given; a whole number from 1 is right")


def _seed(text: str) -> int:
    with contextlib.suppress(ValueError):
        value = int(text)
        if 0 <= value < 2**32:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} given; a whole number from 0 is right")


def _evaluator(args: argparse.Namespace, seed: int) -> ModelEvaluator:
    """The evaluator that the arguments ask for."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    sizes: dict[str, Any] = {}
    if hasattr(args, "tasks"):  # a command that can run lmms-eval's tasks
        _one_source(args)
        if args.batch_size is not None:
            sizes["batch_size"] = args.batch_size
        if args.tasks is not None:
            return _lmms_evaluator(args, sizes, seed)
    if args.data is None:
        if args.metric is not None:
            raise DataError(
                f"--metric: {args.metric!r} given without --data or --tasks; the embedded benchmark has its own"
            )
        from autotc.evaluate.builtin import BuiltinEvaluator

        return BuiltinEvaluator(*_load(args), seed=seed, **sizes)
    from autotc.evaluate.jsonl import JsonlEvaluator, load_jsonl, split_records

    split_records(load_jsonl(args.data), seed)  # a wrong file is told before the model is loaded
    return JsonlEvaluator(args.data, *_load(args), metric=args.metric or "exact", seed=seed, **sizes)


def _one_source(args: argparse.Namespace) -> None:
    """See that --evaluator, --data and --tasks say the same."""
    if args.data is not None and args.tasks is not None:
        raise DataError("--tasks: given with --data; one of the two is right")
    given = "jsonl" if args.data is not None else "lmms" if args.tasks is not None else "builtin"
    if args.evaluator not in (None, given):
        needs = {"lmms": "needs --tasks NAMES", "jsonl": "needs --data FILE.jsonl"}
        raise DataError(f"--evaluator: {args.evaluator} {needs.get(args.evaluator, 'takes no --data and no --tasks')}")
    if args.task_folder is not None and args.tasks is None:
        raise DataError("--task-folder: given without --tasks; name tasks of the folder")


def _lmms_evaluator(args: argparse.Namespace, sizes: dict[str, Any], seed: int) -> ModelEvaluator:
    """The evaluator on tasks of lmms-eval; what is wrong with them is told before the model is loaded."""
    import time

    from autotc.evaluate.lmms import require_lmms_eval

    require_lmms_eval()
    from autotc.evaluate.lmms.evaluator import LmmsEvaluator
    from autotc.evaluate.lmms.tasks import load_tasks

    start = time.perf_counter()
    tasks = load_tasks(args.tasks, args.task_folder)
    loaded = time.perf_counter()
    model, processor = _load(args)
    spent = time.perf_counter() - loaded
    evaluator = LmmsEvaluator(
        tasks, model, processor, metric=args.metric, limit=args.limit, seed=seed, **sizes
    )  # fmt: skip
    evaluator.phases.add("tasks", loaded - start)
    evaluator.phases.add("model loading", spent)
    return evaluator


def _untouched(evaluator: ModelEvaluator, policy: Policy, split: Split) -> list[str]:
    """Tasks of lmms-eval that a policy leaves as they are, told on stderr."""
    from autotc.evaluate.lmms.evaluator import LmmsEvaluator

    if not isinstance(evaluator, LmmsEvaluator) or not policy.stages:
        return []
    found = evaluator.untouched(policy, split)
    for task, group in found.items():
        print(f"warning: {task}: the policy has no stage for {group}; its samples run uncompressed", file=sys.stderr)
    return sorted(found)


def _load(args: argparse.Namespace) -> tuple[Any, Any]:
    """Model and processor that the arguments ask for; (None, None) for the embedded model as it is."""
    if args.model is not None:
        from autotc.models.loading import load

        return load(args.model, **{name: getattr(args, name) for name in LOADING if getattr(args, name)})
    for name in ("revision", "trust_remote_code"):
        if getattr(args, name):
            raise DataError(f"--{name.replace('_', '-')}: given without --model; it is of a checkpoint on the hub")
    if not any(getattr(args, name) for name in LOADING):
        return None, None
    from autotc.tiny import load as load_embedded

    model, processor = load_embedded()
    return _placed(model, args), processor


def _placed(model: Any, args: argparse.Namespace) -> Any:
    """A model on the device, in the dtype and with the attention that were asked for."""
    from autotc.models.loading import usable_device, usable_dtype

    if args.attn_implementation is not None:
        try:
            model.set_attn_implementation(args.attn_implementation)
        except (ValueError, ImportError) as error:
            raise DataError(f"--attn-implementation: {_one_line(error)[:300]}") from error
    return model.to(usable_device(args.device_map), usable_dtype(args.dtype or "auto"))


def _checkpoint(args: argparse.Namespace, name: str | None) -> Checkpoint:
    """What a name stands for."""
    from autotc.models.loading import find_checkpoint

    return find_checkpoint(name, revision=args.revision, trust_remote_code=args.trust_remote_code)


def _policy(argument: str) -> Policy:
    """The policy of an argument: a file, or ``none`` for the uncompressed model."""
    from autotc.policy import UNCOMPRESSED, Policy

    return UNCOMPRESSED if argument == "none" else Policy.load(argument)


def _interval(value: Sequence[float]) -> list[float]:
    return [round(float(x), 6) for x in value]


def evaluate(args: argparse.Namespace) -> Outcome:
    """``autotc eval``."""
    from autotc.report.tables import ProgressBar, eval_table

    policy = _policy(args.policy)
    evaluator = _evaluator(args, args.split_seed)
    untouched = _untouched(evaluator, policy, args.split) if args.tasks is not None else []
    cost = evaluator.cost(policy, args.split)
    with ProgressBar("eval") as progress:
        results = evaluator.run(policy, args.split, limit=args.limit, progress=progress)
    data = {
        "policy": args.policy,
        "split": args.split,
        "accuracy": {name: _interval(value) for name, value in results.accuracy().items()},
        "tasks": {name: _interval(value) for name, value in results.accuracy("task").items()},
        "chance": evaluator.info(args.split).chance,
        "flops_ratio": cost.flops_ratio,
        "flops": cost.flops,
        "tokens": cost.tokens,
        "samples": results.counts(),
        **_phases(evaluator),
    }
    if args.tasks is not None:
        data["untouched"] = untouched
    return Outcome(data, f"{policy.label()}\n\n{eval_table(data)}")


def _phases(evaluator: ModelEvaluator) -> dict[str, Any]:
    """Where an evaluator's time went, if it says."""
    phases = getattr(evaluator, "phases", None)
    return {} if phases is None else {"phases": phases.to_json()}


def check(args: argparse.Namespace) -> Outcome:
    """``autotc check``."""
    from autotc.check import check as run_check
    from autotc.check import load_measured
    from autotc.report.tables import ProgressBar, findings_table

    policy, measured, split = load_measured(args.policy)
    if args.tasks is not None and args.limit is None:
        args.limit = max(measured.samples.values(), default=None)  # no more than was measured need be read
    evaluator = _evaluator(args, measured.seed)
    if args.tasks is not None:
        _untouched(evaluator, policy, split)
    with ProgressBar("check") as progress:
        report = run_check(evaluator, args.policy, tolerance=args.tolerance, limit=args.limit, progress=progress)
    if args.junit is not None:
        try:
            args.junit.write_text(report.to_junit(), encoding="utf-8")
        except OSError as error:
            raise DataError(f"--junit: {args.junit} cannot be written ({error.strerror}); give another file") from error
    data = report.to_json()
    return Outcome(data, findings_table(data["findings"], report.passed), 0 if report.passed else 1)


def compare(args: argparse.Namespace) -> Outcome:
    """``autotc compare``."""
    from autotc.compare import COSTS, KEEPS, TOKENS, compare_locations, compare_presets
    from autotc.mechanisms import build_mechanism
    from autotc.presets import get_preset
    from autotc.report.tables import ProgressBar

    # What is wrong is told before the model is loaded.
    for name in args.presets if args.presets != "all" else []:
        get_preset(name)
    if args.by == "location":
        build_mechanism(args.mechanism)
    evaluator = _evaluator(args, args.split_seed)
    shared: dict[str, Any] = {
        "split": args.split,
        "limit": args.limit,
        "runs": args.runs,
        "mlflow_uri": args.tracking_uri,
    }
    with ProgressBar("compare") as progress:
        if args.by == "location":
            found = compare_locations(
                evaluator, args.mechanism, keeps=args.keeps or KEEPS, name=args.name, progress=progress, **shared
            )
        else:
            neither = args.tokens is None and args.cost is None
            found = compare_presets(
                evaluator,
                args.presets,
                tokens=TOKENS if neither else args.tokens or (),
                costs=COSTS if neither else args.cost or (),
                name=args.name or "compare",
                progress=progress,
                **shared,
            )
    text = found.files[0].read_text(encoding="utf-8")
    return Outcome(found.to_json(), text + "\n" + "\n".join(f"written  {path}" for path in found.files))


def conflicts(args: argparse.Namespace) -> Outcome:
    """``autotc conflicts``."""
    from autotc.conflicts.interaction import measure
    from autotc.conflicts.pairs import Pair, default_places, legal_pairs, parse_pairs
    from autotc.report.tables import ProgressBar
    from autotc.vocabulary import MODALITIES

    if args.pairs is not None and args.space is not None:
        raise PolicyError("--space: given with --pairs; one of the two says which pairs are measured")
    space = None
    if args.space is not None:
        from autotc.search.space import SearchSpace

        space = SearchSpace.load(_space(args.space))  # a wrong file is told before the model is loaded
    evaluator = _evaluator(args, args.split_seed)
    held = evaluator.info(args.split).samples
    modalities = [m for m in MODALITIES if m in held and m in (args.modality or MODALITIES)]
    if not modalities:
        raise DataError(f"--modality: {args.split} holds no samples with one modality alone of what was asked for")
    keeps = args.keep or [(0.5, 0.25)]
    if args.pairs is not None:
        named = parse_pairs(args.pairs, evaluator.depths)
        pairs = [
            Pair(first, second, modality, keep)
            for modality in modalities
            for first, second in named
            for keep in keeps
            if first.takes(modality) and second.takes(modality)
        ]
    elif space is not None:
        pairs = [p for m in modalities for p in legal_pairs(evaluator, _space_places(space, m), [m], keeps)]
    else:
        pairs = list(legal_pairs(evaluator, default_places(evaluator.depths), modalities, keeps))
    with ProgressBar("conflicts") as progress:
        found = measure(
            evaluator,
            pairs,
            split=args.split,
            limit=args.limit,
            samples=args.samples,
            runs=args.runs,
            name=args.name or ("default" if args.limit is None else f"first-{args.limit}"),
            mlflow_uri=args.tracking_uri,
            progress=progress,
        )
    text = found.text() + "\n\n" + "\n".join(f"written  {path}" for path in found.files)
    return Outcome(found.to_json(), text)


def _space_places(space: SearchSpace, modality: Modality) -> list[Place]:
    """The choices of a space on a modality, each at the middle one of its layers."""
    from autotc.conflicts.pairs import Place

    choices = space.modalities[modality].choices if modality in space.modalities else ()
    return [
        Place(c.mechanism, c.location, sorted(c.layers)[len(c.layers) // 2] if c.layers else None, c.params)
        for c in choices
    ]


def show(args: argparse.Namespace) -> Outcome:
    """``autotc show``."""
    from autotc.report.tables import interval, table

    policy = _policy(args.policy)
    rows = [
        [
            stage.modality,
            stage.location,
            ", ".join("-" if layer is None else str(layer) for layer, _ in stage.steps()),
            stage.mechanism,
            stage.build().family,
            ", ".join(f"{ratio:g}" for _, ratio in stage.steps()),
            " ".join(f"{key}={value}" for key, value in stage.params.items()) or "-",
        ]
        for stage in policy.stages
    ]
    headers = ["modality", "location", "layer", "mechanism", "family", "keep ratio", "parameters"]
    lines = [table(headers, rows) if rows else "no stages: the uncompressed model"]
    if policy.model is not None:
        lines.append(f"\nmodel         {policy.model.architecture} {policy.model.fingerprint or '(any size)'}")
    if policy.measured is not None:
        measured = policy.measured
        counts = ", ".join(f"{count} {name}" for name, count in measured.samples.items())
        lines.append(f"measured on   {measured.evaluator} {measured.split}, seed {measured.seed}: {counts}")
        lines += [f"accuracy      {name} {interval(value)}" for name, value in measured.accuracy.items()]
        lines.append(f"FLOPs ratio   {measured.flops_ratio:.4f}")
        lines += [f"KV ratio      {measured.kv_ratio:.4f}"] if measured.kv_ratio is not None else []
        lines += [f"predicted     {measured.predicted_ms:g} ms"] if measured.predicted_ms is not None else []
        if measured.study is not None:
            lines.append(f"study         {measured.study}, trial {measured.trial}")
    data = {**policy.model_dump(mode="json", exclude_none=True), "hash": policy.content_hash()}
    return Outcome(data, "\n".join(lines))


def validate(args: argparse.Namespace) -> Outcome:
    """``autotc validate``."""
    files = []
    for path in args.files:
        try:
            files.append({"file": str(path), "kind": _validate(path), "valid": True, "message": None})
        except AutotcError as error:
            files.append({"file": str(path), "kind": None, "valid": False, "message": _one_line(error)})
            print(f"autotc validate: {_one_line(error)}", file=sys.stderr)
    text = "\n".join(f"{f['file']}: a valid {f['kind']}" for f in files if f["valid"])
    return Outcome(files, text, 0 if all(f["valid"] for f in files) else 2)


def _validate(path: Path) -> str:
    """Kind of a file that is right."""
    import yaml

    from autotc.policy import Policy

    if path.suffix == ".jsonl":
        from autotc.evaluate.jsonl import load_jsonl, split_records

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
        mine = [name for name, (architecture, _) in PUBLISHED.items() if architecture == policy.model.architecture]
        configs = [published_config(name) for name in mine]
        if policy.model.architecture == "Qwen2_5OmniThinkerForConditionalGeneration":
            configs.append(build_config())
        for config in configs:
            if policy.model.fingerprint == adapters[0].fingerprint(config):
                depths = adapters[0].depths(config)
    try:
        check_rules(policy, depths=depths, locations=locations)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


def presets(args: argparse.Namespace) -> Outcome:
    """``autotc presets``."""
    from autotc.presets.listing import entry, markdown, select
    from autotc.report.tables import table

    if args.name is not None:
        return _preset(args)
    if any(value is not None for value in (args.out, args.keep, args.model, args.calibrate)):
        raise PolicyError(
            "presets: --out, --keep, --model and --calibrate go with the name of a preset, e.g. autotc presets fastv"
        )
    chosen = select(
        family=args.family,
        location=args.location,
        modality=args.modality[0] if args.modality else None,
        needs=args.needs,
        paper=args.paper,
        flash_safe=args.flash_safe,
    )
    data = [entry(preset) for preset in chosen]
    if args.markdown:
        return Outcome(data, markdown(chosen))
    cell: Callable[[Any], str] = lambda v: (  # noqa: E731
        ", ".join(v) if isinstance(v, list) else "-" if v is None else {True: "yes", False: "no"}.get(v, str(v))
    )
    headers = ["name", "family", "modalities", "locations", "needs", "paper", "flash_safe"]
    rows = [[cell(line[key]) or "-" for key in headers] for line in data]
    return Outcome(data, table(headers, rows) if data else "no preset is like that")


def _preset(args: argparse.Namespace) -> Outcome:
    """One preset: what it is, or with a ratio or a file the policy it becomes."""
    from autotc.mechanisms import MECHANISMS
    from autotc.presets import get_preset
    from autotc.presets.listing import entry, preset_policy

    if args.name == "all":
        return _every_preset(args)
    preset = get_preset(args.name)
    if args.out is None and args.keep is None and args.model is None and args.calibrate is None:
        lines = [f"{preset.name}: {preset.family}, {', '.join(preset.modalities)}"]
        lines += [f"paper         https://arxiv.org/abs/{preset.paper}"] if preset.paper else []
        for part in preset.parts:
            layer = part.layer if isinstance(part.layer, tuple) else None
            where = part.location if layer is None else f"{part.location}, layer {layer[0]} of {layer[1]}"
            lines.append(f"part          {part.mechanism} at the {where}, published keep ratio {part.keep:.4g}")
            lines.append(f"              {MECHANISMS[part.mechanism].source}")
        lines.append(f"reads         {', '.join(preset.needs) or 'features alone'}")
        lines.append(f"FlashAttention  the published form {'runs' if preset.flash_safe else 'does not run'} under it")
        lines += [f"adaptation    {preset.adaptation}"] if preset.adaptation else []
        return Outcome(entry(preset), "\n".join(lines))
    if args.calibrate is not None:
        return _calibrated(args)
    found = _checkpoint(args, args.model)
    policy = preset_policy(args.name, args.keep, found.adapter, found.config, _reference(found), args.modality)
    return _written(policy, args.out)


def _reference(found: Checkpoint) -> ModelReference:
    """What a policy for a model says of it; without the fingerprint where the shape is known by name only."""
    from autotc.models.published import CONFIRMED, PUBLISHED
    from autotc.policy import ModelReference

    exact = found.name not in PUBLISHED or found.name in CONFIRMED
    fingerprint = found.adapter.fingerprint(found.config) if exact else None
    return ModelReference(architecture=found.architecture, fingerprint=fingerprint)


def _every_preset(args: argparse.Namespace) -> Outcome:
    """Every preset that the model takes, each as a file ``NAME-KEEP.yaml`` in a folder."""
    from autotc.presets.listing import every_policy

    if args.out is None or args.keep is None:
        raise PolicyError("presets all: --keep R and --out FOLDER are needed")
    found = _checkpoint(args, args.model)
    policies = every_policy(args.keep, found.adapter, found.config, _reference(found))
    files = []
    for name, policy in policies.items():
        files.append(args.out / f"{name}-{args.keep:g}.yaml")
        policy.save(files[-1])
    return Outcome({"policies": files}, f"wrote {len(files)} policies to {args.out}")


def _written(policy: Policy, out: Path | None) -> Outcome:
    """The policy as YAML, or where it was saved."""
    if out is None:
        return Outcome(policy.model_dump(mode="json", exclude_none=True), policy.to_yaml().rstrip())
    policy.save(out)
    return Outcome({"policy": out}, f"wrote {out}: {policy.label()}")


def _calibrated(args: argparse.Namespace) -> Outcome:
    """A preset fitted to the model on samples of the search split."""
    from autotc.evaluate.fitting import FITTED, fit_fitprune
    from autotc.policy import Policy

    if args.name not in FITTED:
        raise PolicyError(f"--calibrate: {args.name} has nothing to fit; it is for {', '.join(FITTED)}")
    evaluator = _evaluator(args, 0)
    keep = 0.5 if args.keep is None else args.keep
    stages: list[Stage] = []
    for modality in args.modality or [m for m in evaluator.modalities if m in evaluator.info("search").samples]:
        stages += fit_fitprune(evaluator, modality, keep, args.calibrate).stages
    note = f"preset {args.name} (arXiv 2409.10197), fitted on {args.calibrate} samples, accuracy not measured"
    return _written(Policy.of(stages, evaluator.model).model_copy(update={"note": note}), args.out)


def bench(args: argparse.Namespace) -> Outcome:
    """``autotc bench``."""
    from autotc.bench import bench as run_bench
    from autotc.report.tables import ProgressBar, bench_table

    if args.calibrate:
        return _calibrate(args)
    if args.policy is None:
        raise PolicyError("bench: a policy file is needed, none for the uncompressed model, or --calibrate")
    for name in ("mechanisms", "out"):
        if getattr(args, name) is not None:
            raise PolicyError(f"--{name}: given without --calibrate")
    policy = _policy(args.policy)
    model, cases = _bench_cases(args, policy)
    with ProgressBar("bench") as progress:
        rows = run_bench(
            model, policy, cases, repeats=args.repeats, new_tokens=args.new_tokens, progress=progress
        )  # fmt: skip
    from autotc.latency import Device

    found = [row.to_json() for row in rows]
    device = Device.of(model).model_dump()
    data = {"policy": args.policy, "device": device, **found[0], "rows": found}
    where = f"{device['name']}, {device['threads']} threads, {device['dtype']}"
    return Outcome(data, f"{policy.label()}\non {where}\n\n{bench_table(found)}")


def _bench_cases(args: argparse.Namespace, policy: Policy) -> tuple[Any, list[Any]]:
    """The model to measure, and batches: random ones of a given size, or the first samples of the data."""
    from autotc.bench import Case, synthetic_cases

    if args.random_weights is not None or args.tokens is not None:
        if args.data is not None:
            raise DataError("--data: given with random requests; leave --tokens and --random-weights out")
        model = _bench_model(args)
        tokens = args.tokens or [BENCH_TOKENS]
        return model, synthetic_cases(
            model, policy, tokens, args.batch, modalities=args.modality, text=args.text
        )  # fmt: skip
    if args.model is not None and args.data is None:
        raise DataError("--model: give --tokens N for random requests, or --data FILE.jsonl")
    evaluator = _evaluator(args, 0)
    if args.model is None:
        _placed(evaluator.loaded, args)
    groups = args.modality or [m for m in evaluator.modalities if m in policy.modalities] or evaluator.modalities[:1]
    cases = []
    for group in groups:
        for batch in args.batch:
            inputs = evaluator.request(policy, "test", group, batch)
            cases.append(Case(group, inputs, evaluator.request(_none(), "test", group, batch)))
    return evaluator.loaded, cases


def _none() -> Policy:
    from autotc.policy import UNCOMPRESSED

    return UNCOMPRESSED


def _bench_model(args: argparse.Namespace) -> Any:
    """The model to measure: with random weights, of a checkpoint, or the embedded one."""
    import torch

    if args.random_weights is None:
        model = _load(args)[0]
        if model is None:
            from autotc.tiny import load

            model = _placed(load()[0], args)
        return model
    if args.model is not None:
        raise DataError("--model: given with --random-weights; one of the two is right")
    from autotc.models.loading import usable_device, usable_dtype
    from autotc.models.synthetic import random_model

    found = _checkpoint(args, args.random_weights)
    found.adapter.depths(found.config)
    found.config.architectures = [found.architecture]
    if args.attn_implementation is not None:
        found.config._attn_implementation = args.attn_implementation
    dtype = usable_dtype(args.dtype or "auto") or torch.float32
    try:
        return random_model(found.config, dtype=dtype, device=usable_device(args.device_map))
    except (RuntimeError, ImportError, ValueError) as error:
        raise DataError(f"--random-weights: {_one_line(error)[:300]}") from error


def _calibrate(args: argparse.Namespace) -> Outcome:
    """A latency model of the device."""
    from autotc.bench import calibrate
    from autotc.mechanisms import build_mechanism
    from autotc.report.tables import ProgressBar, latency_table
    from autotc.search.space import SearchSpace

    if args.policy is not None or args.data is not None:
        raise PolicyError("bench: --calibrate takes no policy and no --data")
    if args.mechanisms is None:
        space = SearchSpace.load(_space(None))
        names = sorted({c.mechanism for part in space.modalities.values() for c in part.choices} - {"downsample"})
    else:
        names = args.mechanisms
    for name in names:
        build_mechanism(name)
    if len(args.batch) > 1 or len(args.tokens or ()) > 1:
        raise PolicyError("bench: --calibrate takes one --batch and one --tokens, of a usual request")
    model = _bench_model(args)
    embedded = args.model is None and args.random_weights is None
    tokens = args.tokens[0] if args.tokens else 96 if embedded else BENCH_TOKENS
    with ProgressBar("calibrate") as progress:
        found = calibrate(model, names, tokens=tokens, batch=args.batch[0], repeats=args.repeats, progress=progress)
    path = found.save(args.out or RUNS / "latency.json")
    median, worst = found.errors()
    data = {
        "file": path,
        "device": found.device.model_dump(),
        "mechanisms": names,
        "median_error": median,
        "worst_error": worst,
        "held_out": [{**row.model_dump(), "error": row.error} for row in found.held_out],
    }
    return Outcome(data, f"{latency_table(data)}\n\nwritten  {path}")


def models(args: argparse.Namespace) -> Outcome:
    """``autotc models``."""
    from autotc.models import ADAPTERS
    from autotc.report.tables import table
    from autotc.vocabulary import LOCATIONS

    data = [
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
    return Outcome(data, "\n".join(lines))


def init(args: argparse.Namespace) -> Outcome:
    """``autotc init``."""
    from autotc.resources import write_example

    files = [str(path) for path in write_example(args.folder)]
    text = "\n".join(
        [
            f"wrote {files[0]}, {files[1]} and {len(files) - 2} media files",
            "next:",
            f"  autotc validate {files[0]} {files[1]}",
            f"  autotc search --space {files[0]} --data {files[1]}",
        ]
    )
    return Outcome({"files": files}, text)


def _latency(args: argparse.Namespace, evaluator: ModelEvaluator) -> LatencyModel | None:
    """The latency model that a budget in milliseconds needs, or that was asked for."""
    from autotc.latency import LatencyModel

    in_time = args.budget is not None and args.budget[1] is not None
    if args.latency is None and (not in_time or args.resume):
        return None
    found = LatencyModel.load(args.latency or args.runs / "latency.json")
    found.check(evaluator.loaded)
    return found


def export(args: argparse.Namespace) -> Outcome:
    """``autotc export``."""
    from autotc.export import get_engine
    from autotc.export.estimate import Estimate
    from autotc.export.report import export as run_export
    from autotc.report.tables import export_tables

    policy, engine = _policy(args.policy), get_engine(args.to)
    served = _exported_model(args, policy)
    embedded = args.model is None and served is not None and _is_embedded(args, policy)
    if args.measure and not embedded and args.data is None:
        raise DataError("--measure: there is nothing to measure on; give --model and --data FILE.jsonl")
    measure = (embedded or args.data is not None) if args.measure is None else args.measure
    evaluator = None
    if measure:
        evaluator = _evaluator(args, args.split_seed)
    architecture = args.architecture or (None if args.model is None or served is None else served.architecture)
    found = run_export(
        policy,
        engine,
        architecture=architecture,
        model=args.model or "MODEL",
        pixels=args.pixels,
        flops=None if served is None or evaluator is not None else Estimate(served.adapter, served.config),
        measurer=evaluator,
        limit=args.limit,
    )
    data = found.to_json()
    if args.out is not None:
        _write_config(args.out, data["config"])
    text = found.text() + "\n\n" + export_tables(data)
    return Outcome(data, text.rstrip(), 0 if found.plan.expressible else 1)


def _is_embedded(args: argparse.Namespace, policy: Policy) -> bool:
    """Whether a policy is for the embedded model, or for any."""
    if policy.model is None:
        return True
    mine = _reference(_checkpoint(args, None))
    return policy.model.architecture == mine.architecture and policy.model.fingerprint in (None, mine.fingerprint)


def _exported_model(args: argparse.Namespace, policy: Policy) -> Checkpoint | None:
    """What is known of the model of a policy: as it was given, or by the policy's reference."""
    from autotc.models.published import PUBLISHED

    if args.model is not None or _is_embedded(args, policy):
        return _checkpoint(args, args.model)
    assert policy.model is not None  # it would be the embedded one's
    known = [name for name, (architecture, _) in PUBLISHED.items() if architecture == policy.model.architecture]
    return _checkpoint(args, known[0]) if known else None


def _write_config(path: Path, config: Any) -> None:
    """An engine's configuration file: JSON where its name says so, else YAML."""
    import yaml

    text = json.dumps(config, indent=2) + "\n" if path.suffix == ".json" else yaml.safe_dump(config, sort_keys=False)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"--out: {path} cannot be written ({error.strerror}); give another file") from error


def search(args: argparse.Namespace) -> Outcome:
    """``autotc search``."""
    from autotc.report.tables import search_report
    from autotc.search.space import SearchSpace
    from autotc.search.study import SearchInterrupted
    from autotc.search.study import search as run_search

    if args.architecture is not None and args.deployable_on is None:
        raise PolicyError("--architecture: given without --deployable-on")
    # Read before the model is loaded; a resumed study keeps its own.
    usual = args.space or ("deployable" if args.deployable_on else None)
    space = None if usual is None and args.resume else SearchSpace.load(_space(usual))
    if args.deployable_on is not None and space is not None:
        space = _deployable(space, args)
    evaluator = _evaluator(args, args.split_seed)
    latency = _latency(args, evaluator)
    budgets = {name: getattr(args, f"budget_{name}") for name in ("image", "video", "audio")}
    budgets = {name: value for name, value in budgets.items() if value is not None}
    options = "".join(
        f" --{key.replace('_', '-')}" + ("" if getattr(args, key) is True else f" {getattr(args, key)}")
        for key in ("model", "data", "metric", *LOADING)
        if getattr(args, key)
    )
    if args.tasks is not None:
        options += f" --tasks {','.join(args.tasks)}"
        options += f" --task-folder {args.task_folder}" if args.task_folder is not None else ""
    try:
        with _search_progress() as progress:
            result = run_search(
                evaluator,
                space=space,
                budget=None if args.budget is None else args.budget[0],
                budgets=budgets or None,
                budget_ms=None if args.budget is None else args.budget[1],
                budget_kv=args.budget_kv,
                latency=latency,
                trials=args.trials,
                seed=args.seed,
                name=_name(args.model, args.data, args.tasks),
                study_name=args.resume,
                resume=args.resume is not None,
                sampler=args.sampler,
                races=not args.no_races,
                predict_conflicts=not args.no_predicted_conflicts,
                runs=args.runs,
                out_dir=args.out_dir,
                search_limit=args.limit,
                val_limit=args.limit,
                test_limit=args.limit,
                tracking_uri=args.tracking_uri,
                progress=progress,
            )
    except SearchInterrupted as error:
        folders = "".join(
            f" --{key.replace('_', '-')} {getattr(args, key)}"
            for key, usual in (("runs", "runs"), ("out_dir", "policies"))
            if str(getattr(args, key)) != usual
        )
        raise KeyboardInterrupt(str(error) + options + folders) from error
    data = {**result.to_json(), **_phases(evaluator)}
    return Outcome(data, search_report(data, options=options, runs=args.runs))


def _deployable(space: SearchSpace, args: argparse.Namespace) -> SearchSpace:
    """What an engine can run of a space; says which modalities stay uncompressed."""
    from autotc.export import get_engine

    engine = get_engine(args.deployable_on)
    # The embedded model stands in for whatever will be served.
    architecture = args.architecture or (None if args.model is None else _checkpoint(args, args.model).architecture)
    left = space.deployable(engine, architecture)
    for modality in ("image", "video", "audio"):
        if modality not in left.modalities:
            print(f"autotc search: {modality} stays uncompressed: {engine.title} has nothing for it", file=sys.stderr)
    return left


def _space(name: str | None) -> Path:
    """File of a search space: a path, or the name of a shipped space."""
    from autotc.resources import search_space

    if name is None:
        return search_space()
    path = Path(name)
    return path if path.exists() or path.suffix in (".yaml", ".yml") else search_space(name)


def _name(model: str | None, data: Path | None, tasks: Sequence[str] | None = None) -> str:
    """Name of what is searched, for studies and policy files."""
    name = "tiny-omni" if model is None else Path(model).name
    if tasks is not None:
        return f"{name}-{'-'.join(tasks)}"[:80]
    return name if data is None else f"{name}-{data.stem}"


def _search_progress() -> Any:
    """A search's progress on stderr; a function, since its base class needs the search extra."""
    from autotc.report.tables import ProgressBar, front_table
    from autotc.search.study import FrontRow, SearchProgress

    class Shown(SearchProgress):
        def __init__(self) -> None:
            self.bar = ProgressBar("search")

        def __enter__(self) -> Shown:
            self.bar.__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            self.bar.__exit__(*error)

        def on_phase(self, name: str) -> None:
            self.bar.phase(PHASES.get(name, name))

        def on_trial(self, done: int, total: int, eta: float, front: Sequence[FrontRow]) -> None:
            points = [{**row.to_json(), "accuracy": {"accuracy": row.accuracy}, "policy": row.label} for row in front]
            self.bar(done, total, front_table(points[-12:]), eta=eta)

        def on_event(self, message: str) -> None:
            self.bar.say(message)

    return Shown()


def front(args: argparse.Namespace) -> Outcome:
    """``autotc front``."""
    from autotc.report.tables import front_table
    from autotc.search.study import load_front

    study_name = args.study or _studies(args.runs)[-1]
    records = load_front(study_name, args.runs)
    data = [
        {
            "policy": _exported(args.runs, study_name, record.number),
            "label": record.policy.label(),
            "accuracy": record.accuracy,
            "accuracy_by": dict(record.accuracy_by),
            "flops_ratio": record.flops_ratio,
            "tokens": dict(record.tokens),
            "trial": record.number,
            "split": "search",
        }
        for record in records
    ]
    shown = [{**row, "accuracy": row["accuracy_by"], "policy": row["policy"] or row["label"]} for row in data]
    text = f"{study_name}: front on the search split\n\n{front_table(shown)}"
    return Outcome({"study": study_name, "front": data}, text)


def _studies(runs: Path) -> list[str]:
    """Names of the stored studies; at least one."""
    from autotc.search.study import list_studies

    names = list_studies(runs)
    if not names:
        raise DataError(f"{runs / 'studies.db'}: no studies there; run autotc search first, or give --runs DIR")
    return names


def _exported(runs: Path, study_name: str, trial: int) -> str | None:
    """The policy file that a search wrote of a trial, if it did."""
    path = runs / study_name / "front" / f"trial-{trial}.yaml"
    return str(path) if path.exists() else None


def report(args: argparse.Namespace) -> Outcome:
    """``autotc report``."""
    import shutil

    study_name = args.study or _studies(args.runs)[-1]
    if study_name not in (known := _studies(args.runs)):
        raise DataError(f"study: {study_name!r} is not in {args.runs / 'studies.db'}; known: {', '.join(known)}")
    figures = [args.runs / study_name / name for name in ("front.png", "front.html")]
    for figure in figures:
        if not figure.exists():
            raise DataError(f"{figure}: no such file; finish the study with autotc search --resume {study_name}")
    if args.to is not None:
        try:
            args.to.mkdir(parents=True, exist_ok=True)
            figures = [Path(shutil.copy(figure, args.to / f"{study_name}-{figure.name}")) for figure in figures]
        except OSError as error:
            raise DataError(f"--to: {args.to} cannot be written ({error.strerror}); give another folder") from error
    return Outcome({"study": study_name, "figures": figures}, "\n".join(str(figure) for figure in figures))


def study(args: argparse.Namespace) -> Outcome:
    """``autotc study``."""
    from autotc.report.tables import table
    from autotc.search.study import load_front

    data = []
    for name in _studies(args.runs):
        records = load_front(name, args.runs)
        best = max(records, key=lambda record: record.accuracy) if records else None
        data.append(
            {
                "study": name,
                "front": len(records),
                "accuracy": None if best is None else best.accuracy,
                "flops_ratio": None if best is None else best.flops_ratio,
            }
        )
    cell: Callable[[Any], str] = lambda v: "-" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v)  # noqa: E731
    rows = [[cell(value) for value in entry.values()] for entry in data]
    return Outcome(data, table(["study", "front", "best accuracy", "its FLOPs"], rows))


def _loads_model(sub: argparse.ArgumentParser) -> None:
    """How a command that loads a model does it."""
    sub.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16", "float16"), help="of the weights (default: the checkpoint's)"
    )
    sub.add_argument(
        "--device-map", metavar="NAME",
        help="cpu, cuda, cuda:1, or auto, which divides the model over all devices (default: cuda where there is one)",
    )  # fmt: skip
    sub.add_argument(
        "--attn-implementation", metavar="NAME",
        help="sdpa, eager, flash_attention_2, ... (default: the model's own)",
    )  # fmt: skip
    sub.add_argument("--revision", metavar="NAME", help="branch, tag or commit on the hub (default: main)")
    sub.add_argument("--trust-remote-code", action="store_true", help="run code that the checkpoint brings")


def _arguments() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = _Parser(
        prog="autotc",
        description="Finds, for a multimodal language model and a compute budget, the best way to compress its image, "
        "video and audio tokens.",
        epilog="example: autotc search --budget 0.5",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], Outcome], summary: str, example: str) -> _Parser:
        sub: _Parser = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")
        sub.set_defaults(run=run)
        return sub

    def on_data(sub: _Parser) -> None:
        sub.add_argument("--model", metavar="PATH", help="folder or hub name of a model (default: the embedded model)")
        _loads_model(sub)
        sub.add_argument(
            "--data", type=Path, metavar="FILE.jsonl", help="your own data (default: the embedded benchmark)"
        )
        sub.add_argument(
            "--evaluator", choices=("builtin", "jsonl", "lmms"),
            help="what samples are from (default: lmms with --tasks, jsonl with --data, builtin without)",
        )  # fmt: skip
        sub.add_argument(
            "--tasks",
            type=_listed,
            metavar="NAMES",
            help="tasks of lmms-eval by commas, e.g. mme,ocrbench or tiny_omni",
        )
        sub.add_argument("--task-folder", type=Path, metavar="DIR", help="with --tasks: task files of your own")
        sub.add_argument("--batch-size", type=_positive, metavar="N", help="samples of one forward")
        sub.add_argument(
            "--metric", metavar="NAME",
            help="with --data: exact (default), contains, or module:function of your own; with --tasks: one of theirs",
        )  # fmt: skip
        sub.add_argument(
            "--limit", type=_positive, metavar="N", help="evaluate only the first N samples of each modality"
        )

    def on_studies(sub: _Parser) -> None:
        sub.add_argument(
            "--runs", type=Path, default=RUNS, metavar="DIR", help="where studies are kept (default: runs)"
        )

    sub = command("search", search, "search the best policies for a budget", "autotc search --budget 0.5 --trials 100")
    sub.add_argument(
        "--budget", type=_budget, metavar="R",
        help="highest FLOPs ratio, relative to the uncompressed model, in (0, 1] (default: 0.5); or milliseconds of"
        " prefill of a sample, e.g. 300ms, predicted by what autotc bench --calibrate has learnt",
    )  # fmt: skip
    sub.add_argument(
        "--budget-kv", type=_ratio, metavar="R", help="highest ratio of the bytes of keys and values after prefill"
    )
    sub.add_argument(
        "--latency", type=Path, metavar="FILE",
        help="latency model, also to show predicted times beside the front (default for 300ms: latency.json in --runs)",
    )  # fmt: skip
    for modality in ("image", "video", "audio"):
        sub.add_argument(
            f"--budget-{modality}", type=_ratio, metavar="R", help=f"highest FLOPs ratio over the {modality} samples"
        )
    sub.add_argument(
        "--space", metavar="FILE", help="search space, a file or the name of a shipped one (default: default)"
    )
    sub.add_argument(
        "--deployable-on", choices=ENGINE_NAMES,
        help="propose only what this serving engine can run (default space: deployable)",
    )  # fmt: skip
    sub.add_argument(
        "--architecture", metavar="CLASS",
        help="with --deployable-on: class of the model to be served (default: that of --model; any, without one)",
    )  # fmt: skip
    sub.add_argument("--trials", type=_positive, metavar="N", help="distinct policies to evaluate (default: 60)")
    sub.add_argument(
        "--sampler", default="parts", metavar="NAME",
        help="who proposes policies: parts, the search's own (default); Optuna's tpe, nsga2, nsga3, gp, random;"
        " published searches of decoder schedules: gsearch, vflowopt, fitprune",
    )  # fmt: skip
    sub.add_argument("--no-races", action="store_true", help="run every policy on all samples")
    sub.add_argument(
        "--no-predicted-conflicts", action="store_true", help="also run stacks that are predicted to conflict"
    )
    sub.add_argument("--seed", type=_seed, help="of the sampler (default: 0)")
    sub.add_argument("--split-seed", type=_seed, default=0, help="of the splits (default: 0)")
    sub.add_argument("--resume", metavar="STUDY", help="go on with a study")
    sub.add_argument("--tracking-uri", metavar="URI", help="MLflow server (default: a local store in --runs)")
    sub.add_argument(
        "--out-dir", type=Path, default=Path("policies"), metavar="DIR", help="of the policy file (default: policies)"
    )
    on_studies(sub)
    on_data(sub)

    sub = command("eval", evaluate, "evaluate a policy", "autotc eval none --limit 50")
    sub.add_argument("policy", metavar="POLICY", help="policy file, or none for the uncompressed model")
    sub.add_argument("--split", choices=("search", "val", "test"), default="test", help="(default: test)")
    sub.add_argument("--split-seed", type=_seed, default=0, help="of the splits (default: 0)")
    on_data(sub)

    sub = command(
        "check", check, "compare a policy with what its file says; exit 1 when it got worse",
        "autotc check policies/tiny-omni-0.5.yaml --junit check.xml",
    )  # fmt: skip
    sub.add_argument("policy", metavar="POLICY", help="policy file that a search wrote")
    sub.add_argument(
        "--tolerance", type=_fall, metavar="T", help="largest fall in accuracy that passes (default: the file's)"
    )
    sub.add_argument("--junit", type=Path, metavar="FILE", help="write the findings as JUnit XML too")
    on_data(sub)

    sub = command("front", front, "print the front of a study", "autotc front")
    sub.add_argument("study", nargs="?", metavar="STUDY", help="name of the study (default: the latest)")
    on_studies(sub)

    sub = command("report", report, "write the figures of a study", "autotc report --to figures")
    sub.add_argument("study", nargs="?", metavar="STUDY", help="name of the study (default: the latest)")
    sub.add_argument("--to", type=Path, metavar="DIR", help="folder of the figures (default: the study's)")
    on_studies(sub)

    on_studies(command("study", study, "list the studies", "autotc study"))

    sub = command("show", show, "print what a policy does and what was measured", "autotc show policies/x.yaml")
    sub.add_argument("policy", metavar="POLICY", help="policy file, or none")

    sub = command(
        "validate", validate, "check policy, search space and data files without running them",
        "autotc validate policies/x.yaml space.yaml data.jsonl",
    )  # fmt: skip
    sub.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a .yaml policy or search space, a .jsonl data file"
    )

    sub = command(
        "presets", presets, "list the published methods, or write one as a policy",
        "autotc presets --family query --modality video\n  autotc presets divprune --keep 0.25 --out divprune.yaml",
    )  # fmt: skip
    sub.add_argument(
        "name", nargs="?", metavar="NAME", help="of one preset: what it is, or the policy it becomes; or all"
    )
    families = ("control", "transformation", "similarity", "attention", "query")
    sub.add_argument("--family", choices=families, help="list those of a family")
    sub.add_argument("--location", choices=("input", "encoder", "projector", "decoder"), help="... that act there")
    sub.add_argument(
        "--modality",
        choices=("image", "video", "audio"),
        action="append",
        help="... that take it; with NAME: compress it",
    )
    sub.add_argument("--needs", metavar="SCORE", help="... that read a score, e.g. last_query_attention")
    sub.add_argument("--paper", metavar="ARXIV", help="... of a paper")
    sub.add_argument(
        "--flash-safe", action=argparse.BooleanOptionalAction, default=None,
        help="... whose published form runs, or does not run, under FlashAttention",
    )  # fmt: skip
    sub.add_argument("--markdown", action="store_true", help="print the README's table")
    sub.add_argument(
        "--model", metavar="PATH",
        help="with NAME: folder, hub name, or a name such as qwen2.5-vl-7b (default: the embedded model)",
    )  # fmt: skip
    sub.add_argument("--keep", type=_ratio, metavar="R", help="with NAME: keep ratio (default: the published one)")
    sub.add_argument(
        "--calibrate", type=_positive, metavar="N",
        help="with fitprune: fit its schedule to the model on N samples; --keep is then the mean over layers",
    )  # fmt: skip
    sub.add_argument("--data", type=Path, metavar="FILE.jsonl", help="with --calibrate: your own data")
    _loads_model(sub)
    sub.set_defaults(metric=None)
    sub.add_argument("--out", type=Path, metavar="FILE", help="with NAME: write the policy; with all: a folder")

    sub = command(
        "compare", compare, "measure presets on equal terms, or one mechanism at every place",
        "autotc compare --presets divprune,fastv,visionzip --tokens 0.25\n  autotc compare --by location --limit 100",
    )  # fmt: skip
    sub.add_argument("--presets", type=_names, default="all", metavar="NAMES", help="all (default), or names by commas")
    sub.add_argument(
        "--tokens", type=_ratios, metavar="R,...",
        help="equal mean language-model tokens, relative to uncompressed (default: 0.5,0.25,0.1)",
    )  # fmt: skip
    sub.add_argument("--cost", type=_ratios, metavar="R,...", help="equal FLOPs ratios (default: 0.75,0.5)")
    sub.add_argument("--by", choices=("preset", "location"), default="preset", help="what differs (default: preset)")
    sub.add_argument("--mechanism", default="divprune", metavar="NAME", help="with --by location (default: divprune)")
    sub.add_argument("--keeps", type=_ratios, metavar="R,...", help="with --by location: keep ratios")
    sub.add_argument("--name", metavar="NAME", help="folder in --runs; what is there is not measured again")
    sub.add_argument("--split", choices=("search", "val", "test"), default="test", help="(default: test)")
    sub.add_argument("--split-seed", type=_seed, default=0, help="of the splits (default: 0)")
    sub.add_argument("--tracking-uri", metavar="URI", help="MLflow server (default: a local store in --runs)")
    on_studies(sub)
    on_data(sub)
    sub = command(
        "conflicts", conflicts, "predict and measure what stacks of two stages gain or lose",
        "autotc conflicts --pairs divprune@projector+fastv@decoder,tome@encoder+cdpruner@projector --modality image",
    )  # fmt: skip
    sub.add_argument(
        "--pairs", type=_listed, metavar="A@PLACE+B@PLACE,...",
        help="to measure, with a layer in brackets where it is not the middle block of a tower or decoder layer 2, e.g."
        " 'fastv@decoder[3]' (default: pairs of eight stages of every family)",
    )  # fmt: skip
    sub.add_argument("--space", metavar="FILE", help="all pairs of a search space, a file or the name of a shipped one")
    sub.add_argument(
        "--modality", choices=("image", "video", "audio"), action="append", help="to measure on (default: all)"
    )
    sub.add_argument(
        "--keep", type=_keeps, metavar="R:R,...",
        help="keep ratios of the first and the second stage, of the uncompressed count (default: 0.5:0.25)",
    )  # fmt: skip
    sub.add_argument(
        "--samples", type=_positive, default=16, metavar="N", help="calibration samples of predictions (default: 16)"
    )
    sub.add_argument("--name", metavar="NAME", help="folder in --runs/conflicts; what is there does not run again")
    sub.add_argument("--split", choices=("search", "val", "test"), default="test", help="(default: test)")
    sub.add_argument("--split-seed", type=_seed, default=0, help="of the splits (default: 0)")
    sub.add_argument("--tracking-uri", metavar="URI", help="MLflow server (default: a local store in --runs)")
    on_studies(sub)
    on_data(sub)
    sub = command(
        "bench", bench, "measure a policy's time and memory beside the uncompressed model's, or calibrate predictions",
        "autotc bench policies/x.yaml --batch 1,8\n"
        "  autotc bench policies/x.yaml --random-weights qwen2.5-vl-7b --dtype bfloat16 --tokens 4096,16384\n"
        "  autotc bench --calibrate",
    )  # fmt: skip
    sub.add_argument("policy", nargs="?", metavar="POLICY", help="policy file, or none for the uncompressed model")
    sub.add_argument("--model", metavar="PATH", help="folder or hub name of a model (default: the embedded model)")
    sub.add_argument("--data", type=Path, metavar="FILE.jsonl", help="take the requests from your own data")
    sub.add_argument(
        "--random-weights", metavar="CONFIG",
        help="an architecture at real size without a checkpoint: a folder with config.json, a hub name, or a name that"
        " autotc knows, e.g. qwen2.5-vl-7b",
    )  # fmt: skip
    sub.add_argument(
        "--tokens", type=_whole, metavar="N,...",
        help=f"random requests of so many media tokens (default: samples of the data; with --random-weights"
        f" {BENCH_TOKENS})",
    )  # fmt: skip
    sub.add_argument("--batch", type=_whole, default=[1], metavar="B,...", help="batch sizes (default: 1)")
    sub.add_argument(
        "--modality", choices=("image", "video", "audio"), action="append",
        help="of the requests (default: those that the policy touches)",
    )  # fmt: skip
    sub.add_argument("--text", type=_positive, default=32, metavar="N", help="words of random queries (default: 32)")
    sub.add_argument("--repeats", type=_positive, default=5, metavar="N", help="pairs to measure (default: 5)")
    sub.add_argument(
        "--new-tokens", type=_several, default=16, metavar="N", help="that generate() makes, from 2 (default: 16)"
    )
    _loads_model(sub)
    sub.set_defaults(metric=None)
    sub.add_argument("--calibrate", action="store_true", help="learn to predict prefill times on this device")
    sub.add_argument(
        "--mechanisms", type=_listed, metavar="NAMES", help="with --calibrate: to learn (default: the default space's)"
    )
    sub.add_argument(
        "--out", type=Path, metavar="FILE", help="with --calibrate: of the latency model (default: runs/latency.json)"
    )

    sub = command(
        "export", export, "print a policy as the settings of a serving engine; exit 1 when it cannot express it",
        "autotc export policies/qwen2.5-vl-7b/evs-0.25.yaml --to vllm --out vllm.yaml",
    )  # fmt: skip
    sub.add_argument("policy", metavar="POLICY", help="policy file")
    sub.add_argument(
        "--to", choices=ENGINE_NAMES, required=True, help="the engine"
    )  # fmt: skip
    sub.add_argument(
        "--architecture", metavar="CLASS",
        help="class of the model to be served, where the policy's model stands in for it, e.g."
        " Qwen3VLForConditionalGeneration (default: the policy's; any, where it names none)",
    )  # fmt: skip
    sub.add_argument(
        "--pixels", type=_positive, metavar="N",
        help="pixels of every image that will be asked about; input stages become caps with it",
    )  # fmt: skip
    sub.add_argument("--out", type=Path, metavar="FILE", help="write the engine's configuration file, .yaml or .json")
    sub.add_argument(
        "--measure", action=argparse.BooleanOptionalAction, default=None,
        help="measure what the nearest policy costs in accuracy where the engine cannot express this one (default: with"
        " the embedded model, or with --data)",
    )  # fmt: skip
    sub.add_argument("--split-seed", type=_seed, default=0, help="of the splits (default: 0)")
    on_data(sub)

    command("models", models, "list the model families that policies can be applied to", "autotc models")

    sub = command("init", init, "write a search space and a data file to start from", "autotc init example")
    sub.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="(default: this folder)")
    return parser


def _plain(value: Any) -> Any:
    """A value as JSON knows it: no NaN, no tuples, texts for paths."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _quiet() -> None:
    """Keep what libraries remark off stderr, where progress and errors stand."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("alembic", "huggingface_hub", "mlflow", "optuna", "torch", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _run(args: argparse.Namespace) -> int:
    """Run a command; print what it found on stdout, and everything else on stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        outcome: Outcome = args.run(args)
    text = json.dumps(_plain(outcome.data), indent=2, ensure_ascii=False) if args.json else outcome.text
    if text:
        print(text, flush=True)
    return outcome.code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    # Torch's workers otherwise spin while they wait, which on busy cores costs a factor of ten.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = _arguments()
    try:
        args = parser.parse_args(argv)
    except SystemExit as leaving:  # argparse leaves after --help and wrong arguments
        return leaving.code if isinstance(leaving.code, int) else 0
    if args.version:
        from importlib.metadata import version

        print(f"autotc {version('autotc')}")
        return 0
    if args.command is None:
        parser.print_help()
        return 0
    _quiet()
    try:
        return _run(args)
    except AutotcError as error:
        message = _one_line(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        message = f"{package} is not installed; pip install 'autotc[{EXTRAS[package]}]'"
    except BrokenPipeError:
        # The reader left (`autotc front | head`); without this the interpreter complains once more as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as error:
        print(f"autotc: {_one_line(error) or 'interrupted'}", file=sys.stderr)
        return 130
    print(f"autotc {args.command}: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
