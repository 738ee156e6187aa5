"""Where a message may be sent to: which push services, and no address inside the site or this machine.

A phone names the address at which its push service takes messages, so the hub must not believe it: it
could name the hub itself, a machine of the site, or the metadata service of a cloud.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tocsin_shared.errors import BadInputError

MAX_ENDPOINT = 2048
_TEST_HOST = "127.0.0.1"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Endpoint:
    """Address at a push service, taken apart."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query, as they stand in the request."""
    service: str
    """The entry of the list that allows it; its messages queue with those of no other."""

    @property
    def origin(self) -> str:
        """Whom the signature is for (RFC 8292, section 2)."""
        usual = {"https": 443, "http": 80}[self.scheme] == self.port
        return f"{self.scheme}://{self.host}" if usual else f"{self.scheme}://{self.host}:{self.port}"


def parse_endpoint(text: str, hosts: Sequence[str], test_port: int = 0) -> Endpoint:
    """The parts of an endpoint that is allowed.

    Raises:
        BadInputError: it is no address, not https, not on the list, or hides something.
    """
    if len(text) > MAX_ENDPOINT or not text.isascii() or not text.isprintable() or " " in text:
        raise BadInputError("endpoint: must be an address of at most 2048 characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadInputError("endpoint: is not an address") from error
    host = (parts.hostname or "").rstrip(".")
    if parts.username is not None or parts.password is not None or "\\" in text:
        raise BadInputError("endpoint: must not hold a user or a password")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if test_port and (parts.scheme, host, port) == ("http", _TEST_HOST, test_port):
        return Endpoint("http", host, test_port, target, "test")
    if parts.scheme != "https" or port not in {None, 443}:
        raise BadInputError("endpoint: must begin with https:// and use its usual port")
    for entry in hosts:
        if _is_named(host, entry):
            return Endpoint("https", host, 443, target, entry)
    raise BadInputError("endpoint: its push service is not one that this hub allows ([push] hosts)")


def _is_named(host: str, entry: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:]) and len(host) > len(entry) - 1
    return host == entry


def is_public(text: str) -> bool:
    """Whether the IP address ``text`` belongs to the internet, and not to this machine, the site or a cloud.

    What an IPv6 address carries inside (mapped, 6to4, Teredo, NAT64) is judged as well.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast and not one.is_reserved for one in _inside(address))


def _inside(address: Address) -> list[Address]:
    found: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:  # is not global itself, but only a way to what it carries
            return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
        if address.ipv4_mapped is not None:
            return [address.ipv4_mapped]
        found += [address.sixtofour] if address.sixtofour else []
        found += list(address.teredo) if address.teredo else []
    return found


def is_reachable_on_site(text: str, *, allow_loopback: bool) -> bool:
    """Whether a service of the site may have the IP address ``text``; a cloud keeps secrets at some."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(
        not (one.is_link_local or one.is_multicast or one.is_unspecified or one.is_reserved)
        and (allow_loopback or not one.is_loopback)
        and str(one) not in _METADATA
        for one in _inside(address)
    )


_METADATA = {"169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"}
