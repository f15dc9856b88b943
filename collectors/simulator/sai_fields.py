"""Names of the counters that the switch chip's interface (SAI) has for ports, queues and priority groups.

Source: opencomputeproject/SAI `inc/{saiport,saiqueue,saibuffer}.h`; sonic-net/sonic-swss `orchagent/portsorch.cpp`.
"""

from collections.abc import Mapping

QUEUES = 8
#: queue and priority of lossless traffic
LOSSLESS = 3

#: what their names begin with
PORT_STAT, QUEUE_STAT, GROUP_STAT = "SAI_PORT_STAT_", "SAI_QUEUE_STAT_", "SAI_INGRESS_PRIORITY_GROUP_STAT_"
_SIZES = (
    "64",
    "65_TO_127",
    "128_TO_255",
    "256_TO_511",
    "512_TO_1023",
    "1024_TO_1518",
    "1519_TO_2047",
    "2048_TO_4095",
    "4096_TO_9216",
    "9217_TO_16383",
)
#: packets are of 4096 bytes
_SIZE = "4096_TO_9216"
#: field of a port -> counter of the factory's state
MOVING: Mapping[str, str] = {
    "IF_IN_OCTETS": "rx_bytes",
    "IF_OUT_OCTETS": "tx_bytes",
    "IF_IN_UCAST_PKTS": "rx_unicast",
    "IF_OUT_UCAST_PKTS": "tx_unicast",
    "IF_IN_DISCARDS": "rx_discards",
    "IF_OUT_DISCARDS": "tx_discards",
    "IF_IN_ERRORS": "rx_errors",
    "IF_OUT_ERRORS": "tx_errors",
    f"ETHER_IN_PKTS_{_SIZE}_OCTETS": "rx_unicast",
    f"ETHER_OUT_PKTS_{_SIZE}_OCTETS": "tx_unicast",
    "IN_DROPPED_PKTS": "rx_buffer_drops",
    "OUT_DROPPED_PKTS": "tx_buffer_drops",
    "DOT3_STATS_FCS_ERRORS": "rx_errors",
    "WRED_DROPPED_PACKETS": "wred_drops",
    "GREEN_WRED_DROPPED_PACKETS": "wred_drops",
    "IF_IN_FEC_CORRECTABLE_FRAMES": "fec_corrected",
    "IF_IN_FEC_NOT_CORRECTABLE_FRAMES": "fec_uncorrected",
    "IF_IN_FEC_SYMBOL_ERRORS": "fec_symbols",
    "IF_IN_FEC_CORRECTED_BITS": "fec_corrected_bits",
    f"PFC_{LOSSLESS}_RX_PKTS": "pfc_rx",
    f"PFC_{LOSSLESS}_TX_PKTS": "pfc_tx",
}
_ETHER_STATS = (
    "DROP_EVENTS",
    "UNDERSIZE_PKTS",
    "OVERSIZE_PKTS",
    "JABBERS",
    "FRAGMENTS",
    "COLLISIONS",
    "MULTICAST_PKTS",
    "BROADCAST_PKTS",
)
_DOT3_STATS = (
    "ALIGNMENT_ERRORS",
    "SYMBOL_ERRORS",
    "FRAME_TOO_LONGS",
    "SINGLE_COLLISION_FRAMES",
    "MULTIPLE_COLLISION_FRAMES",
    "DEFERRED_TRANSMISSIONS",
    "EXCESSIVE_COLLISIONS",
    "LATE_COLLISIONS",
    "SQE_TEST_ERRORS",
    "CARRIER_SENSE_ERRORS",
    "INTERNAL_MAC_TRANSMIT_ERRORS",
    "INTERNAL_MAC_RECEIVE_ERRORS",
    "CONTROL_IN_UNKNOWN_OPCODES",
)
#: fields of a port that stay at zero
STILL = (
    *(f"IF_{way}_{kind}_PKTS" for way in ("IN", "OUT") for kind in ("NON_UCAST", "MULTICAST", "BROADCAST")),
    "IF_IN_UNKNOWN_PROTOS",
    "IF_OUT_QLEN",
    *(f"ETHER_{way}_PKTS_{size}_OCTETS" for way in ("IN", "OUT") for size in _SIZES if size != _SIZE),
    "ETHER_RX_OVERSIZE_PKTS",
    "ETHER_TX_OVERSIZE_PKTS",
    *(f"ETHER_STATS_{name}" for name in _ETHER_STATS),
    *(f"DOT3_STATS_{name}" for name in _DOT3_STATS),
    *(f"{color}_WRED_DROPPED_{what}" for color in ("YELLOW", "RED") for what in ("PACKETS", "BYTES")),
    *(f"PFC_{n}_ON2OFF_RX_PKTS" for n in range(QUEUES) if n != LOSSLESS),
    "PAUSE_RX_PKTS",
    "PAUSE_TX_PKTS",
    *(f"PFC_{n}_{way}_PKTS" for n in range(QUEUES) for way in ("RX", "TX") if n != LOSSLESS),
    "TRIM_PACKETS",
    "TX_TRIM_PACKETS",
    "DROPPED_TRIM_PACKETS",
    "IP_IN_RECEIVES",
    "IP_IN_OCTETS",
    "IP_IN_UCAST_PKTS",
    "IP_IN_DISCARDS",
    "IP_OUT_OCTETS",
    "IP_OUT_UCAST_PKTS",
    "IP_OUT_DISCARDS",
    "IPV6_IN_RECEIVES",
    "IPV6_IN_OCTETS",
    "IPV6_IN_UCAST_PKTS",
    "IPV6_OUT_OCTETS",
    "IPV6_OUT_UCAST_PKTS",
)
#: of a queue: what stays at zero, what counts congestion
QUEUE_STILL = (f"{QUEUE_STAT}TRIM_PACKETS", f"{QUEUE_STAT}TX_TRIM_PACKETS", f"{QUEUE_STAT}DROPPED_TRIM_PACKETS")
ECN = tuple(f"{QUEUE_STAT}WRED_{name}" for name in ("ECN_MARKED_PACKETS", "ECN_MARKED_BYTES", "DROPPED_PACKETS"))
#: length of the packets played
PACKET_BYTES = 4096
#: of the PFC watchdog: what stays at zero
WATCHDOG_STILL = ("TX_PACKETS", "TX_DROPPED_PACKETS", "RX_PACKETS", "RX_DROPPED_PACKETS")
