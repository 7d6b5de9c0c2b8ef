"""What a connection is offered: configured, verifiable by some checker, and permitted now."""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword

from popserv.interfaces import IChannel
from popserv.net.listener import Listener
from popserv.session.capabilities import Offer


def offer(listener: Listener, address: Any, channel: IChannel) -> Offer:
    """The offer for a peer at `address` (an `IAddress`), afresh when TLS starts (RFC 2595 section 4)."""
    login = listener.login
    assert login is not None  # noqa: S101 - a POP3 listener has one
    plaintext = bool(channel.tls) or listener.cleartext(address)
    mechanisms = tuple(
        each
        for each in listener.mechanisms
        if (plaintext or not each.plaintext) and login.verifies(each.credential, channel) and each.usable(channel)
    )
    starttls = listener.tls_mode == "starttls" and listener.tls is not None
    # A timestamp sent in the clear is void under TLS: somebody else may have sent it.
    apop = listener.apop and not (starttls and channel.tls) and login.verifies(IUsernameHashedPassword)
    user = listener.user and plaintext and login.verifies(IUsernamePassword)
    return Offer(user, mechanisms, apop, starttls and not channel.tls, listener.login_delay, listener.expire)
