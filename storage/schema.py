"""Every measurement: its tags, fields, units, kinds, plausible ranges and meaning. The single source of truth.

Adding a quantity is one line in the table below. In every store a gauge or a counter is a float, a state an integer
and a text a string, so that a field never changes its type.
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, cast, get_args

Kind = Literal["gauge", "counter", "state", "text"]

#: tags that any measurement may carry, in this order, before its own
COMMON_TAGS = ("site", "row", "rack", "host", "device", "source", "synthetic")


@dataclass(frozen=True, slots=True)
class Field:
    """One quantity of a measurement."""

    name: str
    #: SI base unit as written in the name: watts, joules, celsius, ratio, ...; "" for counts and states
    unit: str
    kind: Kind
    help: str
    #: plausible range in `unit`; None where open
    low: float | None = None
    high: float | None = None
    #: meaning of each value of a state field; empty for bit masks and codes
    states: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One kind of thing that is measured."""

    name: str
    help: str
    #: COMMON_TAGS and then its own, in the order in which stores and line protocol write them
    tags: tuple[str, ...]
    fields: Mapping[str, Field]


#: units that a field's name may end in (before _total, _sum); the longest that fits is the field's unit
UNITS = (
    "liters_per_second", "bits_per_second", "siemens_per_meter", "volt_amperes", "watts", "joules", "celsius", "bytes",
    "seconds", "hertz", "volts", "amperes", "ohms", "pascals", "ratio", "rpm", "ntu",
)  # fmt: skip

# `= measurement: own tags: meaning`, then per field: name, kind, plausible low..high or the states, meaning.
# Where a number comes from stands in the profile that reads it.
_TABLE = """
= gpu: gpu gpu_index model vendor mig deployment namespace pod job tenant exporter: One GPU board, or one MIG slice of it; exporter: nvml, dcgm, amd, xpum, telegraf, triton
power_watts                     gauge   0..3000     power drawn by the board, mean over the last second
power_instant_watts             gauge   0..4000     power drawn by the board at this instant
power_min_watts                 gauge   0..4000     lowest power seen since the point before
power_max_watts                 gauge   0..4000     highest power seen since the point before
power_limit_watts               gauge   0..3000     power limit in force
energy_joules_total             counter 0..         energy drawn by the board, its own counter
module_power_watts              gauge   0..10000    power drawn by the whole module, with its CPU and memory
utilization_ratio               gauge   0..1        share of time in which any kernel ran
memory_copy_ratio               gauge   0..1        share of time in which device memory was read or written
sm_active_ratio                 gauge   0..1        mean share of SMs with at least one warp resident
sm_occupancy_ratio              gauge   0..1        mean share of warp slots in use
tensor_active_ratio             gauge   0..1        share of cycles in which the tensor pipe was active
dram_active_ratio               gauge   0..1        share of cycles in which the memory interface was active
memory_used_bytes               gauge   0..1e13     device memory in use
memory_reserved_bytes           gauge   0..1e13     device memory that the driver keeps for itself
memory_total_bytes              gauge   0..1e13     device memory installed
process_count                   gauge   0..100000   processes that hold a compute context
process_memory_bytes            gauge   0..1e13     device memory that those processes hold
temperature_celsius             gauge   1..130      core temperature
memory_temperature_celsius      gauge   1..130      temperature of the memory
temperature_margin_celsius      gauge   -60..130    kelvins left before the board slows itself down
sm_clock_hertz                  gauge   0..1e10     SM clock
sm_clock_max_hertz              gauge   0..1e10     highest SM clock
memory_clock_hertz              gauge   0..1e11     memory clock
clock_event_mask                state   -           NVML clocks event reasons, bits: 1 idle, 4 power cap, 8 hardware slowdown, 32 and 64 thermal, 128 power brake
throttle_power_seconds_total    counter 0..         time spent slowed down by the power limit
throttle_thermal_seconds_total  counter 0..         time spent slowed down by temperature
throttle_brake_seconds_total    counter 0..         time spent slowed down by the external power brake
throttle_sync_seconds_total     counter 0..         time spent slowed down to keep pace with other boards
nvlink_tx_bytes_total           counter 0..         bytes sent over all NVLinks
nvlink_rx_bytes_total           counter 0..         bytes received over all NVLinks
nvlink_down_count               gauge   0..64       NVLinks that are not active
nvlink_recovery_total           counter 0..         link recoveries over all NVLinks
nvlink_error_total              counter 0..         errors over all NVLinks
pcie_tx_bytes_total             counter 0..         bytes sent over PCIe
pcie_rx_bytes_total             counter 0..         bytes received over PCIe
pcie_replay_total               counter 0..         PCIe replays
pcie_generation                 gauge   1..8        PCIe generation in force
pcie_width                      gauge   1..32       PCIe lanes in force
fabric_state                    state   0=not_supported,1=not_started,2=in_progress,3=completed  NVLink fabric registration
fabric_health_mask              state   -           NVML fabric health, reduced to its faults; 0 is healthy
ecc_corrected_total             counter 0..         corrected memory errors since the driver loaded
ecc_uncorrected_total           counter 0..         uncorrected memory errors since the driver loaded
rows_remapped_total             counter 0..         memory rows remapped in the board's life
row_remap_pending               state   0=no,1=yes  a row remap waits for a reset
row_remap_failure               state   0=no,1=yes  a row remap failed
recovery_action                 state   0=none,1=gpu_reset,2=node_reboot,3=drain_p2p,4=drain_and_reset,5=recover_imex,6=bus_reset,7=system_reboot  what the driver asks for
lost                            state   0=no,1=yes  the board does not answer any more

= gpu_info: gpu: Identity of a GPU board, on change and hourly
driver                          text    -           driver version
vbios                           text    -           VBIOS version
serial                          text    -           board serial number
pci_bus_id                      text    -           PCI address
chassis_serial                  text    -           serial number of the chassis
slot                            text    -           slot in the chassis
tray                            text    -           tray in the chassis
module_id                       text    -           module in the tray
cluster_uuid                    text    -           NVLink domain
clique_id                       text    -           NVLink partition within the domain

= gpu_event: gpu kind: Something that happened to a GPU; kind: xid, lost, reset, remap, link
code                            state   -           Xid or other code
severity                        state   0=info,1=warning,2=critical  how bad it is
text                            text    -           what the driver says

= nvml_call: call: One NVML call of the agent on a host, over all its boards
calls_total                     counter 0..         calls made
errors_total                    counter 0..         calls that failed otherwise than by not being there
seconds_total                   counter 0..         time spent in them

= inference: endpoint server level clock model engine role deployment tenant: One inference engine; level: engine, frontend, gateway; clock: final where output_tokens_total moves only when a request ends; role: prefill, decode, both
output_tokens_total             counter 0..         tokens generated by finished or running requests, as the server counts them
input_tokens_total              counter 0..         prompt tokens, cached ones included
input_computed_tokens_total     counter 0..         prompt tokens that were computed, cached ones left out
input_cached_tokens_total       counter 0..         prompt tokens taken from the prefix cache
live_output_tokens_total        counter 0..         tokens generated, counted as they leave the engine
live_input_computed_tokens_total counter 0..        prompt tokens computed, counted as they pass the engine
live_input_cached_tokens_total  counter 0..         prompt tokens taken from the cache, counted as they pass the engine
start_time_seconds              gauge   1e9..1e11   epoch time at which its counters began
requests_ok_total               counter 0..         requests that ended well
requests_failed_total           counter 0..         requests that ended in an error
requests_aborted_total          counter 0..         requests that the client gave up
preemptions_total               counter 0..         requests put back for want of cache
requests_running                gauge   0..1e6      requests in the running batch
requests_waiting                gauge   0..1e7      requests that wait
kv_cache_ratio                  gauge   0..1        share of the KV cache in use
awake                           state   0=asleep,1=awake  the engine holds its weights on the GPU
ttft_seconds_sum                counter 0..         time to first token, summed over requests
ttft_seconds_count              counter 0..         requests in ttft_seconds_sum
tpot_seconds_sum                counter 0..         mean time per output token of a request, summed over requests
tpot_seconds_count              counter 0..         requests in tpot_seconds_sum
itl_seconds_sum                 counter 0..         time between output tokens, summed
itl_seconds_count               counter 0..         gaps in itl_seconds_sum
e2e_seconds_sum                 counter 0..         time from arrival to last token, summed over requests
e2e_seconds_count               counter 0..         requests in e2e_seconds_sum
flops_total                     counter 0..         floating point operations that the engine estimates it did on each GPU
device_read_bytes_total         counter 0..         bytes that the engine estimates it read from the memory of each GPU
device_written_bytes_total      counter 0..         bytes that the engine estimates it wrote to the memory of each GPU
scheduler_idle_seconds_total    counter 0..         time in which the scheduler had nothing to run
spend_dollars_total             counter 0..         money that a gateway counts for its requests
spec_accepted_total             counter 0..         speculative tokens accepted
spec_draft_total                counter 0..         speculative tokens proposed

= inference_latency: endpoint server model engine role deployment tenant metric le: Latency histogram; metric: ttft, itl, tpot, e2e; le: upper bound in seconds
count_total                     counter 0..         observations at most `le`

= switch: : One network switch as a whole
uptime_seconds                  gauge   0..         time since it started
cpu_ratio                       gauge   0..1        CPU in use
memory_used_bytes               gauge   0..1e13     memory in use
memory_total_bytes              gauge   0..1e13     memory installed
agent_state                     state   0=ok,1=partial,2=agent_missing,3=unreachable  how much of it answers
map_state                       state   0=fresh,1=stale  the port map of its telemetry process against that of its database
counter_refresh_seconds         gauge   0..600      time between two refreshes of its counters, as seen
clock_skew_seconds              gauge   -1e6..1e6   its clock minus ours
version                         text    -           network operating system and version
hwsku                           text    -           hardware model as SONiC names it

= interface: interface alias kind neighbor: One switch port; kind: port, lag, vlan, mgmt
rx_bytes_total                  counter 0..         bytes received
tx_bytes_total                  counter 0..         bytes sent
rx_unicast_total                counter 0..         unicast packets received
tx_unicast_total                counter 0..         unicast packets sent
rx_multicast_total              counter 0..         multicast packets received
tx_multicast_total              counter 0..         multicast packets sent
rx_broadcast_total              counter 0..         broadcast packets received
tx_broadcast_total              counter 0..         broadcast packets sent
rx_discards_total               counter 0..         packets dropped on the way in
tx_discards_total               counter 0..         packets dropped on the way out
rx_errors_total                 counter 0..         packets received broken
tx_errors_total                 counter 0..         packets that could not be sent
admin_up                        state   0=down,1=up  the port is meant to work
oper_up                         state   0=down,1=up  the port works
speed_bits_per_second           gauge   0..1e13     speed in force
flaps_total                     counter 0..         times the link went down
fec_corrected_total             counter 0..         FEC codewords corrected
fec_uncorrected_total           counter 0..         FEC codewords beyond repair
fec_symbol_errors_total         counter 0..         FEC symbol errors
fec_corrected_bits_total        counter 0..         bits that FEC corrected
fec_pre_ber                     gauge   0..1        bit error ratio before FEC, as the switch works it out
fec_post_ber                    gauge   0..1        bit error ratio after FEC, as the switch estimates it
fec_max_symbols                 gauge   0..64       most symbol errors in one codeword since the switch's last look
lanes                           gauge   1..32       electrical lanes
rx_buffer_drops_total           counter 0..         packets dropped on the way in for want of buffer
tx_buffer_drops_total           counter 0..         packets dropped on the way out for want of buffer
last_down_time_seconds          gauge   1e9..1e11   epoch time at which the link last went down
counter_age_seconds             gauge   0..         age of the switch's own counter cache

= pfc: interface priority: Priority flow control of one priority of a port
rx_frames_total                 counter 0..         PFC frames received
tx_frames_total                 counter 0..         PFC frames sent
rx_pause_seconds_total          counter 0..         time for which the peer told us to pause, as the switch measures it
rx_pause_estimated_seconds_total counter 0..        the same as the switch estimates it
watchdog_detected_total         counter 0..         storms that the PFC watchdog saw begin
watchdog_restored_total         counter 0..         storms that the PFC watchdog saw end
watchdog_stormed                state   0=operational,1=stormed  the PFC watchdog holds the queue

= queue: interface queue: One egress queue of a port
packets_total                   counter 0..         packets sent
bytes_total                     counter 0..         bytes sent
dropped_packets_total           counter 0..         packets dropped
dropped_bytes_total             counter 0..         bytes dropped
ecn_marked_packets_total        counter 0..         packets marked with congestion experienced
ecn_marked_bytes_total          counter 0..         bytes marked with congestion experienced
wred_dropped_packets_total      counter 0..         packets dropped by WRED
watermark_bytes                 gauge   0..1e12     highest fill since the last reading
occupancy_bytes                 gauge   0..1e12     fill now

= priority_group: interface priority: One ingress priority group of a port
shared_watermark_bytes          gauge   0..1e12     highest fill of the shared buffer since the last clearing
xoff_watermark_bytes            gauge   0..1e12     highest fill of the headroom since the last clearing
dropped_packets_total           counter 0..         packets dropped

= lag_member: interface lag: A port's membership in a link aggregation group
selected                        state   0=no,1=yes  the port carries its share

= switch_event: interface kind: Something that happened to a switch or a port; kind: reset, link, storm, flap, map, agent
severity                        state   0=info,1=warning,2=critical  how bad it is
text                            text    -           what happened

= transceiver: interface lane: Optics of a port; lane: number, or - for the module
temperature_celsius             gauge   -40..130    module temperature
voltage_volts                   gauge   0..10       supply voltage
rx_power_watts                  gauge   0..1        optical power received
tx_power_watts                  gauge   0..1        optical power sent
bias_amperes                    gauge   0..1        laser bias current
rx_dark                         state   0=light,1=dark  no light arrives
rx_power_low_watts              gauge   0..1        the module's own alarm limit for power received, low
rx_power_high_watts             gauge   0..1        the same, high
tx_power_low_watts              gauge   0..1        the module's own alarm limit for power sent, low
tx_power_high_watts             gauge   0..1        the same, high
bias_high_amperes               gauge   0..1        the module's own alarm limit for bias current
temperature_high_celsius        gauge   -40..130    the module's own alarm limit for temperature
pre_fec_ber                     gauge   0..1        bit error ratio before FEC on the media side of the lane
model                           text    -           vendor and part number
serial                          text    -           serial number

= power: kind scope circuit side phase feed: Electrical readings; kind: rack_pdu, power_shelf, psu, rectifier, meter, switch, node, rack; scope: node, rack, it, facility; circuit total is the whole device; side: input, output
active_watts                    gauge   0..1e9      active power
apparent_volt_amperes           gauge   0..1e9      apparent power
voltage_volts                   gauge   0..50000    voltage, RMS on AC
current_amperes                 gauge   -50000..50000  current, RMS on AC
frequency_hertz                 gauge   40..70      mains frequency
power_factor_ratio              gauge   -1..1       active over apparent power
energy_joules_total             counter 0..         energy as the device counts it
integrated_joules_total         counter 0..         energy as we integrate it from active power
integrated_gap_seconds_total    counter 0..         time within which active power was not known: integrated_joules_total lacks its energy
counter_deviation_ratio         gauge   -1..2       the device's own energy over ours minus 1, over the last day or since an hour at least
load_ratio                      gauge   0..2        load over rating
rated_watts                     gauge   0..1e9      rated power
rated_amperes                   gauge   0..50000    rated current
efficiency_ratio                gauge   0..1        output over input power
imbalance_ratio                 gauge   0..2        largest deviation of a phase current from their mean, over that mean
total_harmonic_ratio            gauge   0..2        total harmonic distortion of the current
state                           state   0=normal,1=warning,2=critical,3=off  health as the device judges it

= bus: pole: High voltage DC bus or 48 V bus bar; pole: positive, negative, total
voltage_volts                   gauge   -2000..2000 voltage
voltage_min_volts               gauge   -2000..2000 lowest voltage since the last reading
voltage_max_volts               gauge   -2000..2000 highest voltage since the last reading
ripple_volts                    gauge   0..500      ripple, peak to peak
current_amperes                 gauge   -50000..50000  current
power_watts                     gauge   -1e8..1e8   power
insulation_ohms                 gauge   0..1e12     insulation resistance to earth
share_error_ratio               gauge   -1..1       deviation from an even share of the load
imbalance_ratio                 gauge   0..1        difference of the poles' voltages to earth over their sum
set_point_volts                 gauge   0..2000     voltage that the shelf holds
ground_fault                    state   0=clear,1=active  the device sees a connection to earth

= battery: unit: Battery or capacitor backup
charge_ratio                    gauge   0..1        state of charge
health_ratio                    gauge   0..1.2      state of health
voltage_volts                   gauge   0..2000     voltage
current_amperes                 gauge   -50000..50000  current; positive while charging
energy_joules                   gauge   0..1e12     energy stored
runtime_seconds                 gauge   0..1e7      time that the charge lasts at the present load
temperature_celsius             gauge   -40..130    temperature
state                           state   0=ready,1=charging,2=discharging,3=fault,4=off  what it does

= coolant: kind loop point pump: Liquid cooling; kind: cdu, rpu, rack, valve; loop: fws, tcs; point: supply, return, filter_in, filter_out, -
temperature_celsius             gauge   -30..130    temperature of the liquid
flow_liters_per_second          gauge   0..1000     flow
pressure_pascals                gauge   -1e5..5e6   gauge pressure
differential_pressure_pascals   gauge   -1e6..5e6   pressure difference, from the higher point to the lower
heat_watts                      gauge   -1e7..1e9   heat carried off, as we compute it from flow and temperatures
heat_reported_watts             gauge   -1e7..1e9   heat carried off, as the device reports it
approach_celsius                gauge   -50..100    coolant supply above facility supply, in kelvins
dew_margin_celsius              gauge   -50..100    coolant supply above dew point, in kelvins
valve_ratio                     gauge   0..1        valve position; 1 is open
pump_speed_ratio                gauge   0..1.2      pump speed over rated speed
pump_speed_rpm                  gauge   0..30000    pump speed
pump_state                      state   0=stopped,1=running,2=fault  what the pump does
level_ratio                     gauge   0..1        fill of the reservoir
level_state                     state   0=normal,1=warning,2=critical  fill of the reservoir as the device judges it
ph                              gauge   0..14       acidity
conductivity_siemens_per_meter  gauge   0..10       conductivity
turbidity_ntu                   gauge   0..4000     turbidity

= leak: detector level: Leak detection; level: tray, switch, rack, hall
state                           state   0=normal,1=warning,2=critical,3=sensor_fault  what the detector says

= environment: point: Air in rack or hall
temperature_celsius             gauge   -40..100    air temperature
humidity_ratio                  gauge   0..1        relative humidity
dew_point_celsius               gauge   -60..60     dew point

= fan: fan: One fan
speed_ratio                     gauge   0..1.2      speed over rated speed
speed_rpm                       gauge   0..100000   speed
state                           state   0=normal,1=warning,2=critical,3=off  health as the device judges it

= check: rule subject: What was found implausible among a device's own readings; rule: apparent, product, efficiency, sum, order, heat, stuck; subject: the row it speaks of
failed                          state   0=holds,1=failed  the readings contradict each other: they are withheld
deviation_ratio                 gauge   -2..2       how far apart they are, relative; larger ones are cut at 2
failures_total                  counter 0..         polls in which it failed
text                            text    -           what contradicts what, with numbers

= alarm_bits: bit: Alarm words of a device, one row per bit
active                          state   0=clear,1=active  the device raises it

= inventory: kind id parent relation model scope interface: What belongs to the site; kind: site, row, rack, host, shelf, pdu, cdu, loop, feed, switch, meter, engine, link; relation: contains, feeds, cools, uplinks, links; interface: the parent's port of a link
present                         state   0=removed,1=present  the relation holds
expected_count                  gauge   0..1e6      parts expected in it: GPUs of a host
rated_watts                     gauge   0..1e9      rated power
rated_flow_liters_per_second    gauge   0..1000     rated flow
neighbor_interface              text    -           the other end's port of a link, as the neighbour tells it by LLDP

= device: protocol profile: Each poll of a device
up                              state   0=down,1=up  the poll brought something
poll_seconds                    gauge   0..3600     time that the poll took
last_success_age_seconds        gauge   0..         time since a poll brought something
values_total                    counter 0..         values taken
values_rejected_total           counter 0..         values refused: blank, malformed, implausible
timeouts_total                  counter 0..         polls without an answer in time
errors_total                    counter 0..         polls that failed, late ones included
duplicates_total                counter 0..         points dropped because a better source tells of the same GPU
requests_total                  counter 0..         requests sent: PDUs of SNMP, rounds of gNMI
reconnects_total                counter 0..         connections opened anew after one was lost
counter_resets_total            counter 0..         counters that began anew
missing_values                  gauge   0..1e9      readings that the last poll asked for and did not get
error                           text    -           what was wrong with the last poll; absent where nothing was
state                           state   0=ok,1=partial,2=unreachable,3=unauthorised,4=malformed,5=unknown,6=maintenance  how the last poll ended

= collector: collector: A collecting process, about itself
points_written_total            counter 0..         points that the store acknowledged
points_dropped_total            counter 0..         points given up
spool_bytes                     gauge   0..         size of the spool
spool_age_seconds               gauge   0..         age of the oldest point in the spool
queue_points                    gauge   0..         points that wait to be written
skipped_polls_total             counter 0..         polls left out because the last one still ran
traps_total                     counter 0..         SNMP notifications taken
traps_dropped_total             counter 0..         SNMP notifications dropped: of strangers, malformed, too many
cpu_seconds_total               counter 0..         CPU time used
memory_bytes                    gauge   0..         resident memory

= gpu_state: gpu mig state: Verdict on a GPU; state: busy, stalled, starved, parked, reserved_idle, unallocated_idle, ghost, lost, unknown
since_seconds                   gauge   0..         time for which the state has held
confidence_ratio                gauge   0..1        how sure the verdict is
reason                          text    -           why, in words
power_watts                     gauge   0..3000     evidence: mean board power
utilization_ratio               gauge   0..1        evidence: mean share of time in which any kernel ran
sm_active_ratio                 gauge   0..1        evidence: mean share of SMs with work
memory_used_bytes               gauge   0..1e13     evidence: device memory in use
process_count                   gauge   0..100000   evidence: processes with a compute context

= kpi: name boundary group_kind group: Rolled up figures, one per minute; boundary: gpu_board, node, rack, it, facility; group_kind: site, row, rack, host, model, deployment, tenant
value                           gauge   -           the figure
numerator                       gauge   -           what stands above the line
denominator                     gauge   -           what stands below the line
coverage_ratio                  gauge   0..1        share of the expected sources that answered
quality                         state   0=ok,1=partial,2=invalid  how far to trust it
window_seconds                  gauge   0..         span that it speaks of

= alarm: rule object priority state: Each transition of an alarm
value                           gauge   -           the reading that caused it
limit                           gauge   -           the limit that it crossed
text                            text    -           what people are told
actor                           text    -           who acknowledged or shelved it
"""  # noqa: E501


def _unit(name: str) -> str:
    """Return the unit that the name of a field is written in, or "" for counts."""
    stem = name.removesuffix("_total").removesuffix("_sum")
    return next((unit for unit in UNITS if stem == unit or stem.endswith(f"_{unit}")), "")


def _bound(text: str) -> float | None:
    return float(text) if text else None


def _parse_field(line: str) -> Field:
    name, kind, values, meaning = line.split(maxsplit=3)
    if kind not in get_args(Kind):
        raise ValueError(f"{name}: kind {kind!r} is none of {', '.join(get_args(Kind))}")
    low, high, states = None, None, {}
    if ".." in values:
        low, high = map(_bound, values.split(".."))
    elif values != "-":
        states = {int(number): state for number, state in (pair.split("=") for pair in values.split(","))}
        low, high = float(min(states)), float(max(states))
    return Field(name, _unit(name), cast(Kind, kind), meaning, low, high, MappingProxyType(states))


def _parse(table: str) -> Iterator[tuple[str, Measurement]]:
    for block in table.split("\n= ")[1:]:
        head, *lines = block.strip().splitlines()
        name, tags, meaning = (part.strip() for part in head.split(":", maxsplit=2))
        fields = {parsed.name: parsed for parsed in map(_parse_field, lines)}
        yield name, Measurement(name, meaning, COMMON_TAGS + tuple(tags.split()), MappingProxyType(fields))


#: name -> Measurement
MEASUREMENTS: Mapping[str, Measurement] = MappingProxyType(dict(_parse(_TABLE)))


def unknown(what: str, name: str, known: Iterable[str]) -> KeyError:
    """Return the error for a name that the schema lacks, with the names that come near it."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return KeyError(f"{what} {name!r} is not in the schema" + (f"; did you mean {' or '.join(near)}?" if near else ""))


def measurement(name: str) -> Measurement:
    """Return the measurement of that name.

    Raises:
        KeyError: the schema has none; the message names those that come near.
    """
    try:
        return MEASUREMENTS[name]
    except KeyError:
        raise unknown("measurement", name, MEASUREMENTS) from None


def field_of(path: str) -> Field:
    """Return the field that `measurement.field` names.

    Raises:
        KeyError: the schema has no such measurement or field; the message names those that come near.
    """
    name, dot, own = path.partition(".")
    fields = measurement(name).fields
    if not dot or own not in fields:
        raise unknown("field", path, (f"{name}.{known}" for known in fields))
    return fields[own]


def check_tags(own: Measurement, names: Iterable[str]) -> None:
    """Raise KeyError when one of `names` is no tag of the measurement."""
    for name in names:
        if name not in own.tags:
            raise unknown("tag", f"{own.name}.{name}", (f"{own.name}.{tag}" for tag in own.tags))


def check_value(own: Measurement, field: Field, value: float | int | str) -> None:
    """Raise ValueError when the field cannot hold the value: text in a number, a fraction in a state, NaN."""
    if isinstance(value, str) != (field.kind == "text"):
        wrong = "does not hold text" if isinstance(value, str) else "holds text only"
    elif isinstance(value, str):
        return
    elif not math.isfinite(value):
        wrong = "must be left out when it is unknown"
    elif field.kind == "state" and (value != int(value) or not -(2**63) <= value < 2**63):
        wrong = "holds whole numbers of 64 bits only"
    else:
        return
    raise ValueError(f"{own.name}.{field.name}={value!r}: a {field.kind} {wrong}")
