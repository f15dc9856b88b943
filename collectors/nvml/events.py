"""What the events of NVIDIA's driver mean: Xids and the other NVML events, with how bad they are.

Sources: NVIDIA's Xid catalogue for Ampere and later, with its immediate actions
(docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html); for 56 to 58, 61, 73 and 122 to 125, which it leaves to
older boards, NVIDIA/dcgm-exporter internal/pkg/collector/xid_errors.go; nvml.h, API 13, nvmlEventType*. The texts are
ours.
"""

from collections.abc import Mapping
from typing import Any

INFO, WARNING, CRITICAL = 0, 1, 2

_COPY_ENGINE = (WARNING, "exception in a copy engine")
#: Xid -> how bad it is, and what happened. Critical: the catalogue asks for a reset, a restart or a person's hand;
#: warning: an application ends, or somebody should look; info: it asks for nothing. NVML gives the number alone: where
#: more in the kernel's line decides, the worst counts.
XIDS: Mapping[int, tuple[int, str]] = {
    8: (WARNING, "the GPU stopped processing"),
    11: (WARNING, "invalid or corrupted push buffer stream"),
    13: (WARNING, "exception in the compute engine: mostly an application's out-of-bounds access"),
    25: (WARNING, "invalid or illegal push buffer stream"),
    31: (WARNING, "memory page fault: mostly an application's illegal address"),
    32: (WARNING, "invalid or corrupted push buffer stream: mostly the quality of PCIe"),
    37: (WARNING, "firmware error of the driver"),
    38: (WARNING, "firmware error of the driver"),
    43: (INFO, "an application's channel was stopped after its own fault; the GPU is healthy"),
    44: (WARNING, "fault in the compute engine during a context switch"),
    45: (INFO, "an application was taken down: it was ended, or after another error"),
    46: (CRITICAL, "the GPU stopped processing: timeout"),
    48: (CRITICAL, "uncorrectable memory error (double bit)"),
    54: (CRITICAL, "auxiliary power is not connected"),
    56: (WARNING, "display engine error"),
    57: (WARNING, "error in programming the video memory interface"),
    58: (WARNING, "unstable video memory interface"),
    60: (WARNING, "exception in the video processor"),
    61: (WARNING, "breakpoint or warning of the internal microcontroller"),
    62: (CRITICAL, "the internal microcontroller halted"),
    63: (WARNING, "a memory row was remapped, or a page retired: it takes effect with the next reset"),
    64: (CRITICAL, "a memory row could not be remapped, or a page not retired"),
    66: (WARNING, "illegal access by the driver"),
    67: (WARNING, "illegal access by the driver"),
    68: (WARNING, "exception in the video decoder"),
    69: (WARNING, "class error in the compute engine"),
    74: (CRITICAL, "NVLink error: see the link's errors, the other end, and the fabric"),
    78: (WARNING, "a virtual GPU did not start"),
    79: (CRITICAL, "the GPU has fallen off the bus"),
    80: (WARNING, "corrupted data sent to the GPU"),
    92: (WARNING, "high rate of corrected memory errors"),
    93: (WARNING, "the InfoROM may not be written so often"),
    94: (WARNING, "memory error, contained: the application concerned ends, the GPU goes on"),
    95: (CRITICAL, "memory error, not contained: the GPU must be reset"),
    109: (CRITICAL, "timeout in a context switch"),
    110: (CRITICAL, "security fault: a cold reset is needed"),
    119: (CRITICAL, "the GPU's system processor (GSP) does not answer: timeout of a remote call"),
    120: (CRITICAL, "error of the GPU's system processor (GSP)"),
    121: (INFO, "corrected errors of the C2C link to the CPU"),
    122: (WARNING, "the power management unit could not be read over SPI"),
    123: (WARNING, "the power management unit could not be written over SPI"),
    124: (WARNING, "the power management unit could not erase over SPI"),
    125: (WARNING, "the file system of the InfoROM failed"),
    136: (CRITICAL, "training of a link failed"),
    137: (WARNING, "NVLink: illegal access to another GPU, mostly an application's"),
    140: (CRITICAL, "uncorrectable memory error that was not recovered"),
    141: (WARNING, "error in the fast path of CUDA"),
    143: (CRITICAL, "the GPU could not be initialised"),
    144: (CRITICAL, "NVLink: SAW error"),
    145: (CRITICAL, "NVLink: RLW error"),
    146: (CRITICAL, "NVLink: TLW error"),
    147: (WARNING, "NVLink: TREX error"),
    148: (WARNING, "NVLink: NVLPW_CTRL error"),
    149: (CRITICAL, "NVLink: NETIR error, mostly a link that went down"),
    150: (CRITICAL, "NVLink: MSE error"),
    151: (CRITICAL, "error in the rotation of keys: the virtual machine must be restarted"),
    154: (WARNING, "the recovery action that the driver asks for has changed: see recovery_action"),
    155: (CRITICAL, "NVLink: a link went down on purpose of software"),
    156: (CRITICAL, "a resource was retired: the GPU must be reset"),
    157: (WARNING, "a resource could not be retired: nothing is left to repair with"),
    158: (CRITICAL, "fatal timeout of the GPU"),
    159: (WARNING, "CHI error (non-data) on the C2C link to the CPU"),
    160: (INFO, "a channel was retired"),
    161: (WARNING, "a channel could not be retired"),
    162: (INFO, "power smoothing: its circuitry is engaged again"),
    163: (WARNING, "power smoothing: its circuitry is disengaged"),
    164: (WARNING, "power smoothing: its circuitry reaches the end of its life"),
    165: (WARNING, "power smoothing: its circuitry has reached the end of its life"),
    166: (WARNING, "NVLink: traffic before the link was set up for encryption"),
    167: (CRITICAL, "fatal timeout of PCIe"),
    168: (WARNING, "errors in the write-protected region of the memory: less of it can be used"),
    169: (CRITICAL, "an internal microcontroller (SEC2) halted"),
    170: (WARNING, "NVLink: interrupt in confidential computing"),
    171: (CRITICAL, "uncorrectable error in the DRAM: more on Xid 48"),
    172: (CRITICAL, "uncorrectable error in an SRAM: more on Xid 48"),
    **dict.fromkeys((39, 40, 41, *range(70, 73), *range(75, 78), 85, *range(126, 136)), _COPY_ENGINE),
    **dict.fromkeys((82, *range(99, 106)), (WARNING, "exception in the JPEG decoder")),
    **dict.fromkeys((83, 84, 88, 89, *range(96, 99)), (WARNING, "exception in the video decoder")),
    **dict.fromkeys((86, 139), (WARNING, "exception in the optical flow accelerator")),
    **dict.fromkeys((73, 142), (WARNING, "exception in the video encoder")),
    **dict.fromkeys((106, 107), (INFO, "test message of the board's management")),
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
