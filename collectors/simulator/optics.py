"""Optics and FEC of the switches' ports: light per lane, bit errors, codewords by symbol errors.

Every port has an optical module of four lanes on eight electrical lanes of 53.125 Gbit/s. Its bit error ratio before
FEC lies between 1e-8 and 1e-6 and drifts; when its light fades by `DIM_DB`, it is `DIM_BER`, on a line in between
(logarithm of the ratio over dB). Codewords of RS(544,514) have 544 symbols of 10 bits, whose errors are binomial; 15 of
them can be corrected. Codewords flow as long as the link is up, with traffic or without.

Source: IEEE 802.3 clause 91 (RS-FEC), clause 120 (53.125 Gbit/s a lane).
"""

import math

import numpy as np

from collectors.simulator.noise import Wander
from collectors.simulator.state import Bools, Counters, Floats, Switches

ELECTRICAL_LANES, OPTICAL_LANES = 8, 4
LANE_BITS_PER_SECOND = 53.125e9
PORT_BITS_PER_SECOND = ELECTRICAL_LANES * LANE_BITS_PER_SECOND
SYMBOLS, SYMBOL_BITS, CORRECTABLE = 544, 10, 15
CODEWORDS_PER_SECOND = PORT_BITS_PER_SECOND / (SYMBOLS * SYMBOL_BITS)
BINS = CORRECTABLE + 1
#: symbol errors beyond this many are not counted: their probability is nil at any ratio played
_TAIL = 48
#: what a dimmed port comes to, and how fast
DIM_DB, DIM_BER, DIM_DB_PER_SECOND = 6.0, 8e-4, 0.5
#: limits in the module's memory: alarms for power received, power sent, bias, temperature
RX_LOW_DBM, RX_HIGH_DBM, TX_LOW_DBM, TX_HIGH_DBM, BIAS_HIGH_AMPERES, HIGH_CELSIUS = -6.0, 5.0, -5.0, 5.0, 0.12, 75.0
DRIFT_SECONDS = 10.0

_COUNTS = np.arange(_TAIL + 1)
_LOG_CHOOSE = np.array(
    [math.lgamma(SYMBOLS + 1) - math.lgamma(n + 1) - math.lgamma(SYMBOLS - n + 1) for n in _COUNTS.tolist()]
)


class Optics:
    """The optical modules of all ports; figures go into the switches' state."""

    def __init__(self, shape: tuple[int, int], rng: np.random.Generator) -> None:
        ports = shape[0] * shape[1]
        self._shape = shape
        self._log_ber: Floats = rng.uniform(-8.0, -6.0, shape)
        self._rx: Floats = -1.2 + 0.5 * rng.uniform(-1.0, 1.0, (*shape, OPTICAL_LANES))
        self._tx: Floats = 0.9 + 0.4 * rng.uniform(-1.0, 1.0, (*shape, OPTICAL_LANES))
        self._bias: Floats = 0.075 + 0.004 * rng.uniform(-1.0, 1.0, (*shape, OPTICAL_LANES))
        self._celsius: Floats = 44.0 + 3.0 * rng.uniform(-1.0, 1.0, shape)
        self._drift = Wander(rng, ports, tau_seconds=600.0, sigma=0.1)
        self._loss: Floats = np.zeros(shape)
        self._drifted = -math.inf
        self._up: Bools = np.zeros(shape, dtype=np.bool_)

    def step(self, now: float, state: Switches, dimmed: Bools) -> None:
        """Pass one second: light, bit errors, and the rates of the FEC counters of ports that are up."""
        wanted = np.where(dimmed, DIM_DB, 0.0)
        fades = not np.array_equal(wanted, self._loss)
        if fades:
            self._loss = self._loss + np.clip(wanted - self._loss, -DIM_DB_PER_SECOND, DIM_DB_PER_SECOND)
        drifts = fades or now - self._drifted >= DRIFT_SECONDS
        if drifts:
            self._drifted = now
            self._light(state)
            self._codewords = symbol_error_ratios(state.pre_fec_ber)
        if drifts or not np.array_equal(state.oper_up, self._up):
            self._up = state.oper_up
            self._count(state)

    def recount(self) -> None:
        """Set the rates of the FEC counters anew with the next step: somebody else wrote into them."""
        self._drifted = -math.inf

    def _light(self, state: Switches) -> None:
        drift = self._drift.step().reshape(self._shape)
        state.rx_dbm = self._rx + (0.5 * drift - self._loss)[..., None]
        state.tx_dbm = self._tx + 0.2 * drift[..., None]
        state.bias_amperes = self._bias * (1.0 + 0.01 * drift[..., None])
        state.module_celsius = self._celsius + state.temperature_celsius[:, None] / 10.0 - 4.1
        state.module_volts = np.full(self._shape, 3.3) + 0.01 * drift
        slope = (math.log10(DIM_BER) - self._log_ber) / DIM_DB
        state.pre_fec_ber = 10.0 ** (self._log_ber + slope * self._loss + 0.3 * drift * (self._loss == 0.0))

    def _count(self, state: Switches) -> None:
        # A dark port receives no codewords at all.
        flow = np.where(state.oper_up, CODEWORDS_PER_SECOND, 0.0)[..., None] * self._codewords
        state.fec_bins.rate = flow[..., :BINS]
        state.fec_corrected.rate = flow[..., 1:BINS].sum(axis=-1)
        state.fec_uncorrected.rate = flow[..., BINS:].sum(axis=-1)
        state.fec_symbols.rate = flow[..., :BINS] @ _COUNTS[:BINS]
        state.fec_corrected_bits.rate = np.where(state.oper_up, PORT_BITS_PER_SECOND * state.pre_fec_ber, 0.0)
        seen = flow >= 0.01
        state.fec_max_symbols = np.minimum((seen * _COUNTS).max(axis=-1), CORRECTABLE)


def symbol_error_ratios(ber: Floats) -> Floats:
    """Return the share of codewords with 0, 1, 2 ... symbol errors (last axis) at a bit error ratio."""
    wrong = -np.expm1(SYMBOL_BITS * np.log1p(-ber))[..., None]
    shares: Floats = np.exp(_LOG_CHOOSE + _COUNTS * np.log(wrong) + (SYMBOLS - _COUNTS) * np.log1p(-wrong))
    return shares


def run_before(state: Switches, seconds: float) -> None:
    """Let the FEC counters have run for so long at their rates, so that their totals fit each other."""
    for counters in _fec(state):
        counters.base = np.floor(counters.rate * seconds)


def _fec(state: Switches) -> tuple[Counters, ...]:
    return (
        state.fec_bins,
        state.fec_corrected,
        state.fec_uncorrected,
        state.fec_symbols,
        state.fec_corrected_bits,
    )
