"""What a protocol factory needs to know of the listener it serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs

from popserv.interfaces import IAccountDirectory, IDelivery, ILogin, IMechanism, ISessionObserver
from popserv.limits import Limits


def _never(_host: Any) -> bool:
    return False


@attrs.frozen
class Listener:
    """One `[[listen]]` with everything composed for it."""

    reactor: Any
    """The reactor, also the clock."""
    hostname: str
    limits: Limits
    observer: ISessionObserver
    registry: Any
    """`popserv.net.registry.Registry`: the connections of all listeners, for limits, drain and session ids."""
    tls_mode: Literal["starttls", "implicit", "off"] = "off"
    tls: Any = None
    """`twisted.internet.interfaces.IOpenSSLServerConnectionCreator`, or None."""
    login: ILogin | None = None
    cleartext: Callable[[Any], bool] = _never
    """Whether a password may cross an unencrypted connection from this peer (an `IAddress`)."""
    mechanisms: Sequence[IMechanism] = ()
    """In the order of the offer."""
    user: bool = True
    """Whether USER and PASS are offered at all."""
    apop: bool = False
    """Whether APOP is offered at all."""
    login_delay: int = 0
    """Seconds between two logins of one account; 0 for none."""
    expire: str = "NEVER"
    """EXPIRE for those who have not logged in."""
    extensions: Sequence[str] = ()
    """Names of modules of `popserv.session` whose commands are added."""
    directory: IAccountDirectory | None = None
    """For delivery: finds the account that an address stands for; raises `ValueError` for what can be no name."""
    delivery: IDelivery | None = None
    message_octets: int = 100 * 1024 * 1024
    """The largest message that is taken in."""
