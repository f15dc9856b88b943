"""The GPUs of one host as an exporter there sees them."""

from collections.abc import Callable, Iterable

import numpy as np

from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host
from collectors.simulator.state import Bools, Floats, Gpus, Ints

#: where the factory has a quantity of a host's GPUs, at epoch seconds for counters
Read = Callable[[Gpus, slice, float], Floats | Ints | Bools | float]


class HostGpus:
    """Which GPUs a host has, what they read, and whose pods run on them."""

    def __init__(self, factory: Factory, host: Host) -> None:
        tenants = {deployment.name: deployment.tenant for deployment in factory.layout.deployments}
        self._factory = factory
        self.part = slice(host.gpu_start, host.gpu_start + host.gpu_count)
        #: deployment or job that holds the host, "" where none does, and its namespace
        self.workload = host.deployment or host.job
        self.namespace = tenants.get(host.deployment, "training")
        self.pod = f"{self.workload}-{host.name}"

    @property
    def state(self) -> Gpus:
        """Return the GPUs of the whole factory as they are now; `part` selects those of the host."""
        return self._factory.state.gpus

    def alive(self) -> Ints:
        """Return the places of the GPUs that answer."""
        there: Ints = np.flatnonzero(~self.state.lost[self.part])
        return there

    def values(self, reads: Iterable[Read], now: float) -> list[float]:
        """Return one quantity after the other of those GPUs, as they are at `now` (epoch seconds)."""
        gpus, alive, count = self.state, self.alive(), self.part.stop - self.part.start
        columns = (np.broadcast_to(read(gpus, self.part, now), (count,))[alive] for read in reads)
        return [value for column in columns for value in column.tolist()]
