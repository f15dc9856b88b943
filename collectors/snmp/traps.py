"""SNMP traps and informs, v1, v2c and v3: who may tell us something, and how much of it is read.

A notification counts when its source address is that of a target of protocol snmp, or one of its option `trap_from`
(switches often send from a loopback interface), and its community (v1, v2c) or user
(v3, signed and enciphered as that target's options say) is that target's; all others are dropped and counted, and one
line is logged per sender and reason. Where several targets share address and credentials, the source port must be the
one that the target is polled at.

Work is bounded: datagrams of others cost a look-up, a sender may bring 600 at once and 20 in a second, 2,000 wait at
most, and reading them takes a quarter of a core at most. A datagram costs about 1 ms (v1, v2c) or 2 ms (v3) of CPU.
"""

import asyncio
import hmac
import logging
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from collectors.collector import CollectError, Target, Trap
from collectors.snmp.session import read_login
from collectors.snmp.traps_message import (
    AmbiguousError,
    Envelope,
    Heard,
    MalformedError,
    RefusedError,
    read_envelope,
    read_message,
)
from collectors.snmp.traps_port import Address, open_port, plain_address
from collectors.snmp.traps_usm import User, Usm, open_sealed

logger = logging.getLogger(__name__)

#: notifications of one sender: at once, and per second for ever; a switch that loses all its ports tells of each
BURST, RATE = 600, 20.0
#: datagrams that wait to be read
WAITING = 2000
#: datagrams taken from the socket before polls get their turn
AT_ONCE = 64
#: share of one core that reading may take
SHARE = 0.25
LARGEST = 65_535
#: names of targets are looked up again. Units: s
RESOLVE_S = 300.0
#: a port that could not be had is tried again. Units: s
RETRY_S = 10.0
#: lines in the log about senders, since start
TOLD = 100

#: why a notification was dropped
UNLISTED, REFUSED, MALFORMED, FLOODED, AMBIGUOUS = "unlisted", "refused", "malformed", "flooded", "ambiguous"

Take = Callable[[Trap], None]


@dataclass(frozen=True, slots=True)
class Door:
    """A target that may send notifications, and who takes them."""

    target: Target
    take: Take


class Sender:
    """One target's address and credentials."""

    def __init__(self, door: Door) -> None:
        """Raise CollectError where the target's options are wrong; its poller says so."""
        self.take = door.take
        self.name = door.target.name
        self.login = read_login(door.target)
        self.user = User(self.login) if self.login.version == "3" else None
        others = door.target.options.get("trap_from", "").split(",")
        #: names and addresses that it sends from
        self.hosts = tuple(dict.fromkeys((self.login.host, *(host for each in others if (host := each.strip())))))

    def knows(self, community: bytes) -> bool:
        """Return whether a community is the target's."""
        return self.user is None and hmac.compare_digest(community, self.login.community.encode())


@dataclass(slots=True)
class Source:
    """One address: its targets, and how much it may still say."""

    senders: tuple[Sender, ...] = ()
    allowance: float = BURST
    #: monotonic seconds
    filled: float = 0.0

    def spend(self, now: float) -> bool:
        """Take one of its allowance; return False where none is left."""
        self.allowance = min(BURST, self.allowance + (now - self.filled) * RATE)
        self.filled = now
        if self.allowance < 1.0:
            return False
        self.allowance -= 1.0
        return True


@dataclass(slots=True)
class TrapCounts:
    """What came since start."""

    taken: int = 0
    #: senders of informs who asked for our engine id or clock
    reports: int = 0
    #: reason -> number
    dropped: Counter[str] = field(default_factory=Counter)


class TrapReceiver:
    """Hear the notifications of some targets at one UDP port."""

    def __init__(
        self,
        listen: Address,
        doors: Iterable[Door],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing."""
        self.counts = TrapCounts()
        self._listen = listen
        self._senders = list(_senders(doors))
        self._monotonic = monotonic
        self._usm = Usm(socket.gethostname(), clock(), monotonic)
        self._sources: dict[str, Source] = {}
        self._waiting: deque[tuple[bytes, Address, Source]] = deque()
        self._arrived = asyncio.Event()
        self._socket: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._told: set[tuple[str, str]] = set()

    @property
    def port(self) -> int:
        """Return the UDP port that it listens on."""
        assert self._socket is not None
        port: int = self._socket.getsockname()[1]
        return port

    async def run(self) -> None:
        """Listen until cancelled; a port that cannot be had is told once and tried again."""
        told = False
        try:
            while self._socket is None:
                try:
                    await self.start()
                except OSError as error:
                    if not told:
                        logger.error("%s; tried again every %g s", error.strerror, RETRY_S)
                    told = True
                    await asyncio.sleep(RETRY_S)
            await asyncio.gather(*self._tasks)
        finally:
            await self.aclose()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken or needs rights; the message names it and the way out.
        """
        self._socket = open_port(self._listen)
        await self._resolve()
        asyncio.get_running_loop().add_reader(self._socket, self._receive)
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._keep_resolving())]
        logger.info("listening for SNMP traps on %s:%d", self._listen[0], self.port)

    async def aclose(self) -> None:
        """Stop listening; calling it again does nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_S)
            await self._resolve()

    async def _resolve(self) -> None:
        """Find the addresses of all targets; one whose name is not known for a moment keeps those it had."""
        loop = asyncio.get_running_loop()
        hosts = {host for sender in self._senders for host in sender.hosts}
        looked = {host: loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM) for host in hosts}
        answers = dict(zip(looked, await asyncio.gather(*looked.values(), return_exceptions=True), strict=True))
        found: dict[str, list[Sender]] = {}
        for sender in self._senders:
            known: list[str] = []
            for host in sender.hosts:
                answer = answers[host]
                if isinstance(answer, BaseException):
                    self._tell(host, UNLISTED, f"traps of {sender.name} are not taken: {host}: {answer}")
                    known += [address for address, source in self._sources.items() if sender in source.senders]
                else:
                    known += [plain_address(str(each[4][0])) for each in answer]
            for address in dict.fromkeys(known):
                found.setdefault(address, []).append(sender)
        now = self._monotonic()
        for address in self._sources.keys() - found.keys():
            del self._sources[address]
        for address, senders in found.items():
            self._sources.setdefault(address, Source(filled=now)).senders = tuple(senders)

    def _receive(self) -> None:
        """Take what has come, as far as its sender may speak; a look-up each, nothing is read."""
        assert self._socket is not None
        for _ in range(AT_ONCE):
            try:
                data, where = self._socket.recvfrom(LARGEST)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue  # an answer of ours that was not wanted: ICMP tells it here
            source = self._sources.get(where[0]) or self._sources.get(plain_address(where[0]))
            if source is None:
                self._drop(where[0], UNLISTED, "it is the address of no target of protocol snmp")
            elif len(self._waiting) >= WAITING or not source.spend(self._monotonic()):
                self._drop(where[0], FLOODED, f"more than {BURST} at once or {RATE:g} in a second")
            else:
                self._waiting.append((data, where, source))
        if self._waiting:
            self._arrived.set()

    async def _work(self) -> None:
        """Read what waits, one at a time, and rest in between so that polls go on."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                began = time.thread_time()
                self._handle(*self._waiting.popleft())
                await asyncio.sleep((time.thread_time() - began) * (1 / SHARE - 1))

    def _handle(self, data: bytes, where: Address, source: Source) -> None:
        try:
            heard, sender = self._read(data, where, source)
        except MalformedError as error:
            self._drop(where[0], MALFORMED, str(error))
        except RefusedError as error:
            self._drop(where[0], REFUSED, str(error))
        except AmbiguousError as error:
            self._drop(where[0], AMBIGUOUS, str(error))
        else:
            if heard.trap is None:
                self.counts.reports += 1
            if heard.answer is not None:
                self._answer(heard.answer, where)
            if heard.trap is not None and sender is not None:
                self.counts.taken += 1
                sender.take(heard.trap)

    def _read(self, data: bytes, where: Address, source: Source) -> tuple[Heard, Sender | None]:
        """Return what a datagram says and the target that it speaks for.

        Raises:
            MalformedError: it is no notification.
            RefusedError: its credentials are no target's of this address.
            AmbiguousError: they are of several.
        """
        envelope = read_envelope(data)
        if envelope.version == 3:
            return self._read_v3(data, where, source)
        return self._read_community(data, envelope, where, source)

    def _read_community(
        self, data: bytes, envelope: Envelope, where: Address, source: Source
    ) -> tuple[Heard, Sender | None]:
        matching = [sender for sender in source.senders if sender.knows(envelope.community)]
        if not matching:
            raise RefusedError("another community than its target's, or a target of SNMPv3")
        return read_message(data, envelope.version), _only(matching, where[1])

    def _read_v3(self, data: bytes, where: Address, source: Source) -> tuple[Heard, Sender | None]:
        users = [(sender, sender.user) for sender in source.senders if sender.user is not None]
        if not users:
            raise RefusedError("SNMPv3, and no target of it is")
        sealed = open_sealed(data)
        report = self._usm.discover(sealed)
        if report is not None:
            return Heard(None, report), None
        matching, refused = [], RefusedError("no such user")
        heard = Heard(None)
        for sender, user in users:
            if user.name != sealed.user:
                continue
            try:
                heard = self._usm.read(sealed, user)
                matching.append(sender)
            except RefusedError as error:
                refused = error
        if not matching:
            raise refused
        return heard, _only(matching, where[1])

    def _answer(self, answer: bytes, where: Address) -> None:
        assert self._socket is not None
        try:
            self._socket.sendto(answer, where)
        except OSError as error:
            logger.debug("no answer to %s: %s", where[0], error)  # it asks again

    def _drop(self, host: str, reason: str, why: str) -> None:
        self.counts.dropped[reason] += 1
        self._tell(host, reason, f"SNMP traps of {host} are dropped: {why}")

    def _tell(self, host: str, reason: str, line: str) -> None:
        """Log a line once per sender and reason, and not for ever."""
        if len(self._told) > TOLD or (host, reason) in self._told:
            return
        self._told.add((host, reason))
        logger.warning("%s", line if len(self._told) <= TOLD else "more SNMP traps are dropped; they are counted only")


def _senders(doors: Iterable[Door]) -> Iterator[Sender]:
    for door in doors:
        try:
            yield Sender(door)
        except CollectError:
            continue  # its poller says what is wrong with each poll


def _only(senders: Sequence[Sender], port: int) -> Sender:
    """Return the one sender, where there are several the one that is polled at the source port."""
    fitting = senders if len(senders) == 1 else [sender for sender in senders if sender.login.port == port]
    if len(fitting) != 1:
        names = ", ".join(sender.name for sender in senders)
        raise AmbiguousError(f"{names} share address and credentials: give each a community or user of its own")
    return fitting[0]
