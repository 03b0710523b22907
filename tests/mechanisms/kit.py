"""What the tests of mechanisms share: makers of items and scores, and the row that each mechanism gives of itself."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from autotc.mechanisms import Score, Tokens
from autotc.vocabulary import Modality

Array = NDArray[np.float64]
Grid = tuple[int, int, int]
OF_TEXT = ("text_features", "text_keys", "text_values")
"""Scores that are the query span's, and no token's."""
TEXT = 3
"""Tokens of the query span; a padding row of zeros stands before them."""


@dataclass(frozen=True)
class Given:
    """One item in float64, without padding, for a reference: everything a mechanism may read.

    Attributes:
        x: (N, D) features.
        grid: (t, y, x) of the item, where its tokens are a full grid.
        places: (N, 3) (t, y, x) of each token.
        mass: (N,).
        scores: as `autotc.mechanisms.scores.Score` says, without the batch axis and without padding of the text.
        params: of the mechanism.
    """

    x: Array
    grid: Grid
    places: NDArray[np.int64]
    mass: Array
    scores: Mapping[str, Array]
    params: Mapping[str, object]


Reference = Callable[[Given, int], "list[int] | tuple[list[int], Array]"]
"""Kept tokens, ascending, of an item and a budget; for what merges, the survivors' features (M, D) as well."""


@dataclass(frozen=True)
class Case:
    """A case computed by hand.

    Attributes:
        x: features of the tokens, in raster order.
        m: budget.
        kept: expected tokens, ascending.
        merged: expected features of the survivors; None where they are the tokens'.
        grid: of the item; None takes a line of tokens in time.
        scores: score -> values without the batch axis.
        mass: of the tokens; None takes 1.
        params: of the mechanism.
    """

    x: list[list[float]]
    m: int
    kept: list[int]
    merged: list[list[float]] | None = None
    grid: Grid | None = None
    scores: Mapping[Score, object] = field(default_factory=dict)
    mass: list[float] | None = None
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What the matrix needs to know of a mechanism.

    Attributes:
        reference: slow, obvious NumPy form; None for a control that has none.
        cases: computed by hand from the published equations.
        averages: the weights of every survivor sum to 1.
        conserves: no mass is lost.
        permutes: reordering the tokens (with their places) reorders what is kept, and changes nothing else.
        exact_flops: `flops` equals what is multiplied; else it bounds it.
        params: settings of the parameters that the matrix and the reference run with.
        width: of the random features that the reference is compared on.
    """

    reference: Reference | None
    cases: tuple[Case, ...]
    averages: bool = True
    conserves: bool = False
    permutes: bool = False
    exact_flops: bool = True
    params: tuple[Mapping[str, object], ...] = ({},)
    width: int = 8


def noise(given: Given, number: int, size: int) -> Array:
    """The published noise on the densities of a set of tokens, the ``number``-th of its item; zeros without a seed."""
    seed = given.params.get("noise_seed")
    if seed is None:
        return np.zeros(size)
    generator = torch.Generator().manual_seed(hash((int(str(seed)), number, size)) % 2**63)
    return 1e-6 * torch.rand(size, generator=generator).double().numpy()


def rows() -> dict[str, Row]:
    """The row of every mechanism: ``ROW`` of the file in ``rows/`` that has its name."""
    from . import rows as package

    return {
        module.name: importlib.import_module(f"{package.__name__}.{module.name}").ROW
        for module in pkgutil.iter_modules(package.__path__)
    }


def item(grid: Grid, width: int, seed: int, dtype: torch.dtype = torch.float32, pad: int = 0) -> Tokens:
    """One item on a full grid with random features and masses; ``pad`` tokens of padding on the left hold NaN."""
    places = list(itertools.product(*(range(size) for size in grid)))
    n = len(places)
    random = np.random.default_rng(seed)
    features = torch.full((1, pad + n, width), torch.nan)
    features[:, pad:] = torch.from_numpy(random.standard_normal((n, width))).float()
    at = torch.zeros(1, pad + n, 3, dtype=torch.long)
    at[:, pad:] = torch.tensor(places)
    box = torch.zeros(1, pad + n, 6)
    box[..., 0::2], box[..., 1::2] = at.float(), at.float() + 1
    valid = torch.arange(pad + n)[None] >= pad
    return Tokens(features.to(dtype), valid, at, box, valid.float())


def scores(tokens: Tokens, seed: int) -> dict[Score, torch.Tensor]:
    """Random scores of every kind for one item; the same for any padding."""
    random = np.random.default_rng(seed + 10_000)
    pad = int((~tokens.valid).sum())
    n, width = tokens.valid.shape[1] - pad, tokens.features.shape[2]

    def along(*shape: int, normal: bool = False) -> torch.Tensor:
        values = random.standard_normal((n, *shape)) if normal else random.random((n, *shape))
        out = torch.full((1, pad + n, *shape), torch.nan)
        out[:, pad:] = torch.from_numpy(values).float()
        return out

    def text(*shape: int) -> torch.Tensor:
        out = torch.zeros(1, TEXT + 1, *shape)
        out[:, 1:] = torch.from_numpy(random.standard_normal((TEXT, *shape))).float()
        return out

    out: dict[Score, torch.Tensor] = {
        "last_query_attention": along(),
        "received_attention": along(),
        "text_similarity": along() * 2 - 1,
        "representation_shift": along(),
        "keys": along(6, normal=True),
        "global_query_attention": along(),
        "attention_rank": along(),
        "cls_attention": along(),
        "middle_attention": along(),
        "concurrent_retention": along(),
        "text_attention": torch.cat([torch.zeros(1, pad + n, 1), along(TEXT)], 2),
        "text_features": text(width),
        "text_keys": text(6),
        "patch_embeddings": along(5, normal=True),
        "features_before": along(width, normal=True),
        "values": along(2, 3, normal=True),
        "text_values": text(2, 3),
        "rotation": along(2, normal=True),
        "concurrent_cosine": along() * 2 - 1,
    }
    return out


def given(tokens: Tokens, grid: Grid, scored: Mapping[Score, torch.Tensor], params: Mapping[str, object]) -> Given:
    """The only item of a batch as a reference sees it."""
    pad = int((~tokens.valid).sum())
    plain: dict[str, Array] = {}
    for name, values in scored.items():
        one = values[0].double().numpy()
        if name in OF_TEXT:
            plain[name] = one[np.abs(one).reshape(len(one), -1).sum(1) > 0]
        elif name == "text_attention":
            plain[name] = one[pad:, -TEXT:]
        else:
            plain[name] = one[pad:]
    return Given(
        tokens.features[0, pad:].double().numpy(),
        grid,
        tokens.grid[0, pad:].numpy(),
        tokens.mass[0, pad:].double().numpy(),
        plain,
        params,
    )


def stack(items: list[Tokens]) -> Tokens:
    """One batch of items of equal padded length."""
    names = ("features", "valid", "grid", "box", "mass")
    return Tokens(**{name: torch.cat([getattr(tokens, name) for tokens in items]) for name in names})


def stack_scores(parts: list[dict[Score, torch.Tensor]]) -> dict[Score, torch.Tensor]:
    """The same for scores."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


SHAPES: dict[Modality, dict[str, Grid]] = {
    "image": {"one": (1, 1, 1), "two": (1, 1, 2), "strip": (1, 1, 17), "grid": (1, 5, 6), "square": (1, 4, 4)},
    "video": {"one": (1, 1, 1), "two": (2, 1, 1), "frame": (1, 4, 3), "strip": (1, 1, 17), "grid": (6, 2, 3)},
    "audio": {"one": (1, 1, 1), "two": (2, 1, 1), "strip": (17, 1, 1), "grid": (30, 1, 1)},
}
"""Odd shapes of each modality."""


def cosine(a: Array, b: Array) -> float:
    """Cosine of two vectors; 0 where one is zero."""
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def top(score: Array, m: int) -> list[int]:
    """The ``m`` highest scores, ascending; ties go to the earlier."""
    return sorted(sorted(range(len(score)), key=lambda i: (-score[i], i))[:m])
