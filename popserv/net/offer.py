"""What a connection is offered: configured, verifiable by some checker, and permitted now."""

from __future__ import annotations

from typing import Any

from popserv.net.listener import Listener
from popserv.session.capabilities import Offer


def offer(listener: Listener, address: Any, tls: bool) -> Offer:
    """The offer for a peer at `address` (an `IAddress`), afresh when TLS starts (RFC 2595 section 4)."""
    plaintext = tls or listener.cleartext(address)
    mechanisms = tuple(each for each in listener.mechanisms if plaintext or not each.plaintext)
    stls = listener.tls_mode == "starttls" and listener.tls is not None and not tls
    # A timestamp sent in the clear is void under TLS: somebody else may have sent it.
    after_stls = tls and listener.tls_mode == "starttls"
    return Offer(listener.user and plaintext, mechanisms, listener.apop and not after_stls, stls)
