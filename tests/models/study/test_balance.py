"""No group is ever in two splits, every class is in all three, and weights make rare classes count."""

import math
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_models.corpus import Split
from tocsin_models.study.balance import Item, class_weights, deal
from tocsin_models.study.settings import DataSettings

ITEMS = st.lists(
    st.builds(Item, st.sampled_from("abcde"), st.text("0123456789", min_size=1, max_size=2),
              st.sampled_from(["", "f1", "f2"])),
    max_size=120,
)  # fmt: skip


@given(ITEMS, st.integers(0, 5), st.sampled_from([(), ("f1",)]))
def test_no_group_straddles_and_every_class_is_everywhere(
    items: list[Item], seed: int, folds: tuple[str, ...]
) -> None:
    dealt = deal(items, DataSettings(seed=seed, test_folds=folds))
    where: dict[str, set[Split]] = defaultdict(set)
    found = set()
    for item, split in zip(items, dealt.splits, strict=True):
        if split is not None:
            where[item.group].add(split)
            found.add((item.label, split))
            assert item.fold not in folds or split is Split.TEST
    assert all(len(splits) == 1 for splits in where.values())
    assert found == {(label, split) for label in dealt.classes for split in Split}
    assert set(dealt.classes) | set(dealt.left_out) == {item.label for item in items}


def test_the_shares_are_kept() -> None:
    items = [Item(label, f"{label}{number}") for label in "abc" for number in range(100)]
    counts = Counter(deal(items, DataSettings()).splits)
    assert counts == {Split.TRAIN: 195, Split.VALIDATION: 45, Split.TEST: 60}


def test_three_groups_are_enough_for_a_class() -> None:
    for count in (3, 4, 5):
        items = [Item(label, f"{label}{number}") for label in "ab" for number in range(count)]
        assert deal(items, DataSettings()).classes == ("a", "b")


def test_under_sampling_keeps_to_the_cap_in_training_only() -> None:
    items = [Item("many", f"m{number}") for number in range(200)] + [Item("few", f"f{n}") for n in range(20)]
    dealt = deal(items, DataSettings(max_recordings=30))
    counts = Counter(zip((item.label for item in items), dealt.splits, strict=True))
    assert counts["many", Split.TRAIN] == 30
    assert counts["many", Split.TEST] == 40
    assert counts["few", Split.TRAIN] == 13
    assert dealt == deal(items, DataSettings(max_recordings=30))
    assert dealt != deal(items, DataSettings(max_recordings=30, seed=2))


def test_a_class_of_one_clip_is_left_out_and_the_reason_is_told() -> None:
    items = [Item("good", str(number)) for number in range(9)]
    dealt = deal([*items, Item("lone", "x"), *(Item("one source", "y") for _ in range(5))], DataSettings())
    assert dealt.classes == ("good",)
    assert dealt.left_out["lone"].startswith("1 recordings")
    assert "1 group" in dealt.left_out["one source"]


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=30))
def test_weights_even_classes_out_and_their_mean_over_windows_is_one(counts: list[int]) -> None:
    weights = class_weights(counts, math.inf)
    shares = [weight * count for weight, count in zip(weights, counts, strict=True)]
    assert shares == pytest.approx([sum(counts) / len(counts)] * len(counts))
    capped = class_weights(counts, 1.0)
    assert max(capped) <= max(weights) + 1e-9
    assert sum(w * c for w, c in zip(capped, counts, strict=True)) == pytest.approx(sum(counts))
