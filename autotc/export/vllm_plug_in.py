"""vLLM with the plug-in of ``autotc[vllm]``, which serves a policy's file as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from autotc.export.engine import Deployment, Engine, Target
from autotc.mechanisms import MECHANISMS, build_mechanism
from autotc.policy import Policy, Stage
from autotc.serve import SERVED, serve_refusal
from autotc.vocabulary import Modality

_OFFERED = ("divprune", "visionzip", "cdpruner", "tome")
"""By what each chooses: diversity, attention of the tower, the query, similarity."""


class VLLMPlugIn(Engine):
    """``vllm serve`` and ``vllm.LLM`` with a policy's file in ``additional_config``."""

    name = "vllm"
    title = "vLLM with autotc's plug-in"
    version = "0.32.0"
    origin = "autotc[vllm], run at"
    space = "everything"
    reads_policies = True

    def refusal(
        self, stage: Stage, architecture: str | None, before: Sequence[Stage] = (), pixels: int | None = None
    ) -> str | None:
        return serve_refusal(stage, architecture)

    def as_run(self, stage: Stage) -> Stage:
        return stage

    def notes(self, stage: Stage, architecture: str | None) -> Iterator[str]:
        if architecture is None:
            known = [name for name in SERVED if serve_refusal(stage, name) is None]
            yield f"{stage.label()}: served in {', '.join(known)}"

    def offers(
        self, modality: Modality, architecture: str | None, stages: Sequence[Stage], pixels: int | None
    ) -> tuple[Stage, ...]:
        own = [(stage.mechanism, {**stage.params}) for stage in stages]
        # The same rule behind the tower, also where it keeps to the ratio alone; then one of each kind.
        wanted = [*own, *((name, {**params, "adaptive": False}) for name, params in own if "adaptive" in params)]
        wanted += [(name, {}) for name in _OFFERED if name not in dict(own)]
        out: dict[str, Stage] = {}
        for name, params in wanted:
            mechanism = build_mechanism(name, params)
            if modality not in mechanism.modalities or "projector" not in mechanism.locations:
                continue
            stage = Stage(modality=modality, location="projector", mechanism=name, keep_ratio=1.0, params=params)
            if serve_refusal(stage, architecture) is None:
                out.setdefault(name, stage)
        return tuple(out.values())

    def render(self, policy: Policy, target: Target) -> Deployment:
        command = ["vllm", "serve", target.model]
        if not policy.stages:
            return Deployment(tuple(command), f"vllm.LLM({target.model!r})", {})
        settings = {"autotc": {"policy": target.policy_file, "hash": policy.content_hash()}}
        return Deployment(
            (*command, "--additional-config", json.dumps(settings)),
            f"vllm.LLM({target.model!r}, additional_config={settings!r})",
            {"additional-config": settings},
        )

    def has(self) -> str:
        count = sum("projector" in kind.locations for kind in MECHANISMS.values())
        return f"{count} mechanisms at the projector, and those of the input, of {', '.join(sorted(SERVED))}"
