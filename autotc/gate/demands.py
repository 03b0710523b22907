"""What a check demands of a policy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from autotc.errors import DataError, PolicyError, quote
from autotc.files import read_text
from autotc.policy import Measured
from autotc.ranges import check_count

OVERALL = "overall"
TASK = "task:"
"""Prefix of a task's name, beside modality groups."""


class CheckOptions(TypedDict, total=False):
    """Keywords of `autotc.check`.

    Attributes:
        tolerance: largest fall in accuracy that passes, in [0, 1]; None takes the file's.
        tolerances: modality group, ``overall`` or ``task:NAME`` -> the same of its own accuracy.
        baseline: what is compared with: a policy file, ``models:/NAME@ALIAS`` or ``runs:/ID`` of MLflow; None takes the
            policy's own file.
        must_pass: ids of samples that must not get worse, or a file of them: one a line, or a JSON list.
        equivalence: whether accuracy must be shown to be within the tolerance; else it fails only where it is shown
            not to be.
        latency: largest ratio of the prefill time to the uncompressed model's that passes, measured in pairs in this
            run; None measures no time.
        limit: samples per modality group; None takes as many as were measured.
        accept: whether what was measured now is written into the policy's file, as the baseline of later checks: for a
            fall that is wanted, or new data or packages. Stages, study and tolerances stay; ``limit`` may not be given.
    """

    tolerance: float | None
    tolerances: Mapping[str, float]
    baseline: str | Path | None
    must_pass: str | Path | Iterable[str] | None
    equivalence: bool
    latency: float | None
    limit: int | None
    accept: bool


@dataclass(frozen=True)
class Demands:
    """What a check demands, looked over.

    Attributes:
        tolerance, tolerances, baseline, equivalence, latency, limit, accept: as of `CheckOptions`.
        must_pass: ids of samples that must not get worse.
    """

    tolerance: float | None = None
    tolerances: Mapping[str, float] = field(default_factory=dict)
    baseline: str | Path | None = None
    must_pass: tuple[str, ...] = ()
    equivalence: bool = False
    latency: float | None = None
    limit: int | None = None
    accept: bool = False

    @classmethod
    def of(cls, options: CheckOptions) -> Demands:
        """From keywords.

        Raises:
            PolicyError: a number is out of its range.
            DataError: the file of samples that must pass cannot be read.
        """
        single, named = options.get("tolerance"), dict(options.get("tolerances", {}))
        asked = {f"tolerances: {name}": value for name, value in named.items()}
        if single is not None:
            asked["tolerance"] = single
        for where, value in asked.items():
            if not 0 <= value <= 1:
                raise PolicyError(f"{where}: {value!r} given; a fall in accuracy in [0, 1] is right")
        latency, limit = options.get("latency"), options.get("limit")
        if latency is not None and not latency > 0:
            raise PolicyError(f"latency: {latency!r} given; a ratio above 0, such as 0.8, is right")
        if limit is not None:
            check_count(limit, "limit")
            if options.get("accept"):
                raise DataError("limit: given with accept; a baseline is measured on all samples")
        return cls(
            tolerance=single,
            tolerances=named,
            baseline=options.get("baseline"),
            must_pass=_ids(options.get("must_pass")),
            equivalence=options.get("equivalence", False),
            latency=latency,
            limit=limit,
            accept=options.get("accept", False),
        )

    def allowed(self, name: str, measured: Measured) -> float:
        """Largest fall in accuracy that passes, of a modality group, a task or ``overall``.

        What is asked for goes before what the file says, and what names it before what is for all.
        """
        if name in self.tolerances:
            return self.tolerances[name]
        if self.tolerance is not None:
            return self.tolerance
        return measured.tolerances.get(name, measured.tolerance)

    def tasks(self, measured: Measured) -> list[str]:
        """Tasks that have a tolerance of their own."""
        named = dict.fromkeys([*measured.tolerances, *self.tolerances])
        return [name.removeprefix(TASK) for name in named if name.startswith(TASK)]


def _ids(given: str | Path | Iterable[str] | None) -> tuple[str, ...]:
    """Ids of samples, from a file or as they are; each once.

    Raises:
        DataError: the file is missing, or holds none.
    """
    if given is None:
        return ()
    if not isinstance(given, str | Path):
        return tuple(dict.fromkeys(given))
    text = read_text(given, "a file of sample ids")
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{given}: line {error.lineno}: is no JSON list ({error.msg}); one id a line does too"
            ) from error
        for value in listed:
            if not isinstance(value, str):
                raise DataError(f"{given}: {quote(value)} given; the id of a sample, a text, is right")
    else:
        lines = (line.strip() for line in text.splitlines())
        listed = [line for line in lines if line and not line.startswith("#")]
    if not listed:
        raise DataError(f"{given}: names no sample; one id a line, or a JSON list of them, is right")
    return tuple(dict.fromkeys(listed))
