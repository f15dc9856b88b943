"""The real tables of a SONiC switch's databases, each `{key: {field: text}}`.

Source: sonic-net/sonic-swss `orchagent/`, sonic-net/sonic-platform-daemons (xcvrd, psud, thermalctld) for the fields.
"""

import math
import time
from collections.abc import Callable, Mapping

from collectors.simulator import optics
from collectors.simulator.links import LAG, VLAN
from collectors.simulator.sonic import (
    FANS,
    HWSKU,
    LANES_PER_PORT,
    MAINS_VOLTS,
    PSU_EFFICIENCY,
    PSU_RATED_WATTS,
    PSU_VOLTS,
    Leaf,
)

Fields = dict[str, str]
Table = Mapping[str, Fields | str]
#: first object identifiers of ports and queues in ASIC_DB
PORT_OID, QUEUE_OID = 0x1000000000002, 0x15000000000100
QUEUES = 8
NO_VALUE = "N/A"


def tables(leaf: Leaf) -> dict[tuple[str, str], Callable[[], Table]]:
    """Return the tables of a switch by database and name."""

    def of(make: Callable[[Leaf], Table]) -> Callable[[], Table]:
        return lambda: make(leaf)

    found: dict[tuple[str, str], Callable[[], Table]] = {
        ("COUNTERS_DB", "COUNTERS_PORT_NAME_MAP"): of(port_name_map),
        ("COUNTERS_DB", "COUNTERS_QUEUE_NAME_MAP"): of(queue_name_map),
        ("APPL_DB", "PORT_TABLE"): of(port_table),
        ("APPL_DB", "LLDP_ENTRY_TABLE"): of(_lldp_entry_table),
        ("APPL_DB", "VLAN_TABLE"): of(_vlan_table),
        ("STATE_DB", "TRANSCEIVER_DOM_SENSOR"): of(_dom_sensor),
        ("STATE_DB", "TRANSCEIVER_DOM_THRESHOLD"): of(_dom_threshold),
        ("STATE_DB", "TRANSCEIVER_INFO"): of(_transceiver_info),
        ("STATE_DB", "TRANSCEIVER_VDM_REAL_VALUE"): of(_vdm),
        ("STATE_DB", "PSU_INFO"): of(_psu_info),
        ("STATE_DB", "CHASSIS_INFO"): of(_chassis_info),
        ("STATE_DB", "FAN_INFO"): of(_fan_info),
        ("STATE_DB", "TEMPERATURE_INFO"): of(_temperature_info),
        ("STATE_DB", "queue-counter-capabilities"): of(_queue_capabilities),
        ("CONFIG_DB", "DEVICE_METADATA"): of(_device_metadata),
        ("CONFIG_DB", "PORT"): of(_port_config),
        ("CONFIG_DB", "FLEX_COUNTER_TABLE"): of(_flex_counters),
    }
    if leaf.links.lag:
        found["APPL_DB", "LAG_TABLE"] = of(_lag_table)
        found["APPL_DB", "LAG_MEMBER_TABLE"] = of(_lag_member_table)
    if leaf.switch.liquid_cooled:
        found["STATE_DB", "LIQUID_COOLING_INFO"] = of(_liquid_cooling_info)
        found["STATE_DB", "SYSTEM_LEAK_STATUS"] = of(_system_leak_status)
    return found


def port_name_map(leaf: Leaf) -> Fields:
    """Return each port's object identifier."""
    return {name: f"oid:0x{PORT_OID + port:x}" for port, name in enumerate(leaf.switch.ports)}


def queue_name_map(leaf: Leaf) -> Fields:
    """Return each queue's object identifier."""
    return {
        f"{name}:{queue}": f"oid:0x{QUEUE_OID + QUEUES * port + queue:x}"
        for port, name in enumerate(leaf.switch.ports)
        for queue in range(QUEUES)
    }


def port_table(leaf: Leaf) -> dict[str, Fields]:
    """Return APPL_DB's PORT_TABLE, with the two rows that are no ports."""
    switch, state, row = leaf.switch, leaf.state, leaf.index
    table: dict[str, Fields] = {"PortConfigDone": {"count": str(len(switch.ports))}, "PortInitDone": {"lanes": "0"}}
    for port, name in enumerate(switch.ports):
        up, flaps = leaf.is_up(port), leaf.flaps(port)
        table[name] = {
            **_port_fields(leaf, port),
            "oper_status": "up" if up else "down",
            "description": "",
            # both directions: each flap is a down and an up
            "flap_count": str(2 * flaps - (0 if up else 1) if flaps else 0),
        }
        for field, when in (("last_up_time", state.last_up_time), ("last_down_time", state.last_down_time)):
            if seconds := float(when[row, port]):
                table[name][field] = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(seconds))
    return table


def _port_fields(leaf: Leaf, port: int) -> Fields:
    first = port * LANES_PER_PORT + 1
    return {
        "alias": leaf.switch.aliases[port],
        "admin_status": "up" if leaf.is_admin_up(port) else "down",
        "speed": str(int(leaf.switch.speed_bits_per_second / 1e6)),
        "lanes": ",".join(str(lane) for lane in range(first, first + LANES_PER_PORT)),
        "index": str(port + 1),
        "mtu": "9100",
        "fec": "rs",
    }


def _port_config(leaf: Leaf) -> Table:
    return {name: _port_fields(leaf, port) for port, name in enumerate(leaf.switch.ports)}


def _lag_table(leaf: Leaf) -> Table:
    up = any(leaf.is_up(port) for port in leaf.links.lag)
    return {LAG: {"admin_status": "up", "oper_status": "up" if up else "down", "mtu": "9100"}}


def _lag_member_table(leaf: Leaf) -> Table:
    return {
        f"{LAG}:{leaf.switch.ports[port]}": {"status": "enabled" if leaf.is_up(port) else "disabled"}
        for port in leaf.links.lag
    }


def _vlan_table(leaf: Leaf) -> Table:
    return {VLAN: {"admin_status": "up", "oper_status": "up", "mtu": "9100", "mac": leaf.mac}}


def _lldp_entry_table(leaf: Leaf) -> Table:
    return {
        leaf.switch.ports[port]: {
            "lldp_rem_index": str(port + 1),
            "lldp_rem_time_mark": "42",
            "lldp_rem_chassis_id_subtype": "4",
            "lldp_rem_chassis_id": neighbor.chassis,
            "lldp_rem_port_id_subtype": "5",
            "lldp_rem_port_id": neighbor.port,
            "lldp_rem_port_desc": neighbor.description,
            "lldp_rem_sys_name": neighbor.system,
            "lldp_rem_sys_desc": "SONiC" if neighbor.system.startswith("spine") else "Linux",
            "lldp_rem_man_addr": ".".join(map(str, neighbor.address)),
            "lldp_rem_sys_cap_supported": "28 00",
            "lldp_rem_sys_cap_enabled": "28 00",
        }
        for port, neighbor in sorted(leaf.links.neighbors.items())
    }


def _dom_sensor(leaf: Leaf) -> Table:
    state, row, table = leaf.state, leaf.index, {}
    for port, name in enumerate(leaf.switch.ports):
        fields = {
            "temperature": f"{state.module_celsius[row, port]:.3f}",
            "voltage": f"{state.module_volts[row, port]:.4f}",
            "last_update_time": time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(leaf.factory.state.time)),
        }
        for lane in range(1, optics.ELECTRICAL_LANES + 1):
            lit = lane <= optics.OPTICAL_LANES
            fields[f"rx{lane}power"] = _dbm(leaf.rx_dbm(port, lane)) if lit else NO_VALUE
            fields[f"tx{lane}power"] = _dbm(leaf.tx_dbm(port, lane)) if lit else NO_VALUE
            fields[f"tx{lane}bias"] = f"{1e3 * leaf.bias_amperes(port, lane):.3f}" if lit else NO_VALUE
        table[name] = fields
    return table


def _dbm(power: float) -> str:
    return "-inf" if math.isinf(power) else f"{power:.3f}"


def _dom_threshold(leaf: Leaf) -> Table:
    limits = {
        "temphighalarm": f"{optics.HIGH_CELSIUS:.1f}",
        "temphighwarning": f"{optics.HIGH_CELSIUS - 5:.1f}",
        "templowalarm": "-5.0",
        "templowwarning": "0.0",
        "vcchighalarm": "3.63",
        "vcclowalarm": "2.97",
        "rxpowerhighalarm": f"{optics.RX_HIGH_DBM:.1f}",
        "rxpowerhighwarning": f"{optics.RX_HIGH_DBM - 1:.1f}",
        "rxpowerlowalarm": f"{optics.RX_LOW_DBM:.1f}",
        "rxpowerlowwarning": f"{optics.RX_LOW_DBM + 1:.1f}",
        "txpowerhighalarm": f"{optics.TX_HIGH_DBM:.1f}",
        "txpowerlowalarm": f"{optics.TX_LOW_DBM:.1f}",
        "txbiashighalarm": f"{1e3 * optics.BIAS_HIGH_AMPERES:.1f}",
        "txbiaslowalarm": "20.0",
    }
    return dict.fromkeys(leaf.switch.ports, limits)


def _transceiver_info(leaf: Leaf) -> Table:
    return {
        name: {
            "type": "QSFP-DD Double Density 8X Pluggable Transceiver",
            "manufacturer": leaf.module_vendor,
            "model": leaf.module_part,
            "serial": leaf.module_serial(port),
            "vendor_rev": "A1",
            "hardware_rev": "A1",
            "cable_length": "500",
            "is_replaceable": "True",
            "dom_capability": "{'Tx_power_support': 'yes', 'Rx_power_support': 'yes'}",
        }
        for port, name in enumerate(leaf.switch.ports)
    }


def _vdm(leaf: Leaf) -> Table:
    ratios = leaf.state.pre_fec_ber[leaf.index].tolist()
    return {
        name: {
            f"prefec_ber_{kind}_media_input{lane}": f"{ratio:.2e}"
            for lane in range(1, optics.OPTICAL_LANES + 1)
            for kind in ("curr", "avg", "min", "max")
        }
        for name, ratio in zip(leaf.switch.ports, ratios, strict=True)
    }


def _psu_info(leaf: Leaf) -> Table:
    table = {}
    for supply in range(leaf.supplies):
        works, watts = leaf.psu_ok(supply), leaf.psu_watts(supply)
        table[f"PSU {supply + 1}"] = {
            "presence": "true",
            "status": "true" if works else "false",
            "power": f"{watts:.3f}",
            "voltage": f"{PSU_VOLTS * works:.1f}",
            "current": f"{watts / PSU_VOLTS:.3f}",
            "temp": f"{leaf.temperature_celsius:.1f}",
            "input_voltage": f"{MAINS_VOLTS * works:.1f}",
            "input_current": f"{watts / PSU_EFFICIENCY / MAINS_VOLTS:.3f}",
            "max_power": f"{PSU_RATED_WATTS:.1f}",
            "model": "PS-1500",
            "serial": f"P{leaf.index:04d}{supply}",
            "power_overload": "False",
            "timestamp": time.strftime("%Y%m%d %H:%M:%S", time.gmtime(leaf.factory.state.time)),
        }
    return table


def _chassis_info(leaf: Leaf) -> Table:
    watts = [leaf.psu_watts(supply) for supply in range(leaf.supplies)]
    rated = PSU_RATED_WATTS * sum(leaf.psu_ok(supply) for supply in range(leaf.supplies))
    return {
        "chassis_power_budget": {
            "Total Consumed Power": f"{sum(watts):.1f}",
            "Total Supplied Power": f"{rated:.1f}",
        },
        "chassis 1": {"module_num": "0", "psu_num": str(leaf.supplies)},
    }


def _fan_info(leaf: Leaf) -> Table:
    speed = str(round(100 * leaf.fan_ratio))
    fan = {"presence": "true", "status": "true", "direction": "exhaust", "speed": speed, "speed_target": speed}
    return {f"FanTray{number}-Fan1": fan for number in range(1, FANS + 1)}


def _temperature_info(leaf: Leaf) -> Table:
    sensor = {
        "temperature": f"{leaf.temperature_celsius:.3f}",
        "high_threshold": "75.0",
        "low_threshold": NO_VALUE,
        "critical_high_threshold": "85.0",
        "warning_status": "False",
    }
    return {"Switch Card": sensor}


def _liquid_cooling_info(leaf: Leaf) -> Table:
    wet = bool(leaf.state.leak[leaf.index])
    return {
        "leakage1": {
            "name": "leakage1",
            "leaking": "Yes" if wet else "No",
            "leak_sensor_status": "Good",
            "leak_severity": "CRITICAL" if wet else NO_VALUE,
            "location": "cold plate",
        }
    }


def _system_leak_status(leaf: Leaf) -> Table:
    return {"system": {"device_leak_status": "CRITICAL" if leaf.state.leak[leaf.index] else "None"}}


def _queue_capabilities(leaf: Leaf) -> Table:
    names = (
        "WRED_ECN_QUEUE_ECN_MARKED_PKT_COUNTER",
        "WRED_ECN_QUEUE_ECN_MARKED_BYTE_COUNTER",
        "WRED_ECN_QUEUE_WRED_DROPPED_PKT_COUNTER",
    )
    return {name: {"isSupported": "true"} for name in names}


def _device_metadata(leaf: Leaf) -> Table:
    return {
        "localhost": {
            "hostname": leaf.switch.name,
            "hwsku": HWSKU,
            "platform": "x86_64-acme_tw6400-r0",
            "mac": leaf.mac,
            "type": "LeafRouter",
        }
    }


def _flex_counters(leaf: Leaf) -> Table:
    off = {"PFCWD": leaf.quirks.no_pause, "WRED_ECN_QUEUE": leaf.quirks.no_ecn}
    names = ("PORT", "PORT_RATES", "QUEUE", "QUEUE_WATERMARK", "PG_WATERMARK", "PG_DROP", "PORT_BUFFER_DROP", *off)
    return {name: {"FLEX_COUNTER_STATUS": "disable" if off.get(name) else "enable"} for name in names}
