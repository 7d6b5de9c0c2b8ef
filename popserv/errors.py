"""The errors popserv answers with: each class knows its response code and its default text.

Exactly one place, `session.Session`, turns a `PopError` into an ``-ERR`` line. Texts are ours: no octet a client
sent may stand in one.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any, ClassVar

DEFECTS = (Exception, CancelledError)
"""What other people's code may fail with. A future that asyncio cancelled gives an error that is no `Exception`."""


class PopError(Exception):
    """Anything that is answered with ``-ERR``.

    `code` is the response code without its brackets (RFC 2449 section 8, RFC 3206), or "" for none.
    `clients_fault` says whether it counts against `Limits.bad_commands`.
    """

    code: ClassVar[str] = ""
    default: ClassVar[str] = "request failed"
    clients_fault: ClassVar[bool] = False

    def __init__(self, text: str = "") -> None:
        self.text = text or self.default
        super().__init__(self.text)


class BadSyntax(PopError):
    """The line does not follow the grammar of RFC 1939 section 3 or of its command."""

    default = "invalid syntax"
    clients_fault = True


class Refused(PopError):
    """A well-formed command that cannot be done: unknown, wrong state, no such message."""

    default = "command refused"
    clients_fault = True


class Cancelled(PopError):
    """The client sent ``*`` in a SASL exchange (RFC 5034 section 4). Carries no code."""

    default = "authentication cancelled"
    clients_fault = True


class MalformedResponse(PopError):
    """A SASL response that is no base64 or breaks its mechanism's grammar. Carries no code (RFC 3206 section 6)."""

    default = "invalid authentication response"
    clients_fault = True


class LoginRefused(PopError):
    """The credentials are not good, for whatever reason: one text for all of them (RFC 3206 section 5)."""

    code = "AUTH"
    default = "authentication failed"


class LoginBarred(LoginRefused):
    """The credentials are good and a rule of ours is against it. Told to nobody: the text is for the log."""

    def __init__(self, reason: str = "") -> None:
        super().__init__()
        self.reason = reason


class ReadOnly(PopError):
    """Nothing can be removed from this maildrop, in this session. Not counted: programs ask once for each message."""

    default = "this maildrop can be read only"


class NoSuchAccount(LoginRefused):
    """Somebody is vouched for, and no database has an account for him. To a client this is no different."""


class LoginTooSoon(PopError):
    """The credentials are good, the last login was too short a time ago (RFC 2449 section 8.1.1)."""

    code = "LOGIN-DELAY"
    default = "minimum time between logins not over"


class MaildropInUse(PopError):
    """The credentials are good, the maildrop is locked by another session (RFC 2449 section 8.1.2)."""

    code = "IN-USE"
    default = "maildrop is locked by another session"

    def __init__(self, text: str = "", holder: Any = None) -> None:
        """`holder` is the `popserv.maildrop.holder.Holder` of the lock, None if that is not known."""
        super().__init__(text)
        self.holder = holder


class SystemTrouble(PopError):
    """Something of ours failed; trying later helps (RFC 3206 section 4)."""

    code = "SYS/TEMP"
    default = "temporary system problem, try again later"


class SystemBroken(PopError):
    """Something of ours failed and stays so until an administrator acts (RFC 3206 section 4)."""

    code = "SYS/PERM"
    default = "system problem, ask your administrator"


class TooManySessions(SystemTrouble):
    """The account has as many sessions as it may have."""

    default = "too many sessions of this account"


class StoreUnavailable(SystemTrouble):
    """A maildrop cannot be opened or read now."""

    default = "maildrop is not available, try again later"


class StoreBroken(SystemBroken):
    """A maildrop is damaged or configured wrongly."""

    default = "maildrop cannot be opened, ask your administrator"


class MessageVanished(SystemTrouble):
    """A message of the snapshot is not in the store any more."""

    default = "message is gone, log in again"


class Busy(SystemTrouble):
    """A bounded queue is full."""

    default = "server is busy, try again later"


class ConnectionGone(PopError):
    """The client left while something was under way; nobody reads the answer."""

    default = "connection lost"


class DeliveryError(Exception):
    """A message could not be stored for one recipient.

    `reply` is the SMTP reply code and `status` the enhanced status code (RFC 3463) that LMTP answers with; a
    `reply` of 4xx means that trying again later may help.
    """

    reply: ClassVar[int] = 451
    status: ClassVar[str] = "4.3.0"
    default: ClassVar[str] = "mail system trouble"

    def __init__(self, text: str = "") -> None:
        self.text = text or self.default
        super().__init__(self.text)


class UnknownRecipient(DeliveryError):
    """No account has this address."""

    reply = 550
    status = "5.1.1"
    default = "no such mailbox here"


class MessageTooLarge(DeliveryError):
    """The message has more octets than are taken in (RFC 1870 section 6.3)."""

    reply = 552
    status = "5.3.4"
    default = "message is too large"


class MailboxFull(DeliveryError):
    """The account has all that its quota permits (RFC 3463 section 3.3, X.2.2)."""

    reply = 552
    status = "5.2.2"
    default = "mailbox is full"


class MailboxFullForNow(DeliveryError):
    """The same, for senders that shall try again."""

    reply = 452
    status = "4.2.2"
    default = "mailbox is full, try again later"


class MailSystemFull(DeliveryError):
    """The disk is full or a system quota is exceeded; trying later helps."""

    reply = 452
    status = "4.3.1"
    default = "mail system storage exceeded"
