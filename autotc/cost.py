"""FLOPs, tokens and KV bytes of a policy on a model and an input shape; floors. Analytic: nothing runs.

Conventions: multiply and add count as two; causal attention counts in full; grouped-query attention and three-matrix
MLPs are known; matrix products of scores and mechanisms count. A batch is charged as it runs, padded to its longest
row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotc.mechanisms import LAYER_SCORES, RANK_ROUNDS, TOWER_SCORES, MechanismBase, Work
from autotc.models import Adapter, Item, spread
from autotc.models.media import Shrink
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.vocabulary import Location, Modality


@dataclass(frozen=True)
class Request:
    """Shape of one request.

    Attributes:
        items: its media, uncompressed.
        text: its other tokens: text, template and delimiters.
        query: those of them that belong to the query span.
    """

    items: tuple[Item, ...]
    text: int
    query: int = 0

    @property
    def tokens(self) -> int:
        """Length of the uncompressed prompt."""
        return self.text + sum(item.count for item in self.items)


def request_shapes(adapter: Adapter, config: Any, inputs: Mapping[str, Any]) -> tuple[Request, ...]:
    """Shapes of a batch's rows, from what the model is called with.

    Args:
        adapter, config: the model.
        inputs: the model's arguments, with ``input_ids`` and ``attention_mask``.
    """
    placeholders = adapter.placeholders(config)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    owned: list[list[Item]] = [[] for _ in range(len(ids))]
    text = mask.sum(1).tolist()
    for modality, name in adapter.shape_inputs().items():
        if inputs.get(name) is None:
            continue
        left = (ids == placeholders[modality]).sum(1).tolist()
        row = 0
        for item in adapter.geometry(config, modality, inputs):
            while left[row] == 0:
                row += 1
            owned[row].append(item)
            left[row] -= item.slots
            text[row] -= item.count
    query = adapter.query_mask(config, ids, mask).sum(1).tolist()
    return tuple(Request(tuple(items), n, q) for items, n, q in zip(owned, text, query, strict=True))


@dataclass(frozen=True)
class Reduced:
    """What a step of a policy removes.

    Attributes:
        stage: the stage.
        items: that it acts on.
        before, after: most tokens that one of them has.
    """

    stage: Stage
    items: int
    before: int
    after: int


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
        lm_tokens: modality -> tokens in the language model, averaged over its layers and summed over items.
        lengths: sequence length at each decoder layer (the longest row's).
        towers: modality -> rows of its tower summed over blocks, and pairs of rows that attend to each other.
        reductions: steps that remove tokens, in order.
    """

    encoder: float
    projector: float
    decoder: float
    head: float
    scoring: float
    kv_bytes: float
    tokens: dict[str, int]
    lm_tokens: dict[str, float]
    lengths: tuple[int, ...]
    towers: dict[str, tuple[float, float]] = field(default_factory=dict)
    reductions: tuple[Reduced, ...] = ()

    @property
    def total(self) -> float:
        """All FLOPs."""
        return self.encoder + self.projector + self.decoder + self.head + self.scoring


def _shrunk(adapter: Adapter, config: Any, policy: Policy, request: Request) -> Request:
    """The request as its input stages leave it, words that stand for media included."""
    items, text = list(request.items), request.text
    for stage in policy.stages:
        mine = [item for item in items if item.modality == stage.modality]
        if stage.location != "input" or not mine:
            continue
        fewer = adapter.shrink(config, mine, Shrink(stage.input_mechanism(), stage.final_ratio))
        text += sum(item.structure for item in fewer) - sum(item.structure for item in mine)
        items = [item for item in items if item.modality != stage.modality] + fewer
    return replace(request, items=tuple(items), text=text)


def _tower_rows(adapter: Adapter, config: Any, items: Sequence[Item], block: int, left: Sequence[int]) -> list[float]:
    """Rows of each segment of a block that still run, survivors spread evenly over an item's segments.

    Segments of a tiled tower are rows of one batch, padded to the longest.
    """
    rows: list[float] = []
    for item, count in zip(items, left, strict=True):
        shape = adapter.tower_shape(config, item.modality)
        sizes = [len(segment) for segment in adapter.segments(config, item, block)]
        kept: Sequence[float] = spread(count, sizes) if shape.tiled else [size * count / item.count for size in sizes]
        spare = adapter.spare_rows(config, item, block)
        rows += [units * shape.unit + more for units, more in zip(kept, spare, strict=True)]
    if items and adapter.tower_shape(config, items[0].modality).tiled:
        return [max(rows)] * len(rows)
    return rows


def _tower_block(adapter: Adapter, config: Any, items: Sequence[Item], block: int, left: Sequence[int]) -> float:
    """FLOPs of a block of a tower on items with ``left`` units each."""
    shape = adapter.tower_shape(config, items[0].modality)
    rows = _tower_rows(adapter, config, items, block, left)
    mlp = (3 if shape.gated else 2) * shape.width * shape.hidden
    return 2 * sum(rows) * (4 * shape.width**2 + mlp) + 4 * shape.width * sum(r * r for r in rows)


Realised = Mapping[tuple[int, int | None], Sequence[int]]
"""(index of a stage in the policy, layer) -> tokens it left of each item of its modality, in the batch's order."""


def prefill_cost(
    adapter: Adapter,
    config: Any,
    policy: Policy,
    batch: Sequence[Request],
    element_bytes: int = 4,
    realised: Realised | None = None,
) -> Cost:
    """Cost of one prefill of a batch under a policy.

    Args:
        adapter, config: the model.
        policy: any policy that fits the model.
        batch: requests; rows are padded to the longest.
        element_bytes: size of a cached element.
        realised: what adaptive stages were seen to leave; without it they are charged at their budget.
    """
    known = realised or {}
    numbers = {id(stage): i for i, stage in enumerate(policy.stages)}

    def left_by(stage: Stage, layer: int | None, items: Sequence[Item], before: Sequence[int]) -> list[int]:
        """Tokens that a step leaves of each item."""
        seen = known.get((numbers[id(stage)], layer))
        if seen is not None:
            return list(seen)
        ratio, rule = dict(stage.steps())[layer], stage.build().target
        return [rule(ratio, item.n0, n, item.grid) for item, n in zip(items, before, strict=True)]

    decoder = adapter.decoder_shape(config)
    depths = adapter.depths(config)
    stages = {m: policy.modality(m) for m in ("image", "video", "audio")}
    encoder = projector = scoring = 0.0
    towers: dict[str, tuple[float, float]] = {}
    reductions: list[Reduced] = []
    batch = [_shrunk(adapter, config, policy, request) for request in batch]
    owners: list[list[tuple[Item, list[int]]]] = [[(item, []) for item in request.items] for request in batch]
    for modality in ("image", "video", "audio"):
        members = [pair for owned in owners for pair in owned if pair[0].modality == modality]
        items = [item for item, _ in members]
        left = [item.count for item in items]
        in_tower = {k: s for s in stages[modality] if s.location == "encoder" for k, _ in s.steps()}
        for block in range(depths.encoder.get(modality, 0) if items else 0):
            encoder += _tower_block(adapter, config, items, block, left)
            rows, pairs = towers.get(modality, (0.0, 0.0))
            running = _tower_rows(adapter, config, items, block, left)
            towers[modality] = (rows + sum(running), pairs + sum(r * r for r in running))
            scoring += _block_scores(adapter, config, stages[modality], block, items, left)
            if block in in_tower:
                after = left_by(in_tower[block], block, items, left)
                if after != left:
                    reductions.append(Reduced(in_tower[block], len(items), max(left), max(after)))
                    scoring += _tower_mechanism(adapter, config, in_tower[block], items, left, after)
                left = after
        for (item, counts), count in zip(members, left, strict=True):
            encoder += adapter.stem_flops(config, item)
            projector += adapter.projector_flops(config, item)
            counts += [count] * decoder.layers
    for modality in ("image", "video", "audio"):
        members = [pair for owned in owners for pair in owned if pair[0].modality == modality]
        for stage in stages[modality]:
            if not members or stage.location not in ("projector", "decoder"):
                continue
            for layer, _ in stage.steps():
                depth = layer or 0
                items = [item for item, _ in members]
                before = [counts[depth] for _, counts in members]
                after = left_by(stage, layer, items, before)
                if before == after:
                    continue
                reductions.append(Reduced(stage, len(items), max(before), max(after)))
                length = max(r.text + sum(c[depth] for _, c in o) for r, o in zip(batch, owners, strict=True))
                scoring += _scoring(adapter, config, stage, batch, length, items, before, after)
                for (_, counts), n in zip(members, after, strict=True):
                    counts[depth:] = [n] * (decoder.layers - depth)
    lengths = [
        max(r.text + sum(c[k] for _, c in o) for r, o in zip(batch, owners, strict=True)) for k in range(decoder.layers)
    ]
    count = len(batch)
    attention_width = decoder.heads * decoder.head_dim
    kv_width = decoder.kv_heads * decoder.head_dim
    weights = 2 * decoder.width * (attention_width + kv_width)
    weights += decoder.width * (3 * decoder.hidden + decoder.experts)
    layers = sum(count * (2 * n * weights + 4 * n * n * attention_width) for n in lengths)
    head = count * 2 * lengths[-1] * decoder.width * decoder.vocabulary
    tokens: Counter[str] = Counter()
    lm_tokens: dict[str, float] = {}
    for owned in owners:
        for item, counts in owned:
            tokens[item.modality] += counts[-1]
            lm_tokens[item.modality] = lm_tokens.get(item.modality, 0.0) + sum(counts) / decoder.layers
    kv = sum(count * n * 2 * kv_width * element_bytes for n in lengths)
    return Cost(
        encoder, projector, layers, head, scoring, kv, dict(tokens), lm_tokens, tuple(lengths), towers,
        tuple(reductions),
    )  # fmt: skip


def _work(
    adapter: Adapter, config: Any, stage: Stage, mechanism: MechanismBase, n: int, m: int, frames: int, query: int
) -> Work:
    """Shape of one reduction."""
    decoder, tower = adapter.decoder_shape(config), adapter.tower_shape(config, stage.modality)
    d = tower.width if stage.location == "encoder" else decoder.width
    k = decoder.head_dim if stage.location == "decoder" else tower.width // tower.heads
    return Work(n, m, d, k if "keys" in mechanism.needs else d, frames, query)


def _block_scores(
    adapter: Adapter, config: Any, stages: Sequence[Stage], block: int, items: Sequence[Item], left: Sequence[int]
) -> float:
    """Attention scores taken in a block of the tower."""
    for stage in stages:
        if stage.location not in ("encoder", "projector"):
            continue
        for need in (TOWER_SCORES - {"keys"}) & set(stage.build().needs):
            scored = {k for k, _ in stage.steps()}
            if stage.location == "projector":
                scored = {adapter.score_block(config, stage.modality, need)}
            if block in scored:
                width = adapter.tower_shape(config, stage.modality).width
                return 2 * width * sum(r * r for r in _tower_rows(adapter, config, items, block, left))
    return 0.0


def _tower_mechanism(
    adapter: Adapter, config: Any, stage: Stage, items: Sequence[Item], before: Sequence[int], after: Sequence[int]
) -> float:
    """The mechanism of an encoder stage, on the padded items; on each tile of a tiled tower."""
    mechanism = stage.build()
    frames = max(item.grid[0] for item in items)
    if adapter.tower_shape(config, stage.modality).tiled:
        sizes = [[len(tile) for tile in adapter.segments(config, item, 0)] for item in items]
        before = [n for count, tiles in zip(before, sizes, strict=True) for n in spread(count, tiles)]
        after = [n for count, tiles in zip(after, sizes, strict=True) for n in spread(count, tiles)]
    work = _work(adapter, config, stage, mechanism, max(before), max(after), frames, 0)
    return len(before) * mechanism.flops(work)


def _scoring(
    adapter: Adapter,
    config: Any,
    stage: Stage,
    batch: Sequence[Request],
    length: int,
    items: Sequence[Item],
    before: list[int],
    after: list[int],
) -> float:
    """One projector or decoder reduction: scores on a padded batch, and the mechanism on the padded items."""
    decoder = adapter.decoder_shape(config)
    mechanism = stage.build()
    n, rows = max(before), len(batch)
    query = max(1, *(request.query for request in batch))
    frames = max(item.grid[0] for item in items)
    work = _work(adapter, config, stage, mechanism, n, max(after), frames, query)
    needs = set(mechanism.needs)
    flops = float(len(before) * mechanism.flops(work))
    if "text_similarity" in needs:
        flops += 2 * len(before) * n * decoder.width
    if stage.location != "decoder" or not needs & LAYER_SCORES:
        return flops
    width = decoder.heads * decoder.head_dim
    # Query rows that are projected and multiplied with every key of the sequence.
    queries = {
        "last_query_attention": rows,
        "text_attention": rows * query,
        "received_attention": len(before) * n,
        "attention_rank": rows * length,
    }
    flops += sum(2 * queries[need] * length * width for need in needs & {*queries} - {"attention_rank"})
    if "attention_rank" in needs:
        flops += RANK_ROUNDS * 2 * rows * length * length * (width + decoder.heads)
    if "global_query_attention" in needs:
        flops += 2 * len(before) * n * width
    if mechanism.score_source == "own":
        flops += 2 * rows * length * decoder.width * decoder.kv_heads * decoder.head_dim
        projected = sum(queries[need] for need in needs & {*queries})
        projected += len(before) * n if "global_query_attention" in needs else 0
        flops += 2 * projected * decoder.width * width
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
            base += times * prefill_cost(adapter, config, UNCOMPRESSED, [request]).total
    return least / base
