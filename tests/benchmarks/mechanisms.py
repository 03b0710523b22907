"""What scoring and selecting cost: ratios of two things run in turn, memory in bytes, shares of FLOPs.

    python tests/benchmarks/mechanisms.py [--only loops|memory|shares] [--rounds 3]

- loops: ``divprune`` against the published O(M^2 N) loop and ``cdpruner`` against greedy MAP with a determinant per
  step, at N = 2304, the same tokens kept.
- memory: the most that ``last_query_attention`` and ``received_attention`` hold at once, and their share of a layer.
- shares: scoring and selection of every preset at N = 2304 as a share of a 7B-shaped prefill's FLOPs, and as a share of
  the embedded model's prefill time.
"""

from __future__ import annotations

import argparse
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniThinkerConfig

from autotc.cost import Request, prefill_cost
from autotc.cost.layers import layer_flops
from autotc.errors import PolicyError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.mechanisms import Tokens, build_mechanism
from autotc.models import bind_config
from autotc.models.adapter import Adapter
from autotc.models.geometry import Item
from autotc.models.published import PUBLISHED
from autotc.models.qwen2_5_omni import AudioItem, Qwen25OmniThinker
from autotc.models.shapes import Projections
from autotc.policy import Policy
from autotc.presets import PRESETS
from autotc.runtime.columns import gather_columns
from autotc.runtime.layer_scores import LayerScores
from autotc.runtime.scores import ROWS, received_attention
from autotc.runtime.tracks import Track
from autotc.vocabulary import Modality

N = 2304


def seven_billion() -> Any:
    """Qwen2.5-Omni-7B's thinker: the sizes of Qwen2.5-VL-7B, and its own audio tower."""
    _, sizes = PUBLISHED["qwen2.5-vl-7b"]
    return Qwen2_5OmniThinkerConfig(text_config=sizes["text_config"], vision_config=sizes["vision_config"])


def seconds(*calls: Callable[[], object], rounds: int) -> list[float]:
    """Fastest of some rounds of each call, run in turn."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def one_item(features: Tensor) -> Tokens:
    """Tokens of one item in a line."""
    n = features.shape[0]
    valid = torch.ones(1, n, dtype=torch.bool)
    grid = torch.stack([torch.arange(n), torch.zeros(n).long(), torch.zeros(n).long()], 1)[None]
    return Tokens(features[None], valid, grid, torch.zeros(1, n, 6), valid.float())


def published_divprune(features: Tensor, m: int) -> Tensor:
    """Max-min selection that looks up the distances to all chosen tokens again at every step."""
    unit = torch.nn.functional.normalize(features, dim=1)
    distance = 1.0 - unit @ unit.T
    chosen = torch.empty(m, dtype=torch.long)
    for step in range(m):
        if step == 0:
            score = torch.topk(distance, 2, dim=0, largest=False).values[1]
        else:
            # A chosen token is at distance 0 from itself, so that it is not chosen again.
            score = torch.min(torch.index_select(distance, 0, chosen[:step]), dim=0).values
        chosen[step] = score.argmax()
    return chosen.sort().values


def loops(rounds: int) -> None:
    """Sequential rules against loops that look everything up again."""
    features = torch.randn(N, 1024, generator=torch.Generator().manual_seed(0))
    tokens = one_item(features)
    print(f"| divprune, N = {N} | published loop, s | ours, s | ratio | same tokens |\n|---|---|---|---|---|")
    divprune = build_mechanism("divprune")
    for m in (230, 576, 1152):
        budget = torch.tensor([m])
        kept = divprune.reduce(tokens, budget, {}).keep[0]
        same = bool(torch.equal(kept, published_divprune(features, m)))
        theirs, ours = seconds(
            lambda m=m: published_divprune(features, m),
            lambda budget=budget: divprune.reduce(tokens, budget, {}),
            rounds=rounds,
        )
        print(f"| M = {m} | {theirs:.3f} | {ours:.3f} | {theirs / ours:.1f} | {same} |", flush=True)
    print()
    relevance: dict[Any, Tensor] = {"text_similarity": torch.rand(1, N, generator=torch.Generator().manual_seed(1))}
    cdpruner = build_mechanism("cdpruner")
    print(f"| cdpruner, N = {N} | s | FLOPs of the greedy steps |\n|---|---|---|")
    for m in (115, 230, 576):
        (spent,) = seconds(lambda m=m: cdpruner.reduce(tokens, torch.tensor([m]), relevance), rounds=rounds)
        print(f"| M = {m} | {spent:.3f} | {N * (m - 1) * (m - 2):.3g} |", flush=True)
    print()


class Peak(TorchDispatchMode):
    """The most bytes that tensors made inside it hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the storages that an operator makes."""
        inputs = {x.untyped_storage()._cdata for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage._cdata in inputs or storage in self._seen:
                continue
            size = storage.nbytes()
            self._seen.add(storage)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, size)
        return out

    def _gone(self, size: int) -> None:
        self.now -= size


def memory() -> None:
    """What scores hold at most, at the shape of a 7B decoder layer and of a tower."""
    adapter: Adapter = Qwen25OmniThinker()
    length, heads, groups, width = 4096, 28, 4, 128
    query = torch.randn(1, length, heads * width)
    key = torch.randn(1, length, groups * width)
    angles = torch.randn(1, length, width)
    # What the layer before has projected is there already; only what scoring adds is measured.
    plain = torch.nn.Identity(), torch.nn.Identity()
    projections = Projections(*plain, heads, groups, width**-0.5, rotation=apply_rotary_pos_emb)
    scores = LayerScores(
        projections,
        lambda rows, at: gather_columns(query, rows, at),
        key,
        (angles.cos(), angles.sin()),
        torch.ones(1, length, dtype=torch.bool),
        "mean",
    )
    track = Track.start([Item("image", (1, 64, 64), length, (0.0, 1.0, 1.0))], torch.device("cpu"))
    track.row, track.column = torch.zeros(1, dtype=torch.long), torch.arange(length)[None]
    with Peak() as peak:
        scores.last_query_attention(track)
    config = seven_billion()
    shape = adapter.decoder_shape(config)
    one = shape.layers[0]
    kv, attention = one.kv_heads * one.head_dim, one.heads * one.head_dim
    layer = layer_flops(shape.width, one, length)
    scored = 2 * length * attention
    print("| score | held at most, MiB | in units | N x N weights would be, MiB | FLOPs, % of the layer |")
    print("|---|---|---|---|---|")
    row = heads * length * 4
    print(
        f"| last_query_attention, previous, N = {length} | {peak.most / 2**20:.2f} |"
        f" {peak.most / row:.1f} x heads x N floats | {row * length / 2**20:.0f} | {100 * scored / layer:.4f} |"
    )
    own = 2 * length * shape.width * kv + 2 * shape.width * attention
    print(f"| last_query_attention, own | | | | {100 * (scored + own) / layer:.4f} |")
    rows, tower_heads = 4096, 16
    q, k = (torch.randn(rows, tower_heads, 80) for _ in range(2))
    with Peak() as peak:
        received_attention(q, k, [0, rows], 0.1)
    block = tower_heads * ROWS * rows * 4
    print(
        f"| received_attention, tower, N = {rows} | {peak.most / 2**20:.1f} |"
        f" {peak.most / block:.1f} x heads x {ROWS} rows x N floats | {tower_heads * rows**2 * 4 / 2**20:.0f} | |"
    )
    print()


def shares() -> None:
    """Scoring and selection of every preset: share of FLOPs at N = 2304, share of time on the embedded model."""
    bound = bind_config(seven_billion(), Qwen25OmniThinker.architectures[0])
    items: dict[Modality, Item] = {
        "image": Item("image", (1, 48, 48), N, (0.0, 28.0, 28.0)),
        "video": Item("video", (16, 12, 12), N, (1.0, 28.0, 28.0)),
        "audio": AudioItem("audio", (N, 1, 1), N, (0.04, 0.0, 0.0), 0, 4 * N),
    }
    depths = bound.depths
    evaluator = BuiltinEvaluator()
    print(
        f"| preset at keep 0.25 | modality | % of a 7B-shaped prefill's FLOPs, N = {N} |"
        " % of the embedded model's time |"
    )
    print("|---|---|---|---|")
    for name, preset in PRESETS.items():
        for modality in preset.modalities:
            policy = Policy.of(preset.build(modality, depths, 0.25))
            cost = prefill_cost(bound, policy, [Request((items[modality],), 64, 32)])
            share = f"{100 * cost.scoring / cost.total:.2f}"
            try:
                mine = Policy.of(preset.build(modality, evaluator.depths, 0.25))
            except PolicyError as error:
                print(f"| {name} | {modality} | {share} | {error} |")
                continue
            time_share = evaluator.time_prefill(mine, "test", modality).scoring_share
            print(f"| {name} | {modality} | {share} | {100 * time_share:.1f} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=("loops", "memory", "shares"))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    with torch.inference_mode():
        if args.only in (None, "loops"):
            loops(args.rounds)
        if args.only in (None, "memory"):
            memory()
        if args.only in (None, "shares"):
            shares()


if __name__ == "__main__":
    main()
