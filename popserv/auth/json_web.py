"""JSON over HTTP, as an OAuth provider is asked: where one may ask at all, and what an answer has to be.

Asked are addresses that an administrator or the provider's own metadata names: over TLS, in bounded time, for a bounded
answer, and wherever it sends us elsewhere we do not go.
"""

from __future__ import annotations

import json
import ssl
from base64 import b64encode
from http.client import HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

import attrs

from popserv.auth.remote import Unavailable

MOST_OCTETS = 1024 * 1024
"""An answer is no longer than this."""

OK, BAD_REQUEST, NOT_FOUND, TOO_LARGE = 200, 400, 404, 413


class NotThere(Unavailable):
    """The server answers, and has nothing at this address."""


class Rejected(Unavailable):
    """The server answers, and does not take this question: it is too long, or not as it has to be."""


@attrs.frozen
class Question:
    """A GET, or with a `form` a POST of it."""

    address: str
    form: dict[str, str] | None = attrs.field(default=None, repr=False)
    client: tuple[str, str] | None = attrs.field(default=None, repr=False)
    """Who asks, if it has to be told: a client's id and its secret (RFC 6749 section 2.3.1)."""

    def headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if self.client is not None:
            # Form-encoded first: RFC 6749 section 2.3.1.
            pair = ":".join(map(quote_plus, self.client))
            headers["Authorization"] = "Basic " + b64encode(pair.encode("ascii")).decode("ascii")
        return headers

    def body(self) -> bytes | None:
        return None if self.form is None else urlencode(self.form).encode("ascii")

    def answer(self, status: int, octets: bytes) -> Any:
        """What the answer says. Raises `Unavailable`, `NotThere` and `Rejected`."""
        if status == NOT_FOUND:
            raise NotThere(f"{self.address}: there is nothing (status 404)")
        if status in (BAD_REQUEST, TOO_LARGE):
            raise Rejected(f"{self.address}: does not take the question (status {status})")
        if status != OK:
            raise Unavailable(f"{self.address}: answers with status {status}")
        try:
            return json.loads(octets)
        except (ValueError, RecursionError):
            raise Unavailable(f"{self.address}: the answer is no JSON") from None

    def too_long(self) -> Unavailable:
        return Unavailable(f"{self.address}: the answer is longer than {MOST_OCTETS} octets")


class Web(Protocol):
    """Asks one question at a time or several; raises `Unavailable` whatever goes wrong, and `popserv.errors.Busy`."""

    async def ask(self, question: Question) -> Any: ...


def read_authorities(path: Path) -> bytes:
    """The certificates in a file, PEM. Blocks. Raises `OSError`, and `ValueError` if there are none in it."""
    from cryptography.x509 import load_pem_x509_certificates

    octets = path.read_bytes()
    try:
        load_pem_x509_certificates(octets)
    except ValueError:
        raise ValueError(f"{path}: there is no certificate in it, or one that cannot be read") from None
    return octets


def check_address(address: str) -> None:
    """Raises `ValueError` unless it may be asked: https, or http on this host (RFC 8414 section 6.1)."""
    parts = urlsplit(address)
    if not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError(f"{address!a}: it is no address")
    if parts.username is not None or parts.fragment or not parts.hostname:
        raise ValueError(f"{address!a}: it must be https://HOST/… without a user name and without a fragment")
    if not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))):
        raise ValueError(f"{address!a}: it must be https; http is for loopback only")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class _StayHere(HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        return None


class BlockingWeb:
    """For commands without a reactor: its coroutines never wait, they block."""

    def __init__(self, seconds: float, authorities: bytes | None = None) -> None:
        """`authorities` are PEM; those that this host trusts if it is None."""
        context = ssl.create_default_context(cadata=authorities and authorities.decode("ascii", "ignore"))
        self._seconds = seconds
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context), _StayHere())

    async def ask(self, question: Question) -> Any:
        request = Request(question.address, question.body(), question.headers())  # noqa: S310 - see check_address
        try:
            with self._opener.open(request, timeout=self._seconds) as response:
                status, octets = response.status, response.read(MOST_OCTETS + 1)
        except HTTPError as error:
            status, octets = error.code, b""
        except (OSError, HTTPException) as error:
            raise Unavailable(f"{question.address}: {error}") from error
        if len(octets) > MOST_OCTETS:
            raise question.too_long()
        return question.answer(status, octets)
