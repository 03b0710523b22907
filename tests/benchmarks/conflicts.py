"""Which stacks conflict on the embedded model, and does the predicted score tell, on stages it was not fitted on?

    python tests/benchmarks/conflicts.py measure [--minutes 50] [--claims]
    python tests/benchmarks/conflicts.py report

Mechanisms are divided into two halves. ``measure`` takes pairs of stages of one half in a fixed random order, both
halves in turn, and pairs for the survey's claims, and measures their interactions on the test split (600 samples of the
modality); it may be stopped, and goes on where it was. ``report`` (`conflicts_report.py`) fits the score on half 1,
whose weights are those of `autotc.conflicts.predicted`, tests it on half 2, looks at the claims, and writes
``results/conflicts.csv``, ``conflicts.md`` and a heatmap of each modality. What the score reads is of the search split.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotc.errors import AutotcError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.interactions import Interaction, Pair, legal_pairs, measure_pair, open_store, parse_placement
from autotc.placement import Placement
from autotc.records.interaction import Keeps
from autotc.vocabulary import MODALITIES

FOLDER = Path("runs/conflicts/benchmark")
SPLIT = "test"
KEEPS: tuple[Keeps, ...] = ((0.5, 0.25), (0.3, 0.1), (0.7, 0.15))
HALVES: dict[int, tuple[str, ...]] = {
    1: (
        *("random@projector", "avg_pool@projector"),
        *("a_tome@projector", "divprune@projector", "divprune@encoder", "evs@projector", "floc@projector"),
        *("floc@decoder", "mob@decoder", "scissor@projector", "vidcom2@projector", "g_prune@projector"),
        *("btp@decoder", "prumerge@projector", "received_attention@encoder", "received_attention@decoder"),
        *("visionzip@projector", "cdpruner@projector", "sparsevlm@decoder"),
    ),
    2: (
        *("uniform_stride@projector", "frequency@projector"),
        *("dart@decoder", "dyn_ttm@projector", "folder@encoder", "fastadasp@decoder", "pact_dbdpc@decoder"),
        *("tome@encoder", "tome@projector", "tome@decoder", "framefusion@projector"),
        *("fastv@decoder", "pyramiddrop@decoder", "rep_shift@encoder", "rep_shift@decoder", "vispruner@projector"),
        *("cls_attention@projector", "pooled_query@projector", "text_similarity@projector", "text_attention@decoder"),
    ),
}
"""Families are spread evenly; a mechanism is in one half wherever it stands."""
CLAIMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "external query pruning + decoder attention pruning": (
        ("cdpruner@projector", "text_similarity@projector", "pooled_query@projector"),
        ("fastv@decoder", "pyramiddrop@decoder", "sparsevlm@decoder"),
    ),
    "attention-keep + similarity-merge": (
        ("received_attention@encoder", "cls_attention@projector", "vispruner@projector"),
        ("tome@projector", "tome@decoder", "pact_dbdpc@decoder"),
    ),
    "redundancy first, then relevance": (
        ("divprune@projector", "floc@projector", "tome@projector", "evs@projector"),
        ("fastv@decoder", "text_attention@decoder", "text_similarity@decoder"),
    ),
}
"""The survey's (2507.20198, section 6.3): first stages and second stages of each."""


def places(evaluator: BuiltinEvaluator, names: tuple[str, ...]) -> list[Placement]:
    """Places by their names."""
    return [parse_placement(name, evaluator.depths) for name in names]


def pairs(evaluator: BuiltinEvaluator, quiet: bool = False) -> Iterator[tuple[str, Pair]]:
    """(half or claim, pair) of all that may be measured, in the order in which they are."""
    lists: list[list[tuple[str, Pair]]] = []
    for half, names in HALVES.items():
        for modality in MODALITIES:
            found = list(legal_pairs(evaluator, places(evaluator, names), [modality], KEEPS))
            random.Random(f"{half} {modality}").shuffle(found)
            lists.append([(f"half {half}", pair) for pair in found])
    claims: list[tuple[str, Pair]] = []
    for claim, (firsts, seconds) in CLAIMS.items():
        for modality, first, second in itertools.product(
            MODALITIES, places(evaluator, firsts), places(evaluator, seconds)
        ):
            for keeps in KEEPS[:2]:
                pair = Pair(first, second, modality, keeps)
                if first.takes(modality) and second.takes(modality):
                    try:
                        pair.check(evaluator)
                    except AutotcError as error:
                        if not quiet:
                            print(f"claim, refused: {pair.label}: {error}", flush=True)
                        continue
                    claims.append((claim, pair))
    random.Random("claims").shuffle(claims)
    lists.append(claims)
    for turn in itertools.zip_longest(*lists):
        yield from (entry for entry in turn if entry is not None)


def measure(minutes: float, only_claims: bool) -> None:
    """Measure in order until the time is over."""
    evaluator = BuiltinEvaluator()
    store = open_store(evaluator, SPLIT, None, FOLDER)
    until = time.monotonic() + 60 * minutes
    done: list[tuple[str, Interaction]] = []
    todo = [entry for entry in pairs(evaluator) if not only_claims or entry[0] in CLAIMS]
    print(f"{len(todo)} pairs", flush=True)
    for group, pair in todo:
        if time.monotonic() > until:
            break
        try:
            found = measure_pair(evaluator, store, pair, SPLIT, None)
        except AutotcError as error:
            print(f"{pair.label}: {error}", flush=True)
            continue
        done.append((group, found))
        mean, low, high = found.interaction
        shown = f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        print(f"{len(done)} {group} {pair.label} {shown} {found.effect} {found.reached}", flush=True)


class _Known(BuiltinEvaluator):
    """Runs nothing: what is not in the store is not reported."""

    def run(self, *_args: Any, **_kwargs: Any) -> Any:
        raise LookupError


def known() -> list[tuple[str, Interaction]]:
    """Everything that was measured."""
    evaluator = _Known()
    store = open_store(evaluator, SPLIT, None, FOLDER)
    out: dict[str, tuple[str, Interaction]] = {}
    # A pair of a claim may be one of a half too, and then counts there.
    for group, pair in sorted(pairs(evaluator, quiet=True), key=lambda entry: entry[0] in CLAIMS):
        if pair.label in out:
            continue
        try:
            out[pair.label] = group, measure_pair(evaluator, store, pair, SPLIT, None)
        except (LookupError, AutotcError):
            continue
    return list(out.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("measure", "report"))
    parser.add_argument("--minutes", type=float, default=50, help="of measuring")
    parser.add_argument("--claims", action="store_true", help="measure the pairs of the survey's claims alone")
    args = parser.parse_args()
    if args.what == "measure":
        measure(args.minutes, args.claims)
    else:
        # Beside this file, and reads its tables.
        from conflicts_report import report

        report(known())
