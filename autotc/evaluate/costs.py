"""What policies cost on the requests of a split, from the requests' shapes alone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from autotc.cost import Cost, Request, prefill_cost, request_shapes
from autotc.latency import LatencyModel
from autotc.models import BoundAdapter
from autotc.policy import UNCOMPRESSED, Policy
from autotc.results import SplitCost
from autotc.runtime.steps import StageStats

SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)
"""Of the requests: the FLOPs ratios at which these shares of them are reported."""


class Costed(NamedTuple):
    """Requests of one shape.

    Attributes:
        request: their shape, uncompressed.
        times: how often it occurs.
        cost: of one under the policy.
    """

    request: Request
    times: int
    cost: Cost


class RequestCosts:
    """Analytic costs of single requests, each computed once.

    Args:
        bound: of the model.
    """

    def __init__(self, bound: BoundAdapter) -> None:
        self._bound = bound
        self._known: dict[tuple[str, Request], Cost] = {}

    def cost(self, policy: Policy, request: Request) -> Cost:
        """Of one request's prefill."""
        key = (policy.content_hash(), request)
        if key not in self._known:
            self._known[key] = prefill_cost(self._bound, policy, [request])
        return self._known[key]

    def shapes(self, inputs: Any) -> list[Request]:
        """Shapes of the requests of a batch of inputs."""
        return list(request_shapes(self._bound, inputs))

    def measured(
        self, policy: Policy, uncompressed: Any, prepared: Any, stats: Sequence[StageStats]
    ) -> Iterable[Costed]:
        """Costs of the requests of a batch that ran under a policy whose rules set their own counts.

        Args:
            policy: that ran.
            uncompressed: the batch's inputs without input stages.
            prepared: the inputs that ran.
            stats: what each reduction left of each item.
        """
        passed: Counter[str] = Counter()
        for request, ran in zip(self.shapes(uncompressed), self.shapes(prepared), strict=True):
            items = Counter(item.modality for item in ran.items)
            realised = {}
            for stat in stats:
                modality = policy.stages[stat.stage].modality
                start = passed[modality]
                realised[stat.stage, stat.layer] = stat.realised[start : start + items[modality]]
            passed.update(items)
            cost = prefill_cost(self._bound, policy, [request], realised=realised)
            yield Costed(request, 1, cost)

    def total(self, groups: Mapping[str, Iterable[Costed]], latency: LatencyModel | None) -> SplitCost:
        """Costs of a split's requests together.

        Args:
            groups: requests of each modality group.
            latency: predicts prefill times; None leaves them out.
        """
        total = _Total()
        ratios = {}
        for group, requests in groups.items():
            flops = base_flops = 0.0
            for entry in requests:
                uncompressed = self.cost(UNCOMPRESSED, entry.request)
                flops += entry.times * entry.cost.total
                base_flops += entry.times * uncompressed.total
                total.add(entry, uncompressed)
                if latency is not None:
                    total.milliseconds += entry.times * latency.of_cost(entry.cost, [entry.request])
                    total.base_milliseconds += entry.times * latency.of_cost(uncompressed, [entry.request])
            ratios[group] = flops / base_flops
            total.flops += flops
            total.base_flops += base_flops
        return total.split_cost(ratios, timed=latency is not None)


@dataclass
class _Total:
    """Sums over requests, under the policy and, ``base_``, without it; ``singles``: their own FLOPs ratios."""

    requests: int = 0
    flops: float = 0.0
    base_flops: float = 0.0
    scoring: float = 0.0
    kv: float = 0.0
    base_kv: float = 0.0
    milliseconds: float = 0.0
    base_milliseconds: float = 0.0
    items: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    lm_tokens: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    base_lm_tokens: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    singles: Counter[float] = field(default_factory=Counter)

    def add(self, entry: Costed, uncompressed: Cost) -> None:
        """Count requests of one shape, FLOPs and times apart."""
        request, times, cost = entry
        self.requests += times
        self.singles[cost.total / uncompressed.total] += times
        self.scoring += times * cost.scoring
        self.kv += times * cost.kv_bytes
        self.base_kv += times * uncompressed.kv_bytes
        for item in request.items:
            self.items[item.modality] += times
        for name, n in cost.tokens.items():
            self.tokens[name] += times * n
            self.lm_tokens[name] += times * cost.lm_tokens[name]
            self.base_lm_tokens[name] += times * uncompressed.lm_tokens[name]

    def split_cost(self, ratios: dict[str, float], *, timed: bool) -> SplitCost:
        """Means and ratios of the sums."""
        return SplitCost(
            flops_ratio=self.flops / self.base_flops,
            flops_ratio_by=ratios,
            flops=self.flops / self.requests,
            tokens={name: self.tokens[name] / self.items[name] for name in self.items},
            lm_tokens={name: self.lm_tokens[name] / self.base_lm_tokens[name] for name in self.items},
            kv_bytes=self.kv / self.requests,
            scoring_share=self.scoring / self.flops,
            kv_ratio=self.kv / self.base_kv,
            milliseconds=self.milliseconds / self.requests if timed else None,
            time_ratio=self.milliseconds / self.base_milliseconds if timed else None,
            flops_spread=self._spread(),
        )

    def _spread(self) -> tuple[float, float, float, float, float]:
        """Lowest, 10%, median, 90% and highest FLOPs ratio of a request."""
        ratios = sorted(self.singles)
        places = np.cumsum([self.singles[ratio] for ratio in ratios])
        low, tenth, half, most, high = (
            ratios[int(np.searchsorted(places, max(1, math.ceil(share * self.requests))))] for share in SHARES
        )
        return low, tenth, half, most, high
