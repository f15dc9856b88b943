"""After a start: what the idle state machine would know had it watched all along, from the store.

A GPU that has been parked for an hour is so again at the first snapshot, not half an hour later.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from dashboard import gpus, idle
from dashboard.kpis.levels import best_per_step
from dashboard.kpis.sources import exporter_ranks
from dashboard.kpis.windows import Bools, Floats, Ints, tally
from dashboard.recent import identity
from dashboard.tables import GPU, INFERENCE, Tables
from dashboard.tokens import final_only, who
from storage.store import Store

STEP = timedelta(seconds=30)
#: so much is asked for at once: a step of 10,240 GPUs is 2 MB
CHUNK = 20 * STEP
_GAUGES = (
    "power_watts",
    "power_limit_watts",
    "utilization_ratio",
    "sm_active_ratio",
    "tensor_active_ratio",
    "dram_active_ratio",
    "memory_used_bytes",
    "process_count",
    "lost",
)
_TOKENS = ("live_output_tokens_total", "output_tokens_total")
_REQUESTS = ("requests_running", "requests_waiting")


def verdicts(store: Store, tables: Tables) -> idle.Verdicts:
    """Return the verdicts on the GPUs of `tables` as of the last half minute.

    Raises:
        StoreError: the store does not answer.
    """
    limits = gpus.limits(tables.settings)
    step = STEP.total_seconds()
    end = np.floor(tables.now / step) * step
    time = end - np.ceil((max(limits.hold) + 2 * step) / step) * step
    found = idle.start(tables.gpu.count, float(time), grace=False, seconds=limits.grace)
    assigned = gpus.assigned(tables)
    while time < end:
        until = min(time + CHUNK.total_seconds(), end)
        steps = round((until - time) / step)
        for number, signals in enumerate(_signals(store, tables, assigned, float(time), steps)):
            found = idle.evaluate(found, signals, limits, float(time) + (number + 1) * step)
        time = until
    return found


def _signals(store: Store, tables: Tables, assigned: Bools, start: float, steps: int) -> list[idle.Signals]:
    begin = datetime.fromtimestamp(start, UTC)
    end = begin + steps * STEP
    boards = _one_source(store.range("gpu", _GAUGES, begin, end, every=STEP, aggregate="mean", where=GPU.where))
    rates = store.range("inference", _TOKENS, begin, end, every=STEP, aggregate="rate")
    requests = store.range("inference", _REQUESTS, begin, end, every=STEP, aggregate="mean")
    gauges = {name: _matrix(boards, tables.gpu.keys, ("gpu",), name, start, steps) for name in _GAUGES}
    keys = tables.inference.keys
    live, done = (_matrix(rates, keys, INFERENCE.identity, name, start, steps) for name in _TOKENS)
    tokens = np.where(np.isnan(live), done, live)
    running, waiting = (_matrix(requests, keys, INFERENCE.identity, name, start, steps) for name in _REQUESTS)
    tokens[final_only(tables.inference)[:, np.newaxis] & (tokens == 0) & (running > 0)] = np.nan
    counts = best_per_step(who(tables.inference), ~np.isnan(tokens) | ~np.isnan(running))
    tokens, running, waiting = (np.where(counts, column, np.nan) for column in (tokens, running, waiting))
    active = gauges["sm_active_ratio"]
    engine = [_per_gpu(tables, values) for values in (tokens, running, waiting)]
    return [
        idle.Signals(
            live=~np.isnan(gauges["utilization_ratio"][:, i]) | ~np.isnan(gauges["power_watts"][:, i]),
            lost=gauges["lost"][:, i] > 0.5,
            activity=np.where(np.isnan(active[:, i]), gauges["utilization_ratio"][:, i], active[:, i]),
            utilization=gauges["utilization_ratio"][:, i],
            tensor=gauges["tensor_active_ratio"][:, i],
            dram=gauges["dram_active_ratio"][:, i],
            power=gauges["power_watts"][:, i] / gauges["power_limit_watts"][:, i],
            processes=gauges["process_count"][:, i],
            memory_bytes=gauges["memory_used_bytes"][:, i],
            assigned=assigned,
            tokens=engine[0][:, i],
            running=engine[1][:, i],
            waiting=engine[2][:, i],
        )
        for i in range(steps)
    ]


def _one_source(boards: pd.DataFrame) -> pd.DataFrame:
    """Return of each GPU and step the row of its best source."""
    ranked = boards.assign(rank=exporter_ranks(boards["exporter"].tolist()))
    return ranked.sort_values("rank", kind="stable").drop_duplicates(["gpu", "time"])


def _matrix(frame: pd.DataFrame, keys: pd.Index, tags: tuple[str, ...], name: str, start: float, steps: int) -> Floats:
    """Return series x steps of one field; NaN where unknown."""
    values = np.full((len(keys), steps), np.nan)
    if len(frame):
        rows: Ints = keys.get_indexer(pd.Index(identity(frame, tags), dtype=object)).astype(np.int64)
        times = frame["time"].dt.as_unit("ns").astype("int64").to_numpy() / 1e9
        columns = np.rint((times - start) / STEP.total_seconds()).astype(np.int64)
        found = frame[name].to_numpy(dtype=np.float64)
        told = (rows >= 0) & ~np.isnan(found)
        values[rows[told], columns[told]] = found[told]
    return values


def _per_gpu(tables: Tables, values: Floats) -> Floats:
    """Return the sum over the engines on each GPU's host; NaN where none reports. Shape: GPUs x steps."""
    host, count = tables.engine_host, len(tables.places.hosts)
    sums = np.full((count + 1, values.shape[1]), np.nan)
    for i in range(values.shape[1]):
        told = (host >= 0) & ~np.isnan(values[:, i])
        heard = tally(host[told], np.ones(int(told.sum())), count) > 0
        sums[:count, i] = np.where(heard, tally(host[told], values[told, i], count), np.nan)
    return sums[tables.places.host]
