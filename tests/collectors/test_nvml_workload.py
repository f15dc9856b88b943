"""Control groups as kubelet, container runtimes and Slurm write them, and what they say of a process."""

from pathlib import Path

import pytest

from collectors.nvml.agent.workload import FIRST_NAMESPACE, Processes, Workload, agreed, parse_cgroup

UID = "0f6b7a2c-1d3e-4f50-8a9b-c0d1e2f30415"
SYSTEMD_UID = UID.replace("-", "_")
CONTAINER = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"
STATIC_UID = "0123456789abcdef0123456789abcdef"

SLICE = "/kubepods.slice/kubepods-burstable.slice"
CGROUPS = {
    "v1, cgroupfs": (f"11:memory:/kubepods/burstable/pod{UID}/{CONTAINER}\n3:cpu:/kubepods/pod{UID}/{CONTAINER}", UID),
    "v2, cgroupfs": (f"0::/kubepods/besteffort/pod{UID}/{CONTAINER}\n", UID),
    "guaranteed": (f"0::/kubepods/pod{UID}/{CONTAINER}\n", UID),
    "containerd": (f"0::{SLICE}/kubepods-burstable-pod{SYSTEMD_UID}.slice/cri-containerd-{CONTAINER}.scope\n", UID),
    "CRI-O": (f"0::/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/crio-{CONTAINER}.scope/container\n", UID),
    "v1, Docker, pod": (f"4:devices:{SLICE}/kubepods-burstable-pod{SYSTEMD_UID}.slice/docker-{CONTAINER}.scope", UID),
    "colons": (
        f"0::/system.slice/containerd.service/kubepods-pod{SYSTEMD_UID}.slice:cri-containerd:{CONTAINER}\n",
        UID,
    ),
    "static pod": (f"0::/kubepods/burstable/pod{STATIC_UID}/{CONTAINER}\n", STATIC_UID),
    "nested": (f"0::/docker/{'f' * 64}/kubelet/kubepods/pod{UID}/{CONTAINER}\n", UID),
    "v1, Docker": (f"12:cpuset:/docker/{CONTAINER}\n", ""),
    "v2, Docker": (f"0::/system.slice/docker-{CONTAINER}.scope\n", ""),
    "v2, Podman": (f"0::/machine.slice/libpod-{CONTAINER}.scope/container\n", ""),
}
SLURM = (
    "8:devices:/slurm/uid_1000/job_4711/step_0/task_0\n",
    "8:memory:/slurm_node17/uid_1000/job_4711/step_batch\n",
    "0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0\n",
    "0::/system.slice/node17_slurmstepd.scope/job_4711/step_extern/user/task_special\n",
)


@pytest.mark.parametrize(("text", "pod"), CGROUPS.values(), ids=CGROUPS)
def test_pod_and_container_are_found(text: str, pod: str) -> None:
    assert parse_cgroup(text) == Workload(pod, CONTAINER, "")


@pytest.mark.parametrize("text", SLURM)
def test_slurm_job_is_found(text: str) -> None:
    assert parse_cgroup(text) == Workload(job="4711")


@pytest.mark.parametrize(
    "text",
    ["", "0::/\n", "0::/user.slice/user-1000.slice/session-3.scope\n", "0::/system.slice/podman.service\n", "rubbish"],
)
def test_what_belongs_to_nobody_says_nothing(text: str) -> None:
    assert parse_cgroup(text) == Workload()


def test_tags_need_all_processes_to_agree() -> None:
    one, other = Workload(pod=UID, container=CONTAINER), Workload(pod=STATIC_UID)
    assert agreed([one, one]) == {"pod": UID}
    assert agreed([one, other]) == {}
    assert agreed([one, Workload()]) == {}
    assert agreed([Workload(container=CONTAINER)]) == {"pod": CONTAINER[:12]}
    assert agreed([Workload(pod=UID, job="7"), Workload(pod=STATIC_UID, job="7")]) == {"job": "7"}
    assert agreed([]) == {}


def tree(root: Path, namespace: str, **processes: dict[str, str]) -> Path:
    (root / "self/ns").mkdir(parents=True)
    (root / "self/ns/pid").symlink_to(namespace)
    for name, files in processes.items():
        (root / name.removeprefix("p")).mkdir()
        for file, text in files.items():
            (root / name.removeprefix("p") / file).write_text(text)
    return root


def test_job_is_taken_from_the_environment_where_no_group_tells_it(tmp_path: Path) -> None:
    own = {"cgroup": "0::/user.slice\n", "environ": "A=1\0SLURM_JOB_ID=815\0B=2\0"}
    root = tree(tmp_path, FIRST_NAMESPACE, p10=own, p11={"cgroup": SLURM[0], "environ": "SLURM_JOB_ID=1\0"})
    said: list[str] = []
    assert Processes(str(root), said.append).tags((10,)) == {"job": "815"}
    assert Processes(str(root), said.append).tags((11,)) == {"job": "4711"}
    assert said == []


def test_hidden_processes_are_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    processes = Processes(str(tree(tmp_path, FIRST_NAMESPACE, p10={"cgroup": SLURM[0]})), said.append)
    assert [processes.tags((20, 21)), processes.tags((22,)), processes.tags((10, 20))] == [{}, {}, {}]
    assert len(said) == 1
    assert "hidepid" in said[0]
    assert processes.tags((10,)) == {"job": "4711"}


def test_other_namespace_is_said_once_and_nothing_is_guessed(tmp_path: Path) -> None:
    said: list[str] = []
    processes = Processes(str(tree(tmp_path, "pid:[4026532188]", p10={"cgroup": SLURM[0]})), said.append)
    assert [processes.tags((10,)), processes.tags((10,))] == [{}, {}]
    assert len(said) == 1
    assert "hostPID" in said[0]
