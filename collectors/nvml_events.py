"""What the events of NVIDIA's driver mean: Xids and the other NVML events, with how bad they are.

Sources: NVIDIA, "Xid Errors" (catalogue for Ampere and later) and nvml.h, API 13, nvmlEventType*; the texts are ours.
"""

from collections.abc import Mapping
from typing import Any

INFO, WARNING, CRITICAL = 0, 1, 2

#: Xid -> how bad it is, and what happened. Of an application: warning. Of the board: critical.
XIDS: Mapping[int, tuple[int, str]] = {
    8: (WARNING, "the GPU stopped processing"),
    11: (WARNING, "invalid or corrupted command stream"),
    13: (WARNING, "exception in the compute engine: mostly an application's out-of-bounds access"),
    31: (WARNING, "memory page fault: mostly an application's illegal address"),
    32: (WARNING, "invalid or corrupted push buffer stream"),
    38: (CRITICAL, "the driver's firmware failed"),
    43: (INFO, "an application's channel was stopped after its own fault"),
    44: (WARNING, "fault in the compute engine during a context switch"),
    45: (INFO, "an application's channels were taken down, mostly after another error"),
    46: (CRITICAL, "the GPU stopped processing: timeout"),
    48: (CRITICAL, "uncorrectable memory error (double bit)"),
    54: (CRITICAL, "auxiliary power is not connected"),
    56: (WARNING, "display engine error"),
    57: (WARNING, "error in programming the video memory interface"),
    58: (CRITICAL, "unstable video memory interface, or other memory error"),
    61: (CRITICAL, "the internal microcontroller stopped"),
    62: (CRITICAL, "the internal microcontroller halted"),
    63: (WARNING, "a memory row was remapped, or a page retired: it takes effect with the next reset"),
    64: (CRITICAL, "a memory row could not be remapped, or a page not retired"),
    66: (WARNING, "illegal access by the driver"),
    68: (WARNING, "exception in the video decoder"),
    69: (WARNING, "class error in the compute engine"),
    71: (WARNING, "exception in a copy engine"),
    72: (WARNING, "exception in a copy engine"),
    73: (WARNING, "exception in the video encoder"),
    74: (CRITICAL, "NVLink error: see the link's errors, the other end, and the fabric"),
    78: (CRITICAL, "the GPU did not start under virtualisation"),
    79: (CRITICAL, "the GPU has fallen off the bus: power, temperature, slot or board"),
    80: (WARNING, "corrupted data sent to the GPU"),
    92: (WARNING, "high rate of corrected memory errors"),
    94: (WARNING, "uncorrectable memory error, contained: the applications concerned end, the GPU goes on"),
    95: (CRITICAL, "uncorrectable memory error, not contained: the GPU must be reset"),
    109: (WARNING, "timeout in a context switch"),
    110: (CRITICAL, "security fault: a cold reset is needed"),
    119: (CRITICAL, "the GPU's system processor (GSP) does not answer: timeout of a remote call"),
    120: (CRITICAL, "the GPU's system processor (GSP) failed"),
    121: (WARNING, "corrected error of the C2C link to the CPU"),
    122: (WARNING, "the driver could not read or write the board's flash memory over SPI"),
    123: (WARNING, "the power management unit does not answer over SPI"),
    136: (WARNING, "link training of the CPU link failed"),
    137: (WARNING, "NVLink: an application's access across the fabric failed"),
    140: (CRITICAL, "uncorrectable memory error that could not be recovered"),
    143: (CRITICAL, "the GPU could not be initialised"),
    144: (CRITICAL, "NVLink: link-layer error of the ingress or egress"),
    145: (CRITICAL, "NVLink: error in the tracking of remote accesses"),
    146: (CRITICAL, "NVLink: transaction-layer error"),
    147: (CRITICAL, "NVLink: error in the tracking of incoming accesses"),
    148: (CRITICAL, "NVLink: error of the receiving switch port"),
    149: (CRITICAL, "NVLink: error of the network interface, the link may be down"),
    150: (CRITICAL, "NVLink: error of the memory system hub"),
    154: (CRITICAL, "the recovery action that the driver asks for has changed: see recovery_action"),
    155: (WARNING, "NVLink: the bandwidth mode of a link changed"),
    156: (INFO, "a resource was retired"),
    157: (WARNING, "a resource could not be retired"),
    158: (CRITICAL, "fatal timeout of the GPU"),
    160: (INFO, "a channel of the memory was retired"),
    161: (WARNING, "a channel of the memory could not be retired"),
    163: (WARNING, "corrected errors of a link to the CPU"),
    164: (CRITICAL, "uncorrectable error of a link to the CPU"),
    165: (CRITICAL, "fatal error of a link to the CPU"),
}
#: NVML event type -> kind of `gpu_event`, how bad it is, what happened
_TYPES: Mapping[int, tuple[str, int, str]] = {
    0x2: ("remap", CRITICAL, "uncorrectable memory error (double bit)"),
    0x400: ("remap", WARNING, "a memory row was remapped, or a page retired: it takes effect with the next reset"),
    0x800: ("remap", CRITICAL, "a memory row could not be remapped, or a page not retired"),
    0x4000: ("lost", CRITICAL, "the driver says that the GPU is unavailable"),
}
_XID, _RECOVERY = 0x8, 0x8000
#: NVML's recovery actions
ACTIONS: Mapping[int, str] = {
    0: "nothing any more",
    1: "a reset of the GPU",
    2: "a reboot of the node",
    3: "an end of the work that uses other GPUs directly",
    4: "an end of all work on the GPU, then its reset",
    5: "a recovery of the IMEX domain",
    6: "a reset over the bus",
    7: "a reboot of the system",
}


def describe(event: Mapping[str, Any]) -> tuple[str, dict[str, int | str]]:
    """Return the kind and the fields of a `gpu_event`: what the agent found itself, or an NVML event with its data."""
    if "kind" in event:
        return str(event["kind"]), {name: event[name] for name in ("code", "severity", "text")}
    data = int(event["data"])
    if event["type"] == _XID:
        severity, text = XIDS.get(data, (WARNING, "not in our catalogue; see the kernel log"))
        return "xid", {"code": data, "severity": severity, "text": f"Xid {data}: {text}"}
    if event["type"] == _RECOVERY:
        text = f"the driver asks for {ACTIONS.get(data, f'recovery action {data}')}"
        return "reset", {"code": data, "severity": CRITICAL if data else INFO, "text": text}
    kind, severity, text = _TYPES.get(int(event["type"]), ("reset", WARNING, f"NVML event {event['type']:#x}"))
    return kind, {"code": int(event["type"]), "severity": severity, "text": text}
