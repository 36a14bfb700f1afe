"""Run lengths against the tables of Lucas and Saccucci (1990) and Lucas and Crosier (1982)."""

import pytest

from mlg.stats.arl import cusum_arl, design, ewma_arl, shewhart_arl

EWMA = {0: 500, 0.25: 255, 0.5: 88.8, 0.75: 35.9, 1: 17.5, 1.5: 6.53, 2: 3.63, 3: 1.93, 4: 1.34}
CUSUM = {0: 168, 0.25: 74.2, 0.5: 26.6, 0.75: 13.3, 1: 8.38, 1.5: 4.75, 2: 3.34, 3: 2.19}


@pytest.mark.parametrize(("shift", "published"), EWMA.items())
def test_ewma_meets_lucas_and_saccucci_1990(shift: float, published: float) -> None:
    found = ewma_arl(0.5, 3.071, shift=shift, two_sided=True)
    assert found == pytest.approx(published, rel=5e-3)


@pytest.mark.parametrize(("shift", "published"), CUSUM.items())
def test_cusum_meets_lucas_and_crosier_1982(shift: float, published: float) -> None:
    found = cusum_arl(0.5, 4.0, shift=shift, two_sided=True)
    assert found == pytest.approx(published, rel=5e-3)


def test_shewhart_is_the_closed_form() -> None:
    assert shewhart_arl(3.0, two_sided=True) == pytest.approx(370.398, rel=1e-5)
    assert shewhart_arl(3.0, shift=1.0, two_sided=True) == pytest.approx(43.89, rel=1e-3)


def test_design_is_the_inverse() -> None:
    assert design("ewma", 500.0, lam=0.1, two_sided=True) == pytest.approx(2.814, abs=1e-3)
    assert design("cusum", 500.0, k=0.5, two_sided=True) == pytest.approx(5.071, abs=2e-3)
