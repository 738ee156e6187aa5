"""Figures are what their names say, checked against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_models.figures import agreement, table, wilson, window_figures


def column(*values: float) -> "np.typing.NDArray[np.float32]":
    return np.array(values, dtype=np.float32)[:, None]


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    found = window_figures(column(0.9, 0.8, 0.2, 0.6), column(1, 0, 1, 1), column(1, 1, 1, 1), ["siren"])
    assert found.f1["siren"] == pytest.approx(2 * 2 / (3 + 3))
    assert found.macro_f1 == found.f1["siren"]


def test_unknown_targets_change_no_figure() -> None:
    found = window_figures(column(0.9, 0.9), column(1, 0), column(1, 0), ["siren"])
    assert found.f1["siren"] == 1.0


def test_nothing_right_is_zero_and_not_an_error() -> None:
    assert window_figures(column(0.1), column(1), column(1), ["siren"]).f1["siren"] == 0.0


def test_agreement_of_a_model_with_itself_is_full() -> None:
    logits = np.random.default_rng(1).standard_normal((9, 7)).astype(np.float32)
    same = agreement(logits, logits)
    assert same.top_1 == 1.0
    assert same.cosine == pytest.approx(1.0)
    assert agreement(-logits, logits).cosine == pytest.approx(-1.0)


def test_wilson_knows_the_textbook_case() -> None:
    low, high = wilson(9, 10)
    assert low == pytest.approx(0.596, abs=0.001)
    assert high == pytest.approx(0.982, abs=0.001)


@given(st.integers(0, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_a_wilson_interval_holds_its_share(case: tuple[int, int]) -> None:
    hits, of = case
    low, high = wilson(hits, of)
    assert 0.0 <= low <= high <= 1.0
    if of:
        assert low - 1e-9 <= hits / of <= high + 1e-9


def test_a_table_is_markdown() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"
