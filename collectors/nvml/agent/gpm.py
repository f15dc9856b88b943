"""GPM, the profiling counters of Hopper and later: two samples that change places at each reading.

Source: NVIDIA nvml.h, API 13, nvmlGpm*. No root and no streaming mode are needed to read.
"""

from typing import Any

import pynvml

from collectors.nvml.agent.calls import NOT_SUPPORTED, Calls, Values

#: GPM metric -> schema field; all are percent
METRICS = {2: "sm_active_ratio", 3: "sm_occupancy_ratio", 5: "tensor_active_ratio", 10: "dram_active_ratio"}
#: two samples nearer than this give nothing sound
SHORTEST_S = 0.1
#: percent; what rounding may put on top
_ROUNDING = 0.01


class Gpm:
    """The profiling of one board, or of one GPU instance of it."""

    def __init__(self, calls: Calls, handle: Any, instance: int | None) -> None:
        """Take the first sample's place in memory.

        Raises:
            NVMLError: the board has no GPM.
        """
        if instance is None and not calls("nvmlGpmQueryDeviceSupport", handle).isSupportedDevice:
            raise pynvml.NVMLError(NOT_SUPPORTED)
        self._calls = calls
        self._handle = handle
        self._instance = instance
        self._request = pynvml.c_nvmlGpmMetricsGet_t()
        self._request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        self._request.numMetrics = len(METRICS)
        for place, metric in enumerate(METRICS):
            self._request.metrics[place].metricId = metric
        self._samples = [calls("nvmlGpmSampleAlloc"), calls("nvmlGpmSampleAlloc")]
        self._taken_at: float | None = None

    def read(self, now: float) -> Values:
        """Return the activity since the reading before; nothing at the first, or when that was just now.

        Raises:
            NVMLError: as NVML says.
        """
        if self._taken_at is not None and now - self._taken_at < SHORTEST_S:
            return {}
        self._take(self._samples[1])
        first, self._taken_at = self._taken_at is None, now
        self._samples.reverse()
        if first:
            return {}
        # The newer of the two is the first of the list after they changed places.
        self._request.sample2, self._request.sample1 = self._samples
        self._calls("nvmlGpmMetricsGet", self._request)
        return dict(self._values())

    def close(self) -> None:
        """Give the samples back."""
        while self._samples:
            self._calls.free("nvmlGpmSampleFree", self._samples.pop())

    def _take(self, sample: Any) -> None:
        if self._instance is None:
            self._calls("nvmlGpmSampleGet", self._handle, sample)
        else:
            self._calls("nvmlGpmMigSampleGet", self._handle, self._instance, sample)

    def _values(self) -> list[tuple[str, float]]:
        got = self._request.metrics[: len(METRICS)]
        # NaN is what a metric without data holds.
        return [
            (METRICS[m.metricId], min(m.value, 100.0) / 100 if m.value <= 100 + _ROUNDING else m.value / 100)
            for m in got
            if m.nvmlReturn == 0 and m.value == m.value
        ]
