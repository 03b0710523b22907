"""A Gaussian process over stacks: what accuracy a stack that did not run is expected to have, and how surely."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotc.policy import Stage
from autotc.search.space import SearchSpace
from autotc.search.space.drawing import stage_key
from autotc.vocabulary import Modality

Array = NDArray[np.float64]
_REFIT, _GROWN = 6, 1.05
"""New observations, and growth of their number, after which the kernel's parameters are fitted again."""
_MOST = 200
"""Observations that are fitted, since a fit takes the cube of their number: the better half, and some of the others."""
_SURE = 1e-4
"""Variance of what a stack that runs now is taken to lose."""


class Surrogate:
    """Predicts what stacks of one modality lose against the uncompressed model.

    A stack is described by how much each of its mechanisms drops, at which depth: so what was seen of a mechanism at
    one ratio tells of it at others and in stacks. Where stages may be schedules, how much is gone by each layer is told
    as well: schedules of one mechanism differ in little else. The kernel adds an additive part (each mechanism's own
    loss) to a smooth one (what they do to each other).

    Args:
        space: whose choices are told apart.
        modality: of the stacks.
        depth: layers of the decoder, and of the modality's tower.
    """

    def __init__(self, space: SearchSpace, modality: Modality, depth: tuple[int, int]) -> None:
        choices = space.modalities[modality].choices
        self._keys = [choice.key for choice in choices]
        scheduled = {layer for choice in choices if choice.several for layer in choice.layers}
        self._layers = np.array(sorted(scheduled), dtype=int)
        self._depth = {"decoder": max(1, depth[0]), "encoder": max(1, depth[1])}
        self._model: Any = None
        self._fitted = 0
        self._seen: tuple[Sequence[Sequence[Stage]], Array, Array] = ([], np.zeros(0), np.zeros(0))

    def features(self, stages: Sequence[Stage]) -> Array:
        """(F,) float: of each kind of stage the logarithm of what it drops, its square, its depth; then of all; then of
        what is gone by each layer of the decoder where schedules act.
        """
        out = np.zeros(3 * len(self._keys) + 2)
        gone = np.zeros(len(self._layers))
        left, carried = 1.0, 0.0
        for stage in stages:
            key = stage_key(stage)
            at = 3 * self._keys.index(key) if key in self._keys else None
            for layer, ratio in stage.steps():
                drop = max(0.0, math.log(left / ratio))
                deep = (layer or 0) / self._depth.get(stage.location, 1)
                if at is not None:
                    out[at] += drop
                    out[at + 1] += drop**2
                    out[at + 2] += drop * deep
                if stage.location == "decoder":
                    carried += drop * (1 - deep)
                else:
                    carried += drop
                left = min(left, ratio)
                first = layer if stage.location == "decoder" and layer is not None else 0
                gone[self._layers >= first] = math.log(1 / left)
        out[-2], out[-1] = math.log(1 / left), carried
        return np.concatenate([out, gone])

    def fit(self, stacks: Sequence[Sequence[Stage]], losses: Array, noise: Array) -> None:
        """Learn from stacks that ran.

        Args:
            stacks: their stages.
            losses: (n,) change of accuracy against the uncompressed model, on the samples each ran on.
            noise: (n,) variance of these.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

        count = len(stacks)
        if count > _MOST:
            chosen = _telling(losses, _MOST)
            stacks, losses, noise = [stacks[i] for i in chosen], losses[chosen], noise[chosen]
        self._seen = stacks, losses, noise
        inputs = np.array([self.features(stages) for stages in stacks])
        fresh = self._model is None or count >= max(self._fitted + _REFIT, _GROWN * self._fitted)
        if fresh:
            kernel = ConstantKernel(0.02, (1e-4, 1.0)) * DotProduct(0.0, "fixed")
            kernel += ConstantKernel(0.02, (1e-4, 1.0)) * RBF(1.0, (0.3, 10.0))
            self._fitted = count
        else:
            kernel = self._model.kernel_
        model = GaussianProcessRegressor(kernel, alpha=noise, optimizer="fmin_l_bfgs_b" if fresh else None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound is no fault
            self._model = model.fit(inputs, losses)

    def believe(self, stacks: Sequence[Sequence[Stage]]) -> None:
        """Take stacks that run now to lose what is predicted, so that the next proposal lies elsewhere.

        Known as the kriging believer (Ginsbourger, Le Riche and Carraro 2010, doi 10.1007/978-3-642-10701-6_6).
        """
        if not stacks:
            return
        from sklearn.base import clone

        mean, _ = self.predict(stacks)
        known, losses, noise = self._seen
        model = clone(self._model).set_params(
            kernel=self._model.kernel_,
            optimizer=None,
            alpha=np.concatenate([noise, np.full(len(stacks), _SURE)]),
        )
        inputs = np.array([self.features(stages) for stages in [*known, *stacks]])
        self._model = model.fit(inputs, np.concatenate([losses, mean]))

    def predict(self, stacks: Sequence[Sequence[Stage]]) -> tuple[Array, Array]:
        """Mean and standard deviation of the loss of each stack, (n,) each."""
        assert self._model is not None  # fitted before
        mean, deviation = self._model.predict(np.array([self.features(stages) for stages in stacks]), return_std=True)
        return mean, np.maximum(deviation, 1e-6)


def _telling(losses: Array, most: int) -> NDArray[np.int64]:
    """(most,) indices, rising: of the stacks that lose least, and evenly of the others by what they lose."""
    order = np.argsort(losses, kind="stable")[::-1]
    best, others = order[: most // 2], order[most // 2 :]
    spread = others[np.linspace(0, len(others) - 1, most - len(best)).round().astype(int)]
    return np.sort(np.concatenate([best, spread]))


def improvement(mean: Array, deviation: Array, level: float) -> Array:
    """Expected amount by which normal variables exceed a level, (n,) (expected improvement, Jones et al. 1998)."""
    from scipy.stats import norm

    z = (mean - level) / deviation
    out: Array = deviation * (norm.pdf(z) + z * norm.cdf(z))
    return out
