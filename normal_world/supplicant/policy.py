"""Which addresses TAs may talk to: nothing, this host, or a list."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

from tee.errors import reason


class Rule(NamedTuple):
    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    port: int


_LOOPBACK = ("127.0.0.0/8", "::1/128")


class Policy:
    """rules: networks and ports, port 0: any. Names were resolved when it was made; addresses alone are compared."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.rules = rules

    @classmethod
    def parse(cls, text: str) -> Policy:
        """`off`, `loopback`, or `HOST:PORT,[IPV6]:PORT,NETWORK/BITS:PORT,...`; ValueError says what is wrong."""
        if text == "off":
            return cls()
        if text == "loopback":
            return cls(tuple(Rule(ipaddress.ip_network(n), 0) for n in _LOOPBACK))
        rules: list[Rule] = []
        for item in text.split(","):
            host, colon, number = item.strip().rpartition(":")
            if not colon or not host or not (number.isascii() and number.isdigit()) or not 0 < int(number) < 1 << 16:
                raise ValueError(f"sockets policy: {item!r} is not HOST:PORT")
            host = host.removeprefix("[").removesuffix("]")
            try:
                networks = [ipaddress.ip_network(host)]
            except ValueError:
                try:
                    found = socket.getaddrinfo(host, None)
                except (OSError, UnicodeError) as error:
                    raise ValueError(f"sockets policy: {host!r}: {reason(error)}") from None
                networks = [ipaddress.ip_network(a) for a in sorted({str(f[4][0]) for f in found})]
            rules += [Rule(network, int(number)) for network in networks]
        return cls(tuple(rules))

    def allows(self, address: str, port: int) -> bool:
        """address: numeric. An IPv4 address mapped into IPv6 counts as what it is not: it is refused."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        if ip.is_unspecified:  # Linux connects 0.0.0.0 and :: to the host itself
            ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
        return any(ip in rule.network and rule.port in (0, port) for rule in self.rules)
