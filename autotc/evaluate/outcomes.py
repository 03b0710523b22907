"""What became of each token of a medium at every stage, from what the runtime has recorded of a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from autotc.mechanisms import Reduction
from autotc.models import Item
from autotc.models.geometry import column_index
from autotc.models.tiled_pictures import Tile
from autotc.policy import Policy
from autotc.records.shown import MediumView, Panel, StageOutcome, TokenGrid
from autotc.runtime.tracks import Track
from autotc.vocabulary import Location, Modality


def media_views(
    policy: Policy,
    modality: Modality,
    uncompressed: Sequence[Item],
    track: Track | None,
    contents: Sequence[NDArray[np.generic]],
    rows: Sequence[int] | None = None,
) -> list[MediumView]:
    """Each medium of a modality of one request, at every stage of a policy.

    Args:
        policy: that ran.
        modality: of the media.
        uncompressed: their items without the policy.
        track: what became of them under the policy, each reduction an observer has seen; None where nothing did.
        contents: the media themselves; fewer where they are not known.
        rows: of the request's items in a track of several requests; None takes all.
    """
    steps = [(stage, layer) for stage in policy.modality(modality) for layer, _ in stage.steps()]
    shrunk = [stage for stage, _ in steps if stage.location == "input"]
    rest: list[tuple[str, Location]] = [
        (f"{modality} {s.location}{'' if layer is None else f'[{layer}]'} {s.mechanism}", s.location)
        for s, layer in sorted(steps, key=lambda step: _depth(step[0].location, step[1]))
        if s.location != "input"
    ]
    items = list(uncompressed)
    if track is not None:
        rows = range(len(track.items)) if rows is None else rows
        items = [track.items[i] for i in rows]
    sources = [] if track is None else list(_sources(track))
    out: list[MediumView] = []
    first = 0
    before, after = media_items(uncompressed), media_items(items)
    for number, (originals, members) in enumerate(zip(before, after, strict=True)):
        grid = token_grid(originals)
        stages = [_everything("uncompressed", None, grid)]
        if shrunk:
            grid = token_grid(members)
            stages.append(_everything(f"{modality} input {shrunk[0].mechanism}", "input", grid))
        mine = () if rows is None else rows[first : first + len(members)]
        first += len(members)
        for (label, location), source in zip(rest, sources, strict=True) if sources else ():
            group, kept = _groups(source, mine, [item.count for item in members])
            stages.append(StageOutcome(label, location, grid, group, kept))
        content = np.asarray(contents[number]) if number < len(contents) else None
        out.append(MediumView(modality, _extent(originals), tuple(stages), content))
    return out


def _depth(location: Location, layer: int | None) -> tuple[int, int]:
    return ("input", "encoder", "projector", "decoder").index(location), layer or 0


def _sources(track: Track) -> Iterator[Reduction]:
    """From the items' units to what each reduction in turn has left."""
    _, valid = column_index([item.count for item in track.items])
    out = Reduction.identity(valid)
    for each in track.reductions:
        edges = (each.row.cpu(), each.src.cpu(), each.dst.cpu(), each.weight.cpu())
        out = out.then(Reduction(each.keep.cpu(), *edges, each.size))
        yield out


def _groups(
    source: Reduction, rows: Sequence[int], counts: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Each token's survivor, counted over all rows, and whether its position survives; rows are right-aligned."""
    groups, kept, first = [], [], 0
    for row, count in zip(rows, counts, strict=True):
        edges = (source.row == row).nonzero()[:, 0]
        # The heaviest edge of a token is written last.
        order = edges[source.weight[edges].abs().argsort(stable=True)]
        into = np.full(source.size, -1)
        into[source.src[order].numpy()] = source.dst[order].numpy()
        survives = np.zeros(source.size, dtype=bool)
        survivors = source.keep[row][source.keep[row] >= 0].numpy()
        survives[survivors] = True
        # Survivors are padded on the left as tokens are.
        into[into >= 0] += first - (source.keep.shape[1] - len(survivors))
        first += len(survivors)
        groups.append(into[source.size - count :])
        kept.append(survives[source.size - count :])
    return np.concatenate(groups).astype(np.int64), np.concatenate(kept)


def _everything(label: str, location: Location | None, grid: TokenGrid) -> StageOutcome:
    n = len(grid.boxes)
    return StageOutcome(label, location, grid, np.arange(n), np.ones(n, dtype=bool))


def media_items(items: Sequence[Item]) -> list[list[Item]]:
    """Items by medium: a picture that was cut into tiles is several."""
    out: list[list[Item]] = []
    for item in items:
        follows = isinstance(item, Tile) and not item.tilings and out and isinstance(out[-1][0], Tile)
        if follows and len(out[-1]) < max(tiling.tiles for tiling in out[-1][0].tilings):  # type: ignore[attr-defined]
            out[-1].append(item)
        else:
            out.append([item])
    return out


def token_grid(members: Sequence[Item]) -> TokenGrid:
    """Where the tokens of a medium's items stand in it."""
    if len(members) > 1:
        return _tiled(members)
    boxes = _shares(members[0])
    moments = members[0].places()[:, 0].numpy()
    if members[0].modality == "audio":
        return TokenGrid(boxes, np.zeros(len(boxes), dtype=np.int64), (Panel(""),))
    if members[0].modality == "image":
        views = int(moments.max()) + 1
        labels = [""] if views == 1 else ["whole", *["tiles"] * (views - 1)]
        return TokenGrid(boxes, moments, tuple(Panel(label) for label in labels))
    seconds = members[0].boxes()[:, :2].numpy()
    panels = []
    for moment in range(int(moments.max()) + 1):
        at = int((moments == moment).argmax())
        start, end = seconds[at]
        panels.append(Panel(f"{start:.1f}-{end:.1f} s", (float(boxes[at, 0]), float(boxes[at, 1]))))
    return TokenGrid(boxes, moments, tuple(panels))


def _shares(item: Item) -> NDArray[np.float64]:
    """(N, 6) boxes as shares of the item; what has no extent along an axis fills it."""
    boxes = item.boxes().double().numpy().copy()
    for low, high in ((0, 1), (2, 3), (4, 5)):
        length = boxes[:, high].max()
        if length > 0:
            boxes[:, low : high + 1] /= length
        else:
            boxes[:, low], boxes[:, high] = 0.0, 1.0
    return boxes


def _tiled(members: Sequence[Item]) -> TokenGrid:
    """Tiles of a picture side by side; the last one shows all of it."""
    first, n = members[0], len(members)
    tile = (first.grid[1] * first.extent[1], first.grid[2] * first.extent[2])
    tilings = first.tilings if isinstance(first, Tile) else ()
    size = next((tiling.size for tiling in tilings if tiling.tiles == n), (0, 0))
    best = round(size[0] / tile[0]), round(size[1] / tile[1])
    forms = [(rows, (n - 1) // rows) for rows in range(1, n) if (n - 1) % rows == 0]
    # What is nearest to the size that the processor gave the picture.
    rows, columns = min(forms, key=lambda form: abs(form[0] - best[0]) + abs(form[1] - best[1]))
    parts, panel = [], []
    for i, member in enumerate(members):
        boxes = _shares(member)
        if i < rows * columns:
            boxes[:, 2:4] = (boxes[:, 2:4] + i // columns) / rows
            boxes[:, 4:6] = (boxes[:, 4:6] + i % columns) / columns
        parts.append(boxes)
        panel += [0 if i < rows * columns else 1] * len(boxes)
    return TokenGrid(np.concatenate(parts), np.array(panel), (Panel("tiles"), Panel("whole")))


def _extent(members: Sequence[Item]) -> tuple[float, float, float]:
    high = torch.cat([item.boxes() for item in members]).amax(0)
    return float(high[1]), float(high[3]), float(high[5])
