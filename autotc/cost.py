"""FLOPs, tokens and KV bytes of a policy on a model and an input shape; floors. Analytic: nothing runs.

Conventions: multiply and add count as two; causal attention counts in full; grouped-query attention and three-matrix
MLPs are known; matrix products of scores and mechanisms count. A batch is charged as it runs, padded to its longest
row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotc.mechanisms import Location, Modality, target_count
from autotc.mechanisms.transformation.downsample import Downsample
from autotc.models import Adapter, Item
from autotc.policy import Policy, Stage


@dataclass(frozen=True)
class Request:
    """Shape of one request: its media, uncompressed, and the number of its other tokens (text, delimiters)."""

    items: tuple[Item, ...]
    text: int

    @property
    def tokens(self) -> int:
        """Length of the uncompressed prompt."""
        return self.text + sum(item.count for item in self.items)


@dataclass(frozen=True)
class Cost:
    """Prefill FLOPs by part.

    Attributes:
        encoder: stems and tower blocks.
        projector: mergers and projections; they run on holes too.
        decoder: language-model layers.
        head: LM head over the positions left.
        scoring: scores and mechanisms' own matrix products.
        kv_bytes: keys and values held after prefill, at 2 bytes an element times ``element_bytes / 2``.
        tokens: modality -> tokens at the last decoder layer, summed over items.
        lengths: sequence length at each decoder layer (the longest row's).
    """

    encoder: float
    projector: float
    decoder: float
    head: float
    scoring: float
    kv_bytes: float
    tokens: dict[str, int]
    lengths: tuple[int, ...]

    @property
    def total(self) -> float:
        """All FLOPs."""
        return self.encoder + self.projector + self.decoder + self.head + self.scoring


def _shrunk(item: Item, stages: Sequence[Stage]) -> Item:
    """The item after its input stage, if any."""
    for stage in stages:
        if stage.location == "input":
            mechanism = stage.build()
            assert isinstance(mechanism, Downsample)  # the only mechanism at the input
            grid = mechanism.target_grid(item.grid, stage.final_ratio, item.modality)
            return item if grid == item.grid else item.resized(grid)
    return item


def _tower_blocks(adapter: Adapter, config: Any, item: Item, units: Sequence[int]) -> float:
    """FLOPs of a tower's blocks on one item with ``units[k]`` units in block k."""
    shape = adapter.tower_shape(config, item.modality)
    flops = 0.0
    for block, count in enumerate(units):
        rows = count * shape.unit + adapter.extra_rows(item)
        mlp = (3 if shape.gated else 2) * shape.width * shape.hidden
        flops += 2 * rows * (4 * shape.width**2 + mlp)
        flops += 4 * shape.width * _squares(adapter, config, item, block, count)
    return flops


def _squares(adapter: Adapter, config: Any, item: Item, block: int, count: int) -> float:
    """Sum of squared segment lengths in rows, survivors spread evenly over the segments."""
    unit = adapter.tower_shape(config, item.modality).unit
    lengths = [len(segment) for segment in adapter.segments(config, item, block)]
    rows = [length * count / item.count * unit for length in lengths]
    rows[-1] += adapter.extra_rows(item)
    return sum(r * r for r in rows)


def prefill_cost(
    adapter: Adapter, config: Any, policy: Policy, batch: Sequence[Request], element_bytes: int = 4
) -> Cost:
    """Cost of one prefill of a batch under a policy.

    Args:
        adapter, config: the model.
        policy: any policy that fits the model.
        batch: requests; rows are padded to the longest.
        element_bytes: size of a cached element.
    """
    decoder = adapter.decoder_shape(config)
    depths = adapter.depths(config)
    stages = {m: policy.modality(m) for m in ("image", "video", "audio")}
    encoder = projector = scoring = 0.0
    owners: list[list[tuple[Item, list[int]]]] = []
    for request in batch:
        owned = []
        for original in request.items:
            item = _shrunk(original, stages[original.modality])
            left, units = item.count, []
            for block in range(depths.encoder[item.modality]):
                units.append(left)
                for stage in stages[item.modality]:
                    if stage.location == "encoder" and stage.layer == block:
                        left = target_count(stage.final_ratio, item.n0, left)
            encoder += adapter.stem_flops(config, item) + _tower_blocks(adapter, config, item, units)
            projector += adapter.projector_flops(config, item)
            owned.append((item, [left] * decoder.layers))
        owners.append(owned)
    for modality in ("image", "video", "audio"):
        scoring += _tower_scoring(adapter, config, modality, stages[modality], batch)
        at_entry: list[tuple[Item, list[int]]] = [
            pair for owned in owners for pair in owned if pair[0].modality == modality
        ]
        if not at_entry:
            continue
        for stage in stages[modality]:
            if stage.location not in ("projector", "decoder"):
                continue
            for layer, ratio in stage.steps():
                depth = layer or 0
                before = [counts[depth] for _, counts in at_entry]
                after = [target_count(ratio, item.n0, n) for (item, _), n in zip(at_entry, before, strict=True)]
                if before == after:
                    continue
                length = max(r.text + sum(c[depth] for _, c in o) for r, o in zip(batch, owners, strict=True))
                scoring += _scoring(adapter, config, stage, len(batch), length, before, after)
                for (_, counts), n in zip(at_entry, after, strict=True):
                    counts[depth:] = [n] * (decoder.layers - depth)
    lengths = [
        max(r.text + sum(c[k] for _, c in o) for r, o in zip(batch, owners, strict=True)) for k in range(decoder.layers)
    ]
    rows = len(batch)
    attention_width = decoder.heads * decoder.head_dim
    kv_width = decoder.kv_heads * decoder.head_dim
    weights = 2 * decoder.width * attention_width + 2 * decoder.width * kv_width + 3 * decoder.width * decoder.hidden
    layers = sum(rows * (2 * n * weights + 4 * n * n * attention_width) for n in lengths)
    head = rows * 2 * lengths[-1] * decoder.width * decoder.vocabulary
    tokens: Counter[str] = Counter()
    for owned in owners:
        for item, counts in owned:
            tokens[item.modality] += counts[-1]
    kv = sum(rows * n * 2 * kv_width * element_bytes for n in lengths)
    return Cost(encoder, projector, layers, head, scoring, kv, dict(tokens), tuple(lengths))


def _feature_width(adapter: Adapter, config: Any, stage: Stage) -> int:
    """Width of what a mechanism multiplies: features, or keys (mean over heads) where it reads them."""
    decoder, tower = adapter.decoder_shape(config), adapter.tower_shape(config, stage.modality)
    if "keys" in stage.build().needs:
        return decoder.head_dim if stage.location == "decoder" else tower.width // tower.heads
    return tower.width if stage.location == "encoder" else decoder.width


def _tower_scoring(
    adapter: Adapter, config: Any, modality: Modality, stages: Sequence[Stage], batch: Sequence[Request]
) -> float:
    """Scores taken inside the tower, and mechanisms of encoder stages."""
    flops = 0.0
    encoder = [s for s in stages if s.location == "encoder"]
    projector = [s for s in stages if s.location == "projector" and "received_attention" in s.build().needs]
    items = [_shrunk(i, stages) for r in batch for i in r.items if i.modality == modality]
    if not items or not (encoder or projector):
        return 0.0
    width = adapter.tower_shape(config, modality).width
    blocks = adapter.depths(config).encoder[modality]
    left = [item.count for item in items]
    received = {s.layer for s in encoder if "received_attention" in s.build().needs}
    if projector:
        received.add(max(0, blocks - 2))
    for block in range(blocks):
        if block in received:
            for item, count in zip(items, left, strict=True):
                flops += 2 * width * _squares(adapter, config, item, block, count)
        for stage in encoder:
            if stage.layer == block:
                after = [target_count(stage.final_ratio, i.n0, n) for i, n in zip(items, left, strict=True)]
                if after != left:
                    d = _feature_width(adapter, config, stage)
                    flops += len(items) * stage.build().flops(max(left), max(after), d)
                left = after
    return flops


def _scoring(
    adapter: Adapter, config: Any, stage: Stage, rows: int, length: int, before: list[int], after: list[int]
) -> float:
    """One projector or decoder reduction: scores on a padded batch, and the mechanism on the padded items."""
    decoder = adapter.decoder_shape(config)
    mechanism = stage.build()
    n = max(before)
    flops = float(len(before) * mechanism.flops(n, max(after), _feature_width(adapter, config, stage)))
    if "text_similarity" in mechanism.needs:
        flops += 2 * len(before) * n * decoder.width
    if stage.location == "decoder":
        own = mechanism.score_source == "own"
        if own and ("last_query_attention" in mechanism.needs or "keys" in mechanism.needs):
            flops += 2 * rows * length * decoder.width * decoder.kv_heads * decoder.head_dim
            flops += 2 * rows * decoder.width * decoder.heads * decoder.head_dim
        if "last_query_attention" in mechanism.needs:
            flops += 2 * rows * length * decoder.heads * decoder.head_dim
    return flops


def policy_floor(
    adapter: Adapter, config: Any, modality: Modality, location: Location, requests: Mapping[Request, int]
) -> float:
    """Lowest FLOPs ratio a location can reach on these requests: one token an item, as early as it can act.

    At the decoder that is layer 1, the first at which scores of a layer before exist; dropping before layer 0 is what a
    projector stage does.

    Args:
        adapter, config: the model.
        modality, location: what is compressed, and where.
        requests: shapes with how often each occurs; those without the modality are left out.
    """
    layer = {"encoder": 0, "decoder": 1}.get(location)
    mechanism = "downsample" if location == "input" else "random"
    stage = Stage(modality=modality, location=location, layer=layer, mechanism=mechanism, keep_ratio=1e-9)
    least = base = 0.0
    for request, times in requests.items():
        if any(item.modality == modality for item in request.items):
            least += times * prefill_cost(adapter, config, Policy(stages=(stage,)), [request]).total
            base += times * prefill_cost(adapter, config, Policy(), [request]).total
    return least / base
