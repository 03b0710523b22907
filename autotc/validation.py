"""Policies, search spaces and data files checked as far as reading them allows, without a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from autotc.conflicts.rules import check_rules
from autotc.documents import load_mapping, parse
from autotc.errors import AutotcError, PolicyError, one_line
from autotc.evaluate.records import check_headers, load_records, split_records
from autotc.evaluate.tables import SUFFIXES
from autotc.models import find_architecture
from autotc.models.known import DEPTHS
from autotc.names import near_names
from autotc.policy import Policy, local_file
from autotc.search.space import SearchSpace, SpaceError

FileKind = Literal["policy", "search space", "data file"]


@dataclass(frozen=True)
class FileCheck:
    """What was found of a file.

    Attributes:
        file: its path.
        kind: what it is; None where it is wrong.
        valid: whether it is right.
        message: what is wrong, in one line; None where nothing is.
    """

    file: str
    kind: FileKind | None
    valid: bool
    message: str | None

    def to_json(self) -> dict[str, Any]:
        """As ``autotc validate --json`` lists it."""
        return asdict(self)


def validate(*files: str | Path) -> list[FileCheck]:
    """Check files without running anything: ``.yaml`` policies and search spaces, data files (``.jsonl``, ...).

    Of a policy also the rules on its stages, with the model's depths where its fingerprint is known; of a data file
    every row, that its media exist, and that every split gets samples.

    Args:
        files: to check.

    Returns:
        One record for each file, in order; wrong files raise nothing.

    Example:
        >>> [check.message for check in autotc.validate("policies/tiny-omni-0.4.yaml")]  # doctest: +SKIP
        [None]
    """
    return [_checked(Path(file)) for file in files]


def _checked(file: Path) -> FileCheck:
    try:
        return FileCheck(str(file), _kind(file), True, None)
    except AutotcError as error:
        return FileCheck(str(file), None, False, one_line(error))


def _kind(file: Path) -> FileKind:
    """What a file is.

    Raises:
        AutotcError: it is wrong.
    """
    file = local_file(file)
    if file.suffix.lower() in SUFFIXES:
        records = load_records(file)
        split_records(records, seed=0)
        check_headers(file, records)
        return "data file"
    data = load_mapping(file, "a policy file (.yaml)", "version and stages", PolicyError)
    # A key that only one of them has tells the two apart; a file that is neither is told as a policy.
    if "modalities" in data or ("stages" not in data and near_names("modalities", map(str, data), 1)):
        parse(SearchSpace, data, str(file), SpaceError)
        return "search space"
    _check_policy(parse(Policy, data, str(file), PolicyError), file)
    return "policy"


def _check_policy(policy: Policy, file: Path) -> None:
    """Rules on a policy.

    Raises:
        PolicyError: a rule refuses it, or no family knows its architecture.
    """
    if policy.model is None:
        depths = locations = None
    else:
        try:
            locations = find_architecture(policy.model.architecture).locations
        except AutotcError as error:
            raise PolicyError(f"{file}: model.architecture: {error}") from error
        depths = DEPTHS.get(policy.model.fingerprint or "")
    try:
        check_rules(policy, depths=depths, locations=locations)
    except PolicyError as error:
        raise PolicyError(f"{file}: {error}") from error
