"""The UDP port that SNMP traps come to, and the addresses that they come from."""

import errno
import ipaddress
import os
import socket

#: a socket buffer that holds a burst. Units: bytes
RECEIVE_BUFFER = 1 << 20

#: host and port
Address = tuple[str, int]


def plain_address(host: str) -> str:
    """Return an address as one text, whichever socket it came through: no scope, no IPv4 within IPv6."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def open_port(listen: Address) -> socket.socket:
    """Return a UDP socket that listens there and blocks nobody.

    Raises:
        OSError: the port is taken or needs rights; the message names it and the way out.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(*listen, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)[0]
        opened = socket.socket(family, kind)
    except OSError as error:
        raise _explained(error, listen) from error
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind(address)
    except OSError as error:
        opened.close()
        raise _explained(error, listen) from error
    return opened


def _explained(error: OSError, listen: Address) -> OSError:
    host, port = listen
    ways = {
        errno.EACCES: "listen on a port from 1024 and have the switches send there, or redirect the port to it",
        errno.EADDRINUSE: "another collector or a trap daemon has it: stop that one, or choose another port",
        errno.EADDRNOTAVAIL: "this host has no such address: 0.0.0.0 is all of them",
    }
    way = ways.get(error.errno or 0, "write HOST:PORT of this host")
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return OSError(error.errno, f"collectors.traps.listen {host}:{port}: {reason}: {way}")
