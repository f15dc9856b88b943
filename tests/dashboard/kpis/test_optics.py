"""Light in dBm, by hand."""

import numpy as np
import pytest

from dashboard.kpis import optics

NAN = np.nan
PORT = np.array([0, 0, 0, 0, 1, -1])


def test_light_in_dbm() -> None:
    # 0.8728 mW: 10 log10(0.8728) = -0.59 dBm; 1 mW is 0 dBm, 2 mW 3.01 dBm; darkness has no level.
    found = optics.dbm(np.array([8.728e-4, 1e-3, 2e-3, 0.0, NAN]))
    assert found[:3] == pytest.approx([-0.5908, 0.0, 3.0103], abs=1e-4)
    assert np.isnan(found[3:]).all()


def test_dark_lanes() -> None:
    dark = optics.is_dark(np.array([1e-3, 0.0, NAN, NAN]), np.array([NAN, NAN, 1.0, 0.0]))
    assert dark.tolist() == [False, True, True, False]
    assert optics.dark_lanes(dark, np.array([0, 0, 1, 1]), 3).tolist() == [1, 1, 0]


def test_the_margin_to_the_module_s_alarm() -> None:
    # 1 mW over 0.1 mW is 10 dB; 0.05 mW is 3.01 dB under it.
    assert optics.margin_db(np.array([1e-3, 5e-5]), np.array([1e-4, 1e-4])) == pytest.approx([10.0, -3.0103], abs=1e-4)
    assert np.isnan(optics.margin_db(np.array([1e-3]), np.array([NAN])))


def test_the_spread_of_the_lit_lanes() -> None:
    levels = np.array([-1.0, -4.5, NAN, 0.5, -2.0, -40.0])
    assert optics.lowest(levels, PORT, 3)[:2].tolist() == [-4.5, -2.0]
    spread = optics.spread_db(levels, PORT, 3)
    assert spread[0] == 5.0
    assert np.isnan(spread[1:]).all()
