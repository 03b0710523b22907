"""Splits: disjoint, in their shares, none empty where there is enough to divide."""

from __future__ import annotations

import pytest

from autotc.evaluate.splits import SHARES, Member, clusters, divide


def counts(members: list[Member], seed: int = 0) -> dict[str, int]:
    where = divide(members, seed)
    assert where.keys() == {member.id for member in members}
    return {name: sum(split == name for split in where.values()) for name in SHARES}


@pytest.mark.parametrize("number", range(3, 40))
def test_no_split_is_empty_and_shares_are_kept(number: int) -> None:
    found = counts([Member(str(i), "image") for i in range(number)])
    assert min(found.values()) >= 1
    assert all(abs(found[name] - share * number) < 1 for name, share in SHARES.items())


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_that_most_samples_share_leaves_the_others_two_splits(seed: int) -> None:
    many = [Member(f"a{i}", "image", ["a.png"]) for i in range(20)]
    found = counts([*many, Member("b", "image", ["b.png"]), Member("c", "image", ["c.png"])], seed)
    assert sorted(found.values()) == [1, 1, 20]


def test_two_units_cannot_fill_three_splits() -> None:
    found = counts([Member("a", "image"), Member("b", "image")])
    assert sorted(found.values()) == [0, 1, 1]


def test_clusters_are_what_samples_share_directly_or_through_others() -> None:
    members = [
        Member("a", "image", ["1.png"]),
        Member("c", "image", ["2.png"]),
        Member("b", "image", ["1.png", "2.png"]),
        Member("d", "image", ["3.png"]),
        Member("e", "image", ["4.png"], "report 7"),
        Member("f", "audio", ["5.wav"], "report 7"),
        Member("g", "image", ["6.png"], "report 8"),
    ]
    found = clusters(members)
    assert {found[name] for name in "abc"} == {"media of a"}
    assert [found[name] for name in "defg"] == ["", "report 7", "report 7", "report 8"]


@pytest.mark.parametrize("seed", range(6))
def test_clusters_stay_in_one_split(seed: int) -> None:
    members = [Member(str(i), "image", cluster=f"scene {i // 4}") for i in range(40)]
    where = divide(members, seed)
    assert all(len({where[str(i)] for i in range(first, first + 4)}) == 1 for first in range(0, 40, 4))
