"""The Modbus collector against pymodbus' own server, and against servers that break the protocol."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from modbus_bus import MemoryLoop, Request, all_but_in_memory, answering, frame, registers, run_in_memory
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from services import free_port

from collectors.collector import CollectError, DeviceRefusedError, DeviceTimeoutError, PollResult, ProtocolError, Target
from collectors.modbus import collector as modbus
from collectors.modbus.address import Address, decode, parse_address
from collectors.modbus.client import Connection
from collectors.profile import Derived, Group, PointSpec, Profile, load_profile
from storage.config import ConfigError
from storage.point import Point

#: power-and-cooling.md section 8: one HPR supply, measured
VECTOR: Mapping[int, int] = {79: 51405, 80: 6208, 82: 38955, 86: 507, 87: 39954, 88: 17728, 89: 18649, 69: 3520}


class Bus:
    """pymodbus' server with some units; what it was asked stands in `asked` as (unit, function, start, count)."""

    def __init__(self, units: Mapping[int, Mapping[int, int]]) -> None:
        self.asked: list[tuple[int, int, int, int]] = []
        devices = [
            SimDevice(unit, [SimData(n, values=v, datatype=DataType.REGISTERS) for n, v in table.items()])
            for unit, table in units.items()
        ]
        self._server = ModbusTcpServer(devices, address=("127.0.0.1", 0), trace_pdu=self._trace)
        self.port = 0

    def _trace(self, is_sent: bool, pdu: ModbusPDU) -> ModbusPDU:
        if not is_sent:
            self.asked.append((pdu.dev_id, pdu.function_code, pdu.address, pdu.count))
        return pdu

    async def start(self) -> None:
        await self._server.serve_forever(background=True)
        assert isinstance(self._server.transport, asyncio.Server)
        self.port = self._server.transport.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        await self._server.shutdown()


@asynccontextmanager
async def bus(units: Mapping[int, Mapping[int, int]]) -> AsyncIterator[Bus]:
    made = Bus(units)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def target(port: int, **options: str) -> Target:
    return Target("dev-1", "modbus", f"127.0.0.1:{port}", timeout=timedelta(seconds=20), options=options)


def profile(*points: PointSpec, each: Mapping[str, object] | None = None, **more: object) -> Profile:
    group = Group(each=each or {}, tags={"kind": "power_shelf", "circuit": "psu-{unit}"}, points=points)
    own: dict[str, object] = {"model": "own", "kind": "power_shelf", "protocol": "modbus", "source": "this test"}
    return Profile.model_validate(own | {"profile": "own", "groups": [group]} | more)


def watts(register: int, side: str, **more: object) -> PointSpec:
    return PointSpec.model_validate(
        {"to": "power.active_watts", "at": f"holding:{register}", "tags": {"side": side}} | more
    )


def of(result: PollResult, measurement: str, **tags: str) -> Point:
    found = [p for p in result.points if p.measurement == measurement and tags.items() <= p.tags.items()]
    assert len(found) == 1, (measurement, tags, len(found))
    return found[0]


async def polled(port: int, what: Profile, **options: str) -> PollResult:
    collector = modbus.open_collector(target(port, **options), what)
    try:
        return await collector.poll(1)
    finally:
        await collector.aclose()


async def test_the_measured_vector_of_one_supply_decodes_to_its_known_values() -> None:
    table = dict.fromkeys(range(52, 119), 0) | VECTOR
    async with bus({208: table, 0: {0: 0}}) as server:
        result = await polled(server.port, load_profile("ocp_hpr_shelf"))
    output, input_ = (
        of(result, "power", circuit="psu-208", side="output"),
        of(result, "power", circuit="psu-208", side="input"),
    )
    assert output.fields["voltage_volts"] == pytest.approx(50.2002, abs=5e-5)
    assert output.fields["current_amperes"] == 97.0
    assert output.fields["active_watts"] == 4869.375
    assert input_.fields["active_watts"] == 4994.25
    assert input_.fields["voltage_volts"] == 277.0
    assert input_.fields["current_amperes"] == pytest.approx(18.212, abs=5e-4)
    assert input_.fields["power_factor_ratio"] == pytest.approx(0.9902, abs=5e-5)
    assert of(result, "environment", point="psu-208-inlet").fields["temperature_celsius"] == 27.5
    assert of(result, "power", circuit="total", side="input").fields["active_watts"] == 4994.25
    assert of(result, "bus", pole="total").fields["voltage_volts"] == pytest.approx(50.2002, abs=5e-5)
    # All other unit ids are not there; that is no fault of this shelf.
    assert result.missing == ()


async def test_neighbours_share_a_request_as_far_as_gap_and_span_allow() -> None:
    points = [watts(number, side) for number, side in ((10, "a"), (14, "b"), (20, "c"), (21, "d"), (40, "e"))]
    async with bus({1: dict.fromkeys(range(64), 7)}) as server:
        await polled(server.port, profile(*points), gap="4")
        wide = [(start, count) for *_, start, count in server.asked]
        server.asked.clear()
        await polled(server.port, profile(*points), gap="30", max_span="12")
        narrow = [(start, count) for *_, start, count in server.asked]
    assert wide == [(10, 5), (20, 2), (40, 1)]
    assert narrow == [(10, 12), (40, 1)]


async def test_a_refused_span_is_split_once_and_the_split_is_kept() -> None:
    # Register 12 is not there: a read across it is refused although nobody wants it.
    async with bus({1: {10: 1, 11: 2, 13: 4}}) as server:
        what = profile(watts(10, "a"), watts(11, "b"), watts(13, "c"), watts(15, "d"))
        collector = modbus.open_collector(target(server.port), what)
        first = await collector.poll(1)
        server.asked.clear()
        second = await collector.poll(2)
        await collector.aclose()
    values = {p.tags["side"]: p.fields["active_watts"] for p in second.points}
    assert values == {"a": 1.0, "b": 2.0, "c": 4.0}
    assert len(first.points) == 3
    assert [(start, count) for *_, start, count in server.asked] == [(10, 2), (13, 1)]
    assert first.missing == ("unit 1 holding:15: illegal address",)
    assert second.missing == ()


async def test_the_first_address_that_the_unit_has_is_taken() -> None:
    async with bus({1: {30: 5}}) as server:
        spec = PointSpec(to="power.active_watts", at=("holding:10", "holding:20", "holding:30"))
        result = await polled(server.port, profile(spec))
    assert [p.fields for p in result.points] == [{"active_watts": 5.0}]
    assert result.missing == ()


async def test_a_supply_that_answered_once_and_is_gone_withholds_the_sum() -> None:
    both = {208: {87: 800}, 209: {87: 1600}}
    total = Derived(
        to="power.active_watts", sum={"circuit": "psu-*", "side": "input"}, tags={"circuit": "total", "side": "input"}
    )
    each = {"units": [207, 208, 209], "probe": "holding:87"}
    what = profile(watts(87, "input", frac_bits=3), each=each, derived=(total,))
    async with bus(both) as server:
        port = server.port
        collector = modbus.open_collector(target(port), what)
        result = await collector.poll(1)
        assert of(result, "power", circuit="total").fields["active_watts"] == 300.0
        assert result.missing == ()
        del server._server.context.devices[209]  # type: ignore[union-attr]
        result = await collector.poll(2)
        await collector.aclose()
    assert of(result, "power", circuit="psu-208").fields["active_watts"] == 100.0
    assert not [p for p in result.points if p.tags.get("circuit") == "total"]
    assert len(result.missing) == 1
    assert result.missing[0].startswith("unit 209 holding:87: ")


async def test_coils_and_discrete_inputs_give_bits() -> None:
    async with bus({1: {0: 0b0000_0000_0000_0101}}) as server:
        enum = {0: 0, 1: 2}
        points = [
            PointSpec(to="leak.state", at="discrete:0", enum=enum, tags={"detector": "a"}),
            PointSpec(to="leak.state", at="coil:0", enum=enum, tags={"detector": "c"}),
        ]
        group = Group(points=tuple(points))
        result = await polled(server.port, profile(points[0]).model_copy(update={"groups": (group,)}))
        functions = {function for _, function, *_ in server.asked}
    assert {p.tags["detector"]: p.fields["state"] for p in result.points} == {"a": 2, "c": 2}
    assert functions == {1, 2}


@pytest.mark.parametrize(
    ("type_", "order", "registers", "value"),
    [
        ("u16", "big", [0xFFFE], 65534),
        ("i16", "big", [0xFFFE], -2),
        ("u32", "big", [1, 2], 65538),
        ("u32", "little", [2, 1], 65538),
        ("i32", "big", [0xFFFF, 0xFFFF], -1),
        ("u64", "little", [4, 3, 2, 1], 0x0001_0002_0003_0004),
        ("f32", "big", [0x4248, 0x0000], 50.0),
        ("f32", "little", [0x0000, 0x4248], 50.0),
        ("i64", "big", [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], -2),
        ("f64", "big", [0x4049, 0, 0, 0], 50.0),
        ("f32", "big_swapped", [0x4842, 0x0000], 50.0),
        ("f32", "little_swapped", [0x0000, 0x4842], 50.0),
        ("u16", "big_swapped", [0x1234], 0x1234),
        ("f32-big", "little", [0x4248, 0x0000], 50.0),
        ("u32-little", "big", [2, 1], 65538),
        ("string", "little", [0x4C43, 0x5300], "LCS"),
    ],
)
def test_types_decode(type_: str, order: str, registers: list[int], value: object) -> None:
    address = parse_address("holding:0:2" if type_ == "string" else "holding:0", type_)
    assert address.count == len(registers)
    assert decode(registers, address, type_, order) == value


@pytest.mark.parametrize(
    ("at", "raw"), [("holding:0.0", 1), ("holding:0.1", 0), ("holding:0.15", 1), ("holding:0.4-7", 0xC)]
)
def test_bits_of_a_register_are_numbers_of_their_own(at: str, raw: int) -> None:
    assert decode([0x80C1], parse_address(at, "u16"), "u16", "big") == raw


@pytest.mark.parametrize("at", ["holding:65536", "holding:-1", "register:1", "holding:x", "holding:1:0"])
def test_a_profile_with_an_address_that_cannot_be_is_refused_before_anything_is_sent(at: str) -> None:
    spec = PointSpec(to="power.active_watts", at=at, type="string" if at.count(":") == 2 else "u16")
    with pytest.raises(ConfigError, match=r"own\.yaml: groups\[0\]"):
        modbus.open_collector(target(502), profile(spec))


async def test_a_closed_port_is_told_as_refused() -> None:
    port = free_port()
    with pytest.raises(DeviceRefusedError, match=rf"dev-1 127\.0\.0\.1:{port}: connect"):
        await polled(port, profile(watts(0, "a")))


async def test_a_device_that_refuses_everything_gives_an_error_not_an_empty_success() -> None:
    async with bus({0: {0: 0}}) as server:
        with pytest.raises(CollectError, match=r"none of the 3 units 7 to 9 of profile own answers"):
            await polled(server.port, profile(watts(87, "input"), each={"units": [7, 8, 9], "probe": "holding:87"}))


async def test_an_answer_of_another_length_is_a_protocol_error() -> None:
    async def short(unit: int, pdu: bytes) -> bytes:
        return b"\x03\x02\x00\x01"  # one register, whatever was asked

    async with answering(short) as port:
        connection = Connection(target(port), 20.0)
        await connection.open()
        with pytest.raises(ProtocolError, match=r"unit 1 holding 10: asked function 3 for 2 values .* in 2"):
            await connection.read(1, Address(3, 10, 2), 20.0)
        connection.close()


class Time:
    """The loop's clock, put forward by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        for module in ("collectors.modbus.collector", "collectors.modbus.reader"):
            monkeypatch.setattr(f"{module}.now", lambda: asyncio.get_running_loop().time() + self.ahead)


def test_a_silent_unit_is_asked_again_after_its_neighbours_and_then_left_alone() -> None:
    asked: list[int] = []

    async def work(loop: MemoryLoop) -> tuple[PollResult, PollResult]:
        what = profile(watts(10, "input"), each={"units": [1, 2, 3]})
        collector = modbus.open_collector(target(502, timeout="1s"), what)
        first, second = await collector.poll(1), await collector.poll(2)
        await collector.aclose()
        return first, second

    first, second = run_in_memory(all_but_in_memory(2, asked), work)
    assert asked == [1, 2, 3, 2, 1, 3]
    assert first.missing == ("unit 2 holding:10: timeout",)
    assert second.missing == ("unit 2 holding:10: silent in 1 polls in a row",)
    # Each time-out ended a connection: what is late for one can never be taken for another.
    assert (first.requests, second.requests) == (4, 6)
    assert second.reconnects == 2


async def test_units_that_were_all_silent_come_back_together(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    is_dead = False

    async def gateway(unit: int, pdu: bytes) -> bytes:
        return b"\x83\x0b" if is_dead and unit != 1 else b"\x03\x02\x00\x07"

    async with answering(gateway) as port:
        collector = modbus.open_collector(target(port), profile(watts(10, "input"), each={"units": [1, 2, 3, 4, 5]}))
        await collector.poll(1)
        is_dead = True
        for _ in range(8):
            time.ahead += 100.0
            result = await collector.poll(2)
        assert {p.tags["circuit"] for p in result.points} == {"psu-1"}
        assert sorted(line.split()[1] for line in result.missing) == ["2", "3", "4", "5"]
        is_dead = False
        time.ahead += 100.0
        result = await collector.poll(3)
        await collector.aclose()
    assert len(result.points) == 5
    assert result.missing == ()


async def test_a_unit_that_fails_at_one_span_keeps_the_others() -> None:
    async def half(unit: int, pdu: bytes) -> bytes:
        return b"\x83\x04" if pdu[2] == 200 else b"\x03\x02\x00\x07"

    async with answering(half) as port:
        collector = modbus.open_collector(target(port), profile(watts(10, "a"), watts(200, "b")))
        results = [await collector.poll(1), await collector.poll(2)]
        await collector.aclose()
    for result in results:
        assert [p.tags["side"] for p in result.points] == ["a"]
        assert result.missing == ("unit 1 holding:200: exception 4 (device failure)",)


async def test_a_connection_lost_within_a_poll_is_opened_anew_and_costs_no_value() -> None:
    asked: list[int] = []

    async def drops(unit: int, pdu: bytes) -> bytes | None:
        asked.append(unit)
        if asked == [1, 2]:
            raise ConnectionResetError
        return b"\x03\x02\x00\x07"

    async with answering(drops) as port:
        collector = modbus.open_collector(target(port), profile(watts(10, "input"), each={"units": [1, 2, 3]}))
        result = await collector.poll(1)
        await collector.aclose()
    assert asked == [1, 2, 3, 2]
    assert len(result.points) == 3
    assert (result.missing, result.requests, result.reconnects) == ((), 4, 1)


async def test_what_a_unit_refused_is_asked_for_again_in_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    is_ready = False

    async def starting(unit: int, pdu: bytes) -> bytes:
        return b"\x03\x02\x00\x07" if is_ready or pdu[2] == 10 else b"\x83\x02"

    async with answering(starting) as port:
        collector = modbus.open_collector(target(port), profile(watts(10, "a"), watts(200, "b")))
        first = await collector.poll(1)
        time.ahead += 601.0
        second = await collector.poll(2)
        is_ready = True
        time.ahead += 300.0
        third = await collector.poll(3)
        time.ahead += 301.0
        fourth = await collector.poll(4)
        await collector.aclose()
    assert first.missing == ("unit 1 holding:200: illegal address",)
    assert second.missing == ()
    assert len(third.points) == 1
    assert len(fourth.points) == 2


async def test_settings_become_tags_and_scales_of_their_unit() -> None:
    # Unit 1 counts amperes and hangs on feed A; unit 2 counts tenths and says a feed that nobody knows.
    units = {1: {5: 120, 8: 0, 9: 1}, 2: {5: 120, 8: 1, 9: 7}, 3: {5: 120, 9: 2}}
    spec = PointSpec.model_validate(
        {"to": "power.current_amperes", "at": "holding:5", "scale_if": {"tenths": {0: 1, 1: 0.1}}}
    )
    settings = {"tenths": "holding:8", "feed": {"at": "holding:9", "map": {1: "A", 2: "B"}}}
    group = Group(
        each={"units": [1, 2, 3], "settings": settings},
        tags={"circuit": "psu-{unit}", "feed": "{feed}"},
        points=(spec, watts(5, "input")),
    )
    async with bus(units) as server:
        what = profile(spec).model_copy(update={"groups": (group,)})
        collector = modbus.open_collector(target(server.port), what)
        result = await collector.poll(1)
        asked = len(server.asked)
        server.asked.clear()
        await collector.poll(2)
        await collector.aclose()
    found = {
        (p.tags["circuit"], p.tags.get("feed")): p.fields["current_amperes"]
        for p in result.points
        if "current_amperes" in p.fields
    }
    # Unit 3 does not say what it counts: nothing is guessed.
    assert found == {("psu-1", "A"): 120.0, ("psu-2", None): 12.0}
    assert of(result, "power", circuit="psu-3", feed="B", side="input").fields == {"active_watts": 120.0}
    assert len(result.rejected) == 1
    assert (asked, len(server.asked)) == (9, 3)


async def test_what_every_unit_tells_is_read_of_one_that_answers() -> None:
    each = {"units": [1, 2], "once": True}
    group = Group(each=each, tags={"pole": "total"}, points=(PointSpec(to="bus.set_point_volts", at="holding:3"),))
    other = Group(each={"units": [1, 2]}, tags={"circuit": "psu-{unit}"}, points=(watts(7, "input"),))
    what = profile(watts(7, "input")).model_copy(update={"groups": (other, group)})
    asked: list[tuple[int, int]] = []
    dead = 0

    async def gateway(unit: int, pdu: bytes) -> bytes:
        asked.append((unit, pdu[2]))
        return b"\x83\x0b" if unit == dead else b"\x03\x02\x00\x32"

    async with answering(gateway) as port:
        collector = modbus.open_collector(target(port, retries="0"), what)
        first = await collector.poll(1)
        assert asked == [(1, 7), (1, 3), (2, 7)]
        dead = 1
        second = await collector.poll(2)
        await collector.aclose()
    for result in (first, second):
        assert of(result, "bus", pole="total").fields == {"set_point_volts": 50.0}
    assert second.missing == ("unit 1 holding:7: exception 11 (no answer to the gateway)",)


async def test_the_targets_unit_takes_the_place_of_the_only_one_of_a_profile() -> None:
    async with bus({7: {10: 5}}) as server:
        result = await polled(server.port, profile(watts(10, "input")), unit="7")
        assert of(result, "power", circuit="psu-7").fields == {"active_watts": 5.0}
        with pytest.raises(CollectError, match="unit=7: the profile own has several units of its own: leave unit out"):
            await polled(server.port, profile(watts(10, "input"), each={"units": [1, 2]}), unit="7")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"unit": "256"}, "unit='256' is no unit id: 0 to 255"),
        ({"timeout": "5"}, "timeout: '5' is no duration"),
        ({"max_span": "126"}, "max_span: '126' is no whole number of 1 to 125"),
        ({"word_order": "middle"}, "word_order: 'middle' is none of big, little"),
    ],
)
def test_wrong_options_of_a_target_are_named(options: dict[str, str], reason: str) -> None:
    with pytest.raises(CollectError, match=reason):
        modbus.open_collector(target(502, **options), profile(watts(10, "input")))


def test_one_silent_unit_costs_its_neighbours_no_value() -> None:
    asked: list[int] = []

    async def work(loop: MemoryLoop) -> tuple[PollResult, PollResult]:
        what = profile(watts(10, "input"), each={"units": [1, 2, 3]})
        collector = modbus.open_collector(target(502, timeout="1s", retries="0"), what)
        first = await collector.poll(1)
        asked.clear()
        second = await collector.poll(2)
        await collector.aclose()
        return first, second

    for result in run_in_memory(all_but_in_memory(2, asked), work):
        assert {p.tags["circuit"] for p in result.points} == {"psu-1", "psu-3"}
        assert len(result.missing) == 1
    assert asked == [1, 3]


def test_a_device_that_accepts_and_never_answers_times_out_within_its_deadline() -> None:
    async def work(loop: MemoryLoop) -> float:
        with pytest.raises(DeviceTimeoutError, match=r"dev-1 127\.0\.0\.1:502: unit 1 holding 10: timeout"):
            await polled(502, profile(watts(10, "input")), timeout="100ms")
        return loop.time()

    assert 0.1 <= run_in_memory(lambda _: [], work) < 20.0


def test_no_sum_is_made_before_every_unit_id_was_asked_once() -> None:
    def one(request: Request) -> Sequence[bytes]:
        transaction, unit, _ = request
        return [frame(transaction, unit, registers(3, 7))] if unit in (1, 6) else []

    total = Derived(to="power.active_watts", sum={"circuit": "psu-*"}, tags={"circuit": "total"})
    what = profile(watts(10, "input"), each={"units": [1, 2, 3, 4, 5, 6], "probe": "holding:10"}, derived=(total,))

    async def work(loop: MemoryLoop) -> PollResult:
        # The time left allows some two silent units in each poll.
        short = Target("dev-1", "modbus", "127.0.0.1:502", timeout=timedelta(seconds=2), options={"timeout": "700ms"})
        collector = modbus.open_collector(short, what)
        first = await collector.poll(1)
        assert {p.tags["circuit"] for p in first.points} == {"psu-1"}
        assert "unit 6 holding:10: not asked yet" in first.missing
        async with asyncio.timeout(60):
            while (result := await collector.poll(2)).missing:
                pass
        await collector.aclose()
        return result

    assert of(run_in_memory(one, work), "power", circuit="total").fields == {"active_watts": 14.0}
