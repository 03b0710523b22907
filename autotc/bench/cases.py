"""Batches to measure: random requests of a given size, or the first samples of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from autotc.errors import DataError, PolicyError, one_line
from autotc.evaluate.base import ObservableEvaluator
from autotc.models import bind
from autotc.models.synthetic import random_request
from autotc.policy import UNCOMPRESSED, Policy
from autotc.ranges import check_choice, check_count
from autotc.vocabulary import MODALITIES, Group, Modality, Split

TEXT = 32
"""Words of a random request's query, where it is not said."""
SPLIT: Split = "test"
"""Split whose first samples are measured."""


@dataclass(frozen=True)
class Case:
    """One batch to measure: the model's arguments under the policy, and without it.

    An input stage makes the two differ; otherwise they are the same.
    """

    name: str
    inputs: Mapping[str, Tensor]
    baseline: Mapping[str, Tensor]


@dataclass(frozen=True)
class Requests:
    """Which batches are measured.

    Attributes:
        tokens: media tokens of random requests, one case for each number; None takes samples of the data.
        batches: rows, one case for each number.
        modalities: of the requests; None takes those that the policy touches, or the first that the data holds.
        text: words of a random request's query.

    Raises:
        DataError: a number is no whole number from 1, or a modality is unknown.
    """

    tokens: Sequence[int] | None = None
    batches: Sequence[int] = (1,)
    modalities: Sequence[Modality] | None = None
    text: int = TEXT

    def __post_init__(self) -> None:
        for count in self.tokens or ():
            check_count(count, "tokens")
        for batch in self.batches:
            check_count(batch, "batches")
        for modality in self.modalities or ():
            check_choice(modality, "modalities", MODALITIES)
        check_count(self.text, "text")


@contextmanager
def as_one_line(request: str) -> Iterator[None]:
    """What torch and transformers raise where a request does not fit the model or its memory, told in one line.

    Args:
        request: name of what runs, for the error.

    Raises:
        DataError: the model cannot run it.
    """
    try:
        yield
    except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
        raise DataError(f"bench: {request}: the model cannot run this request ({one_line(error, 160)})") from error


def synthetic_cases(model: nn.Module, policy: Policy, requests: Requests) -> list[Case]:
    """Random requests of every number of media tokens and every batch size.

    Args:
        model: of a supported family.
        policy: decides the modalities where they are not given.
        requests: sizes; ``tokens`` must be given.

    Raises:
        PolicyError: the policy has an input stage, which acts before these requests are made, or a modality is unknown.
    """
    if any(stage.location == "input" for stage in policy.stages):
        raise PolicyError(
            "bench: input stages act before random requests are made; leave --tokens out with the embedded model, or"
            " give --data"
        )
    offered = bind(model).offers
    chosen = requests.modalities or [m for m in MODALITIES if m in policy.modalities] or [next(iter(offered))]
    out = []
    for count in requests.tokens or ():
        for batch in requests.batches:
            name = f"{Group.of(chosen)} {count}"
            with as_one_line(name):
                request = random_request(model, dict.fromkeys(chosen, count), text=requests.text, batch=batch)
            out.append(Case(name, request, request))
    return out


def sample_cases(evaluator: ObservableEvaluator, policy: Policy, requests: Requests) -> list[Case]:
    """The first samples of the test split, of every modality group and every batch size.

    Raises:
        DataError: the data holds no such group.
    """
    touched = [m for m in evaluator.modalities if m in policy.modalities]
    groups = requests.modalities or touched or evaluator.modalities[:1]
    cases = []
    for group in groups:
        for batch in requests.batches:
            inputs = evaluator.request(policy, SPLIT, group, batch)
            cases.append(Case(group, inputs, evaluator.request(UNCOMPRESSED, SPLIT, group, batch)))
    return cases
