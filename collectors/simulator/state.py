"""What is so now in the simulated factory: arrays in SI units, in the order of the layout's tuples."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: length of one step of the physics
STEP_SECONDS = 1.0


@dataclass(slots=True)
class Counters:
    """Many counters at once: exact at any moment within the present step of one second.

    After the step a counter stands still until the ticker has stepped on, so that it never runs ahead of the physics
    and never goes back.
    """

    base: Floats
    #: per second, constant within the step
    rate: Floats
    #: epoch seconds at which `base` held
    time: float

    def at(self, now: float, index: int | slice | tuple[int | slice, ...] = slice(None)) -> Floats:
        """Return the counts at `now` (epoch seconds)."""
        counts: Floats = self.base[index] + self.rate[index] * min(max(0.0, now - self.time), STEP_SECONDS)
        return counts

    def step(self, now: float) -> None:
        """Carry the counts on to `now` (epoch seconds) at the present rate."""
        self.base = self.base + self.rate * (now - self.time)
        self.time = now

    def reset(self, index: int | slice | Ints | tuple[int | slice, ...]) -> None:
        """Set the counts at `index` to zero, as a device does that starts anew."""
        self.base = self.base.copy()
        self.base[index] = 0.0


@dataclass(slots=True)
class Gpus:
    """One element per GPU."""

    power_watts: Floats
    power_limit_watts: float
    energy_joules: Counters
    utilization_ratio: Floats
    memory_copy_ratio: Floats
    sm_active_ratio: Floats
    sm_occupancy_ratio: Floats
    tensor_active_ratio: Floats
    dram_active_ratio: Floats
    memory_used_bytes: Floats
    memory_reserved_bytes: float
    memory_total_bytes: float
    temperature_celsius: Floats
    memory_temperature_celsius: Floats
    sm_clock_hertz: Floats
    sm_clock_max_hertz: float
    memory_clock_hertz: float
    #: NVML clocks event reasons bit mask
    clock_event_mask: Ints
    throttle_power_seconds: Counters
    throttle_thermal_seconds: Counters
    nvlink_tx_bytes: Counters
    nvlink_rx_bytes: Counters
    process_count: Ints
    #: a workload (pod) is assigned to it
    assigned: Bools
    #: fallen off the bus, or its driver is being reloaded: does not answer and draws nothing
    lost: Bools
    #: last Xid, 0 for none
    xid: Ints
    #: busy, stalled, parked, reserved_idle, unallocated_idle, lost
    condition: list[str]
    #: epoch seconds since when that condition holds
    condition_since: Floats


@dataclass(slots=True)
class Engines:
    """One element per serving host's inference engine."""

    start_time: Floats
    #: as the tokens pass the engine
    output_tokens: Counters
    prompt_tokens: Counters
    cached_tokens: Counters
    #: the same tokens, counted when their request ends
    finished_output_tokens: Counters
    finished_prompt_tokens: Counters
    finished_cached_tokens: Counters
    requests_ok: Counters
    requests_aborted: Counters
    preemptions: Counters
    #: time in which nothing ran
    idle_seconds: Counters
    running: Floats
    waiting: Floats
    kv_ratio: Floats
    #: mean seconds per request or token, of which sums and counts follow
    ttft_seconds: Floats
    itl_seconds: Floats
    e2e_seconds: Floats


@dataclass(slots=True)
class Nodes:
    """One element per host."""

    power_watts: Floats
    energy_joules: Counters


@dataclass(slots=True)
class Shelves:
    """Power shelves; two-dimensional arrays are shelf x power supply."""

    input_watts: Floats
    output_watts: Floats
    psu_input_watts: Floats
    psu_output_watts: Floats
    psu_ok: Bools
    #: does not answer on its bus, and works
    psu_silent: Bools
    input_volts: float
    #: what the shelf holds at no load
    set_point_volts: Floats
    #: of the whole bus: 50 V, or 800 V from pole to pole
    bus_volts: Floats
    #: to the midpoint; negative for the negative pole; NaN where there is no midpoint
    positive_volts: Floats
    negative_volts: Floats
    #: peak to peak
    ripple_volts: Floats
    #: of each pole to earth, shelf x 2 (positive, negative); no HPR shelf watches it
    insulation_ohms: Floats
    inlet_celsius: Floats
    energy_joules: Counters


@dataclass(slots=True)
class RackLoops:
    """Coolant side and leak ropes of each GPU rack."""

    heat_watts: Floats
    flow_liters_per_second: Floats
    supply_celsius: Floats
    return_celsius: Floats
    differential_pressure_pascals: Floats
    valve_ratio: Floats
    #: 0 dry, 1 wet
    leak: Ints


@dataclass(slots=True)
class Cdus:
    """Coolant distribution units; pumps are unit x pump (two each)."""

    tcs_supply_celsius: Floats
    tcs_return_celsius: Floats
    tcs_flow_liters_per_second: Floats
    tcs_supply_pascals: Floats
    tcs_return_pascals: Floats
    filter_in_pascals: Floats
    filter_out_pascals: Floats
    fws_supply_celsius: Floats
    fws_return_celsius: Floats
    fws_flow_liters_per_second: Floats
    fws_supply_pascals: Floats
    fws_return_pascals: Floats
    valve_ratio: Floats
    heat_watts: Floats
    pump_ratio: Floats
    pump_rpm: Floats
    pump_ok: Bools
    power_watts: Floats
    level_ratio: Floats
    ph: Floats
    conductivity_siemens_per_meter: Floats
    turbidity_ntu: Floats
    ambient_celsius: Floats
    humidity_ratio: Floats
    dew_point_celsius: Floats
    leak: Ints


@dataclass(slots=True)
class Switches:
    """Leaf switches; port arrays are switch x port."""

    boot_time: Floats
    rx_bytes: Counters
    tx_bytes: Counters
    rx_unicast: Counters
    tx_unicast: Counters
    rx_discards: Counters
    tx_discards: Counters
    rx_errors: Counters
    tx_errors: Counters
    #: priority 3, the lossless class
    pfc_rx: Counters
    pfc_tx: Counters
    pfc_rx_pause_seconds: Counters
    ecn_marked: Counters
    #: packets dropped on the lossless queue, those of them by WRED, those that the PFC watchdog dropped
    queue_drops: Counters
    queue_drop_bytes: Counters
    wred_drops: Counters
    watchdog_drops: Counters
    #: packets dropped on the way in, out, for want of buffer
    rx_buffer_drops: Counters
    tx_buffer_drops: Counters
    #: codewords, 10-bit symbols and bits of RS(544,514)
    fec_corrected: Counters
    fec_uncorrected: Counters
    fec_symbols: Counters
    fec_corrected_bits: Counters
    #: codewords by number of their symbol errors, switch x port x 16
    fec_bins: Counters
    #: bit error ratio before FEC, and the most symbol errors of a codeword in the last second
    pre_fec_ber: Floats
    fec_max_symbols: Ints
    admin_up: Bools
    oper_up: Bools
    flaps: Ints
    #: epoch seconds; 0: never
    last_up_time: Floats
    last_down_time: Floats
    #: storms that the PFC watchdog saw begin and end, and whether one lasts
    storms_detected: Ints
    storms_restored: Ints
    stormed: Bools
    #: highest fill since the last whole two minutes: queue, shared part and headroom of the priority group
    queue_watermark_bytes: Floats
    shared_watermark_bytes: Floats
    xoff_watermark_bytes: Floats
    queue_fill_bytes: Floats
    #: optics: switch x port x lane, and switch x port
    rx_dbm: Floats
    tx_dbm: Floats
    bias_amperes: Floats
    module_celsius: Floats
    module_volts: Floats
    #: output watts, switch x power supply (two each)
    psu_watts: Floats
    psu_ok: Bools
    #: 0 dry, 1 wet
    leak: Ints
    #: epoch seconds at which the SNMP container started
    snmp_start: Floats
    cpu_ratio: Floats
    memory_used_bytes: Floats
    memory_total_bytes: float
    temperature_celsius: Floats
    fan_ratio: Floats


@dataclass(slots=True)
class Pdus:
    """Rack PDUs; phase arrays are PDU x 3."""

    watts: Floats
    volt_amperes: Floats
    phase_amperes: Floats
    phase_volts: Floats
    energy_joules: Counters


@dataclass(slots=True)
class Meters:
    """Building meters."""

    watts: Floats
    volts: Floats
    amperes: Floats
    power_factor: Floats
    hertz: Floats
    energy_joules: Counters


@dataclass(slots=True)
class State:
    """The whole factory at one step."""

    #: epoch seconds of the step
    time: float
    gpus: Gpus
    engines: Engines
    nodes: Nodes
    shelves: Shelves
    racks: RackLoops
    cdus: Cdus
    switches: Switches
    pdus: Pdus
    meters: Meters
