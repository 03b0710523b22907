"""A policy as a person reads it: its stages, its model and what was measured."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotc.errors import one_line
from autotc.policy import Measured, Policy, Stage
from autotc.records.shown import RequestView
from autotc.report.figures.overlay import answer_words, overlay_data_uri
from autotc.report.tables import interval, table


@dataclass(frozen=True)
class PolicyView:
    """A policy to look at.

    Attributes:
        policy: what is shown.
        requests: what became of single requests under it.
        files: that they were drawn to.
    """

    policy: Policy
    requests: tuple[RequestView, ...] = ()
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The policy's own document and its hash; ``requests`` and ``files`` where there are some."""
        document = {**self.policy.model_dump(mode="json", exclude_none=True), "hash": self.policy.content_hash()}
        if self.requests:
            document["requests"] = [request.to_json() for request in self.requests]
            document["files"] = [str(path) for path in self.files]
        return document

    def text(self) -> str:
        """One line for each stage, then what is known of it."""
        headers = ["modality", "location", "layer", "mechanism", "family", "keep ratio", "parameters"]
        rows = [_stage_row(stage) for stage in self.policy.stages]
        lines = [table(headers, rows) if rows else "no stages: the uncompressed model"]
        if self.policy.model is not None:
            model = self.policy.model
            lines.append(f"\nmodel         {model.architecture} {model.fingerprint or '(any size)'}")
        if self.policy.measured is not None:
            lines += _measured_lines(self.policy.measured)
        for request in self.requests:
            lines += ["", *_request_lines(request)]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        pictures = "".join(
            f'<img src="{overlay_data_uri(request, medium=i)}" alt="tokens left of the {medium.modality}">'
            for request in self.requests
            for i, medium in enumerate(request.media)
        )
        return f"<pre>{html.escape(self.text())}</pre>{pictures}"


def _stage_row(stage: Stage) -> list[str]:
    return [
        stage.modality,
        stage.location,
        ", ".join("-" if layer is None else str(layer) for layer, _ in stage.steps()),
        stage.mechanism,
        stage.build().family,
        ", ".join(f"{ratio:g}" for _, ratio in stage.steps()),
        " ".join(f"{key}={value}" for key, value in stage.params.items()) or "-",
    ]


def _request_lines(request: RequestView) -> list[str]:
    lines = [f"request       {request.id}: {one_line(request.prompt, 100)}"]
    lines += [f"right         {one_line(request.right, 100)}"] if request.right is not None else []
    lines += [f"with policy   {answer_words(request.answer)}", f"without       {answer_words(request.baseline)}"]
    lines.append(f"FLOPs ratio   {request.flops_ratio:.4f}")
    lines += [f"no stage      acts on {modality}" for modality in request.untouched]
    lines.append(table(["stage", "tokens left"], [[label, str(count)] for label, count in request.tokens()]))
    return lines


def _measured_lines(measured: Measured) -> list[str]:
    counts = ", ".join(f"{count} {name}" for name, count in measured.samples.items())
    lines = [f"measured on   {measured.evaluator} {measured.split}, seed {measured.seed}: {counts}"]
    lines += [f"accuracy      {name} {interval(value)}" for name, value in measured.accuracy.items()]
    lines.append(f"FLOPs ratio   {measured.flops_ratio:.4f}")
    lines += [f"KV ratio      {measured.kv_ratio:.4f}"] if measured.kv_ratio is not None else []
    lines += [f"predicted     {measured.predicted_ms:g} ms"] if measured.predicted_ms is not None else []
    if measured.study is not None:
        lines.append(f"study         {measured.study}, trial {measured.trial}")
    return lines
