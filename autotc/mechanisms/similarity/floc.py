"""FLoC: facility location, maximised greedily (2511.00141)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import Mechanism, Work
from autotc.mechanisms.coverage import cosine_table, greedy_coverage
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class Floc(Mechanism):
    """Add, one by one, the token that most raises the sum over all tokens of the cosine to the nearest chosen one.

    Cosines below zero count as zero, the value of an empty choice, and tokens that stand for several count as often.
    The choice is over the whole item, by features after the projector: how the published one cuts long videos into
    clips, and which features it reads, is not confirmed.
    """

    name = "floc"
    family = "similarity"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    criterion = "coverage"
    source = "FLoC, arXiv 2511.00141: facility location function and lazy greedy selection"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        value = cosine_table(tokens.unit_features())
        return Reduction.select(greedy_coverage(value, tokens.mass.float(), None, budget, tokens.valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n**2 * work.d
