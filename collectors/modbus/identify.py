"""Which Modbus profile fits a device: each profile's `match` asked of its unit ids, every register once."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from collectors.collector import CollectError, DeviceRefusedError, DeviceTimeoutError, Target, UnknownDeviceError
from collectors.modbus.address import Address, decode, parse_address
from collectors.modbus.client import Connection, FailedSpanError, RefusedSpanError
from collectors.modbus.gateway import Gateway
from collectors.modbus.plan import unit_ids
from collectors.profile import Profile, Raw


class _Asked:
    """What a device answered so far; a unit that is silent once is not asked again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._silent: dict[int, CollectError] = {}
        self._answers: dict[tuple[int, Address], Sequence[int] | None] = {}

    @property
    def answers(self) -> bool:
        """Return whether any unit said anything, an exception included."""
        return bool(self._answers)

    @property
    def silence(self) -> CollectError | None:
        """Return why a unit gave nothing, or None."""
        return next(iter(self._silent.values()), None)

    async def read(self, unit: int, address: Address) -> Sequence[int] | None:
        """Return the registers, or None where the unit has none there or is silent.

        Raises:
            DeviceRefusedError: no connection.
        """
        if unit in self._silent:
            return None
        if (unit, address) not in self._answers:
            try:
                self._answers[unit, address] = await self._connection.read(unit, address)
            except (RefusedSpanError, FailedSpanError):
                self._answers[unit, address] = None
            except DeviceRefusedError:
                raise
            except CollectError as e:
                self._silent[unit] = e
                return None
        return self._answers[unit, address]


async def find(
    target: Target, candidates: Sequence[Profile], unit: int | None, gateway: Gateway | None = None
) -> Profile:
    """Return the first profile that fits; those that look at the fewest unit ids are tried first.

    Raises:
        UnknownDeviceError: it answers, and none fits.
        CollectError: no connection, or no unit answers.
    """
    connection = Connection(target, min(1.0, target.timeout.total_seconds()), gateway=gateway)
    asked = _Asked(connection)
    matching = [profile for profile in candidates if profile.match]
    try:
        await connection.open()
        for profile in sorted(matching, key=lambda p: len(_units(p, unit))):
            if await _fits(asked, profile, unit):
                return profile
    finally:
        connection.close()
    names = ", ".join(profile.profile for profile in candidates)
    if not asked.answers and asked.silence is not None:
        raise DeviceTimeoutError(f"{asked.silence}; no unit of the profiles {names} answers: name profile and unit")
    raise UnknownDeviceError(
        f"{target.name} {target.address}: fits none of the profiles {names}; name one in the target, or draft one: "
        "tokenwatt profile new"
    )


def _units(profile: Profile, unit: int | None) -> Sequence[int]:
    return [unit] if unit is not None else unit_ids(profile.match)


async def _fits(asked: _Asked, profile: Profile, unit: int | None) -> bool:
    conditions: list[Mapping[str, Any]] = [profile.match, *profile.match.get("and", [])]
    for number in _units(profile, unit):
        # The conditions speak of one device: the first unit that answers decides.
        results = [await _holds(asked, number, condition, profile) for condition in conditions[:1]]
        if results == [None]:
            continue
        return all(results) and all([await _holds(asked, number, each, profile) for each in conditions[1:]])
    return False


async def _holds(asked: _Asked, unit: int, condition: Mapping[str, Any], profile: Profile) -> bool | None:
    """Return whether a unit fulfils a condition, or None where it says nothing about it."""
    type_ = str(condition.get("type", "u16"))
    address = parse_address(str(condition["at"]), type_)
    values = await asked.read(unit, address)
    denied = bool(condition.get("not", False))
    if values is None:
        return True if denied else None
    raw = decode(values, address, type_, str(profile.transport.get("word_order", "big")))
    return _is_within(raw, condition) is not denied


def _is_within(raw: Raw, condition: Mapping[str, Any]) -> bool:
    if isinstance(raw, str):
        return raw.isprintable() and fnmatchcase(raw, str(condition["text"]))
    low, high = condition.get("min"), condition.get("max")
    return (low is None or raw >= low) and (high is None or raw <= high)
