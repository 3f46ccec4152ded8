"""Requests to addresses that users name, made so that they reach nothing but the public internet.

- https alone, at ports 443 and 8443, without a user or password in the address.
- The name is resolved once, and every address it resolves to must be public; the connection goes to one of these and
  to nothing else (a second answer of the name server changes nothing), while TLS and `Host` speak of the name.
- No redirect is followed, no proxy of the environment used, and of the answer nothing but its status is read.
- One deadline holds for all of it, however slowly the other side speaks.

`STAGEMETER_WEBHOOK_NETWORKS` names networks of one's own that may be reached all the same, there also by http and at
any port.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

Address = IPv4Address | IPv6Address
Resolve = Callable[..., Sequence[tuple[Any, ...]]]

PORTS = (443, 8443)
DEADLINE_S = 15.0
CONNECT_S = 3.0  # of it, for one address
MOST_ADDRESSES = 4
# Public by the tables, and still not the internet: IPv4 inside IPv6, by which a private address could be reached.
CARRIERS = [IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")]
# The address at which one cloud answers every guest: public by the tables too.
INNER = {ip_address("168.63.129.16")}


class Refused(Exception):
    """The address is one that nothing is sent to; the sentence says why."""


class Unreachable(Exception):
    """Nobody answered as HTTP wants it; the sentence says how it failed."""


@dataclass(frozen=True)
class Target:
    """A checked URL, taken apart."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What `Host` says."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.secure else 80) else f"{name}:{self.port}"


def target(url: str) -> Target:
    """Take a URL apart. Raises `Refused` for what is none, or can't be reached whatever its name resolves to."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused(f"{url[:80]!r} is no address: {error}") from error
    _check_text(url, host)
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.WEBHOOK_NETWORKS):
        raise Refused(f"{parts.scheme[:20]!r} must be https")
    if parts.username is not None or parts.password is not None:
        raise Refused("it holds a user or a password; a receiver knows us by the signature")
    if parts.fragment:
        raise Refused("it holds a fragment, which is never sent")
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    found = Target(secure=secure, host=host, port=port or (443 if secure else 80), path=path)
    literal = _literal(host)
    if literal is not None:
        check(found, literal)
    return found


def check(found: Target, address: Address) -> None:
    """Raises `Refused` unless `found` may be reached at `address`."""
    if any(address in network for network in settings.WEBHOOK_NETWORKS):
        return
    if not is_public(address):
        raise Refused(f"{found.host} is {address}, which is no public address")
    if not found.secure:
        raise Refused(f"{found.host} must be reached by https")
    if found.port not in PORTS:
        raise Refused(f"port {found.port} must be one of {', '.join(map(str, PORTS))}")


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet: not private, loopback, link-local, shared, multicast or reserved."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None or any(address in carrier for carrier in CARRIERS):
            return False
        if address.is_site_local or address.scope_id is not None:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved) and address not in INNER


def addresses(found: Target, resolve: Resolve = socket.getaddrinfo) -> list[Address]:
    """What the name resolves to, asked once; all of it checked. Raises `Refused`, `Unreachable`."""
    try:
        answers = resolve(found.host, found.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"the name {found.host} does not resolve") from error
    resolved = list(dict.fromkeys(ip_address(answer[4][0]) for answer in answers))
    for address in resolved:
        check(found, address)
    if not resolved:
        raise Unreachable(f"the name {found.host} does not resolve")
    return resolved[:MOST_ADDRESSES]


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    resolve: Resolve = socket.getaddrinfo,
    context: ssl.SSLContext | None = None,
    deadline_s: float = DEADLINE_S,
) -> int:
    """POST `body` and return the answer's status. Raises `Refused`, `Unreachable`.

    `context` verifies the other side's certificate; `None` takes the system's authorities.
    """
    found = target(url)
    resolved = addresses(found, resolve)
    line = _Line(deadline_s)
    try:
        return _exchange(_open(found, resolved, context, line), found, body, headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = f"no answer within {deadline_s:g} s" if line.passed else _reason(error)
        raise Unreachable(text) from error
    finally:
        line.close()


def _open(found: Target, resolved: Sequence[Address], context: ssl.SSLContext | None, line: "_Line") -> socket.socket:
    """A connection to one of the checked addresses, by TLS with the name's certificate where the URL says https."""
    stream = _connect(found, resolved, line)
    if found.secure:
        checked = context or ssl.create_default_context()
        secured = checked.wrap_socket(stream, server_hostname=found.host, do_handshake_on_connect=False)
        line.hold(secured)
        secured.do_handshake()
        stream = secured
    return stream


def _exchange(stream: socket.socket, found: Target, body: bytes, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection(found.host, found.port)
    connection.sock = stream
    connection.putrequest("POST", found.path, skip_host=True, skip_accept_encoding=True)
    sent = {"Host": found.authority, "Content-Length": str(len(body)), "Connection": "close", **headers}
    for name, value in sent.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    response = http.client.HTTPResponse(stream, method="POST")
    response.begin()  # status and headers, which http.client bounds; the body is left where it is
    return response.status


def _connect(found: Target, resolved: Sequence[Address], line: "_Line") -> socket.socket:
    """A connection to the first of the checked addresses that takes one."""
    failure: OSError | None = None
    for address in resolved:
        try:
            made = socket.create_connection((str(address), found.port), timeout=CONNECT_S)
        except OSError as error:
            failure = error
            continue
        line.hold(made)
        made.settimeout(DEADLINE_S)
        return made
    raise failure or OSError("no address")


class _Line:
    """Sockets with one deadline: a timeout alone starts anew with every byte that trickles in."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def hold(self, made: socket.socket) -> None:
        """End this one too when time is up. Raises `TimeoutError` where it is up already."""
        with self._lock:
            self._sockets.append(made)
            if self.passed:
                raise TimeoutError

    def close(self) -> None:
        """Done, or given up."""
        self._timer.cancel()
        for each in self._sockets:
            each.close()

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            for each in self._sockets:
                with suppress(OSError):  # handed over to TLS, or closed meanwhile
                    socket.socket.shutdown(each, socket.SHUT_RDWR)  # TLS's own would first say good-bye


def _check_text(url: str, host: str) -> None:
    if any(ord(character) <= 32 or ord(character) >= 127 for character in url):
        raise Refused("it holds a space, a control character or a letter outside of ASCII; write it percent-encoded")
    if "\\" in url or not host or "%" in host or len(host) > 253:
        raise Refused(f"{url[:80]!r} names no host")


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "the connection timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it did not answer as HTTP wants it"
