"""Whose processes they are: pod, container or Slurm job, from the control groups of the processes on a GPU.

Paths of control groups v1 and v2, as kubelet's drivers cgroupfs and systemd, containerd, CRI-O, Docker and Podman, and
Slurm write them. Process ids never leave this module.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

_POD = re.compile(
    r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])"
)
_CONTAINER = re.compile(r"(?:^|[-/:])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
_JOB = re.compile(r"/[^/]*slurm[^/]*/(?:uid_\d+/)?job_(\d+)(?=/|$)")
#: the number that Linux gives the first PID namespace
FIRST_NAMESPACE = "pid:[4026531836]"
SHORT_ID = 12


@dataclass(frozen=True, slots=True)
class Workload:
    """What a process belongs to; "" where it is nothing of that kind."""

    pod: str = ""
    container: str = ""
    job: str = ""


def parse_cgroup(text: str) -> Workload:
    """Return what the content of /proc/<pid>/cgroup says."""
    pod = container = job = ""
    for line in text.splitlines():
        path = line.split(":", 2)[-1]
        if found := _POD.search(path):
            pod = found[1].replace("_", "-")
        if inner := _CONTAINER.findall(path):
            container = inner[-1]
        if found := _JOB.search(path):
            job = found[1]
    return Workload(pod, container, job)


def agreed(workloads: Iterable[Workload]) -> dict[str, str]:
    """Return the tags that all processes share; a container without a pod stands for one, by its short id."""
    found = list(workloads)
    pods = {each.pod or each.container[:SHORT_ID] for each in found}
    jobs = {each.job for each in found}
    tags = {"pod": pods.pop() if len(pods) == 1 else "", "job": jobs.pop() if len(jobs) == 1 else ""}
    return {tag: value for tag, value in tags.items() if value}


@dataclass(slots=True)
class Processes:
    """Reads /proc, as far as this user may; says once what it may not."""

    proc: str
    #: told to the operator
    say: Callable[[str], None]
    _may: bool | None = None
    _told: bool = field(default=False)

    def tags(self, pids: Sequence[int]) -> dict[str, str]:
        """Return pod and job where all processes agree."""
        if not self._is_allowed():
            return {}
        texts = [self._read(pid, "cgroup") for pid in pids]
        if texts and not any(texts):
            self._tell("the processes on the GPUs are hidden (hidepid, or gone): points carry no pod or job")
        if not all(texts):
            return {}
        return agreed(self._with_environment(pid, parse_cgroup(text)) for pid, text in zip(pids, texts, strict=True))

    def _is_allowed(self) -> bool:
        if self._may is None:
            self._may = _link(f"{self.proc}/self/ns/pid") == FIRST_NAMESPACE
            if not self._may:
                self._tell("this is another PID namespace than the host's (hostPID): points carry no pod or job")
        return self._may

    def _tell(self, text: str) -> None:
        if not self._told:
            self._told = True
            self.say(text)

    def _with_environment(self, pid: int, workload: Workload) -> Workload:
        if workload.job or workload.pod:
            return workload
        for entry in self._read(pid, "environ").split("\0"):
            name, _, value = entry.partition("=")
            if name == "SLURM_JOB_ID" and value.isdigit():
                return Workload(workload.pod, workload.container, value)
        return workload

    def _read(self, pid: int, name: str) -> str:
        try:
            with open(f"{self.proc}/{pid}/{name}", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                return file.read()
        except OSError:
            return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return ""
