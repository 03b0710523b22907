"""Measured interactions: what a stack of two stages gains or loses against the better of the two at the same cost."""

from autotc.interactions.estimate import additive, interaction
from autotc.interactions.measure import measure_pair, open_store
from autotc.interactions.pairs import default_placements, legal_pairs, parse_pairs, parse_placement
from autotc.interactions.run import check_request, conflicts
from autotc.interactions.settings import ConflictsOptions, ConflictsSettings
from autotc.records.interaction import Conflicts, Interaction, InteractionRow, Pair, effect

__all__ = [
    "Conflicts",
    "ConflictsOptions",
    "ConflictsSettings",
    "Interaction",
    "InteractionRow",
    "Pair",
    "additive",
    "check_request",
    "conflicts",
    "default_placements",
    "effect",
    "interaction",
    "legal_pairs",
    "measure_pair",
    "open_store",
    "parse_pairs",
    "parse_placement",
]
