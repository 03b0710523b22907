"""The contract of every mechanism, written once: `Tokens` in, `Reduction` out; at the input, a grid in and out.

A mechanism is a pure function on tensors. It never sees a module, never looks across rows, and returns exactly the
number of survivors it was asked for. What it needs beside the tokens (attention rows, keys, ...) it declares in
``needs``; the runtime computes just that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from autotc.lazy import Tensor
from autotc.mechanisms.counting import target_count
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import LAYER_SCORES, Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import Family, Location, Modality


@dataclass(frozen=True)
class Work:
    """Shape of one item's reduction, for counting what it multiplies.

    Attributes:
        n, m: tokens before and after.
        d: width of the features.
        k: width of the keys, or of the values of all heads; of the features where the stage gets neither.
        frames: of the item's grid.
        query: tokens of the query span.
    """

    n: int
    m: int
    d: int
    k: int
    frames: int
    query: int


class Params(BaseModel):
    """Parameters of a mechanism; subclasses add typed fields with defaults and ranges.

    Unknown keys are errors, and so are values of another type: ``true`` or a quoted number where a number is right.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AdaptiveParams(Params):
    """Parameters of a threshold rule: with ``adaptive`` the published threshold sets the count, at most the budget."""

    adaptive: bool = False


class DensityParams(Params):
    """Parameters of a rule that clusters by density peaks: with ``noise_seed`` densities get the published noise.

    It is drawn from this seed (see `density_noise`); None for none.
    """

    noise_seed: int | None = Field(None, ge=0)


class CountedParams(Params):
    """Parameters of a rule that serving engines have built in.

    With ``counting: engine`` a keep ratio leaves as many tokens as the engine does, rounding and floors included; with
    ``policy`` as many as every other mechanism does (`target_count`).
    """

    counting: Literal["policy", "engine"] = "policy"


def _scored_offset(needs: Sequence[Score], source: Literal["previous", "own"]) -> int | None:
    if not LAYER_SCORES & {*needs}:
        return None
    return 0 if source == "own" else -1


class MechanismBase(ABC):
    """What every mechanism declares. Instances are immutable and hold nothing but their parameters.

    Args:
        params: see the class's ``Params``.
        keep_ratio: of the step it is built for, for rules whose shares follow the ratio and not the count alone.
        also: scores that the stage's budget reads beside what the rule needs; ``needs`` of the instance holds both.

    Class attributes:
        name: the name used in policies.
        family: of the survey's taxonomy, or ``control``.
        modalities, locations: where it may stand.
        needs: scores it asks the runtime for (see `Score`).
        score_source: layer that scores are taken from: ``previous`` (what the layer before has computed) or ``own``
            (computed for the ranking, charged in full).
        head_reduction: how attention scores are joined over heads.
        companion: another modality of the same request whose reduction guides this one; its stages at the same location
            run first, and ``concurrent_retention`` says what they kept.
        uses_grid: whether it reads the tokens as a full (t, y, x) grid; such a stage cannot follow one that drops.
        criterion: what it ranks by; two stages of a stack with the same criterion conflict.
        source: paper and equation.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    modalities: ClassVar[tuple[Modality, ...]]
    locations: ClassVar[tuple[Location, ...]]
    needs: tuple[Score, ...] = ()
    score_source: ClassVar[Literal["previous", "own"]] = "previous"
    head_reduction: ClassVar[Literal["mean", "max"]] = "mean"
    companion: ClassVar[Modality | None] = None
    uses_grid: ClassVar[bool] = False
    criterion: ClassVar[str]
    source: ClassVar[str]
    Params: ClassVar[type[Params]] = Params

    def __init__(
        self, params: Mapping[str, object] | None = None, keep_ratio: float | None = None, also: Sequence[Score] = ()
    ) -> None:
        self.params = self.Params.model_validate(dict(params or {}))
        self.keep_ratio = keep_ratio
        if also:
            self.needs = tuple(dict.fromkeys((*type(self).needs, *also)))

    @property
    def adaptive(self) -> bool:
        """Whether the rule sets its own count, at most the budget."""
        return isinstance(self.params, AdaptiveParams) and self.params.adaptive

    @classmethod
    def scored_offset(cls) -> int | None:
        """From a decoder stage's layer to the one whose attention it reads: -1 the layer before, 0 its own; None for
        a mechanism that reads none.
        """
        return _scored_offset(cls.needs, cls.score_source)

    @property
    def read_offset(self) -> int | None:
        """As `scored_offset`, of all that this instance asks for: its stage's budget reads scores too."""
        return _scored_offset(self.needs, self.score_source)

    def flops(self, work: Work) -> int:
        """FLOPs (multiply and add as two) of the matrix products on one item, scores apart."""
        return 0

    def target(self, keep_ratio: float, n0: int, left: int, grid: tuple[int, int, int]) -> int:
        """Tokens that a keep ratio leaves of an item: the budget of `Mechanism.reduce`, and what `cost` charges.

        The one rounding rule, unless the rule is a serving engine's own with its rounding and its floor.

        Args:
            keep_ratio: in (0, 1], relative to ``n0``.
            n0: the item's uncompressed token count at the language model.
            left: tokens it still has.
            grid: (t, y, x) of the item.

        Returns:
            Between 1 and ``left``.
        """
        return target_count(keep_ratio, n0, left)


class Mechanism(MechanismBase):
    """One algorithm on tokens, in the encoder, after the projector or in the decoder."""

    @abstractmethod
    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        """Reduce each row to exactly its budget.

        Args:
            tokens: the items, one row each.
            budget: (B,) long, survivors of each row, between 1 and the row's valid tokens.
            scores: what ``needs`` names, aligned with the tokens; values on padding are undefined.

        Returns:
            A reduction with ``count == budget``; with ``adaptive``, 1 <= count <= budget. Same input, same output; no
            NaN for constant or zero features.
        """


class InputMechanism(MechanismBase):
    """One way to make an item smaller before it is encoded, where there are no tokens yet: ``input`` stages.

    It says what size is right; preparing inputs of that size is the processor's and the model family's part.
    """

    @abstractmethod
    def target_grid(self, grid: tuple[int, int, int], keep_ratio: float, modality: Modality) -> tuple[int, int, int]:
        """The grid to resize an item to, with a product as near to the target count as its aspect allows.

        Args:
            grid: (t, y, x) in tokens, each at least 1.
            keep_ratio: in (0, 1], of the grid's product.
            modality: of the item.

        Returns:
            (t, y, x) in tokens, no axis longer than before and none below 1.
        """

    @abstractmethod
    def target_length(self, grid: tuple[int, int, int], keep_ratio: float) -> int:
        """The length t that comes nearest to the target count of a grid (t, y, x) of tokens, frames as they are."""

    @abstractmethod
    def choice(self, counts: Sequence[int], keep_ratio: float) -> int:
        """Which of the counts that a family can give an item comes nearest to the target; the first is uncompressed."""
