"""The promises popserv is built of. No code here: what each member means, may raise, and who closes what.

Message-numbers on the wire are 1-based (RFC 1939 section 5); every ``index`` below is 0-based. The conversion happens
once, in `popserv.wire.arguments.message_number`.

Synchronous or not, as a rule: an answer that is in memory is a plain value; what may block is always a
``twisted.internet.defer.Deferred``. There is no "value or Deferred" in these interfaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence, Set
    from pathlib import Path

    from twisted.internet.defer import Deferred

    from popserv.pools import Pool

__all__ = [
    "IAccount",
    "IAccountDirectory",
    "IAccounts",
    "IAuthorizes",
    "IBearerToken",
    "IBuildContext",
    "ICapable",
    "IChannel",
    "IClientCertificate",
    "IConversation",
    "IDatedMaildrop",
    "IDatedStore",
    "IDelivery",
    "IDummyCheck",
    "IHasFolders",
    "IImports",
    "IIncoming",
    "IInspects",
    "IKerberosExchange",
    "ILogin",
    "IMailProtocol",
    "IMaildrop",
    "IMaildropStore",
    "IMechanism",
    "IMessage",
    "IMessageReader",
    "INamesOnly",
    "INotesRetrievals",
    "IOurCredentials",
    "IPublicMaildrop",
    "IReadOnlyMaildrop",
    "IReadOnlyStore",
    "IReadyListings",
    "IRecognizes",
    "IScramCredentials",
    "IScramSha1",
    "IScramSha256",
    "IScramSha512",
    "ISessionObserver",
    "IStores",
    "ITended",
]


# --- accounts -----------------------------------------------------------------------------------------------------


class IAccount(Interface):
    """What an account database knows of one account. Immutable.

    One that may be barred has a method besides, ``admits(address: str) -> bool``: whether it may be logged in to from
    there, whatever the credentials are. One that knows whose its files are to be has ``owner``, the numbers of a user
    and a group, or None. `popserv.auth.account.Account` has both.
    """

    name: str = Attribute("the prepared account name; used for look-up, lock, throttle and logs")
    location: str = Attribute('"scheme:place" of this account\'s maildrop; "" = the store\'s own')
    home: str = Attribute('absolute home directory, for `{home}` in a location; "" = none')
    mechanisms: frozenset[str] = Attribute("the ways to log in that are good enough, in lower case; empty = all")


class IAccountDirectory(Interface):
    """Says what an account is, apart from who may use it."""

    def account(avatar_id: bytes) -> Deferred[IAccount | None]:
        """The `IAccount` with this prepared name, or None: a Deferred.

        Fails with `popserv.errors.SystemTrouble` when the database cannot be asked.
        """


# --- maildrops ----------------------------------------------------------------------------------------------------


class IMaildropStore(Interface):
    """Opens maildrops. One object serves every account of its kind."""

    def open(account: IAccount, folder: bytes = b"INBOX") -> Deferred[IMaildrop]:
        """Take the exclusive session lock of this account's maildrop and a snapshot of it: a Deferred `IMaildrop`.

        `account` provides `IAccount`. A maildrop that does not exist yet reads as empty. Fails with
        `popserv.errors.MaildropInUse`, `StoreUnavailable` or `StoreBroken`, and then holds no lock. Cancelling the
        Deferred releases the lock, too.
        """


class IReadOnlyStore(Interface):
    """Beside `IMaildropStore`: a store with sessions that change nothing, so that there may be several at once."""

    def open_read_only(account: IAccount, folder: bytes = b"INBOX") -> Deferred[IReadOnlyMaildrop]:
        """Take a snapshot of this account's maildrop, without its lock: a Deferred `IReadOnlyMaildrop`.

        Neither waits for a session that holds the lock nor keeps one from taking it; what that session removes fails
        to be read here with `popserv.errors.MessageVanished`. Writes nothing. Fails as `IMaildropStore.open` does, but
        never with `MaildropInUse`.
        """


class IDatedStore(Interface):
    """Beside `IMaildropStore`: one whose maildrops all provide `IDatedMaildrop`. Has no members."""


class IHasFolders(Interface):
    """Beside `IMaildropStore`: a store that has other folders than INBOX."""

    def folder(account: IAccount, name: str) -> bytes | None:
        """What `IMaildropStore.open` takes for the folder of this account that people call `name`, such as "Junk".

        None if there can be none of this name, which may be anything that a client sends. Does not look whether there
        is one: like a maildrop, a folder that does not exist yet reads as empty.
        """


class IMaildrop(Interface):
    """An immutable snapshot of a maildrop for one session (RFC 1939 section 4), and its lock.

    All but `commit` and `close` are synchronous and do no I/O.
    """

    count: int = Attribute("number of messages")
    octets: Sequence[int] = Attribute(
        "per index the exact size of RFC 1939 section 11: with CRLF line ends and a CRLF at the end of "
        "the last line, before byte-stuffing; equals what `message(index)` yields"
    )
    total: int = Attribute("sum of `octets`")

    def uidl(index: int) -> bytes:
        """The unique-id (RFC 1939 section 7): 1 to 70 octets 0x21 to 0x7E as bytes; unique here, never reused,
        the same in every session whatever happens to flags and folders."""

    def message(index: int) -> IMessage:
        """The `IMessage`. Cheap: no file is opened."""

    def commit(deleted: Set[int]) -> Deferred[int]:
        """Remove exactly the messages with these indices (a set of int): a Deferred int.

        The result is the number of messages of `deleted` that are still there; 0 means that all are gone for good,
        across a power failure. A message that has vanished meanwhile counts as removed. Called at each QUIT, with an
        empty set too, and at most once.
        """

    def close() -> Deferred[None]:
        """Release the lock: a Deferred that fires, with None, when the next session can have it.

        Deletes nothing. May be called again, and after `commit`.
        """


class IReadOnlyMaildrop(IMaildrop):
    """One of which nothing can be removed: the session refuses DELE, so `commit` is never called."""

    read_only: bool = Attribute("True; a maildrop without this attribute is none of this kind")


class IDatedMaildrop(Interface):
    """Beside `IMaildrop`: one that knows when its messages came."""

    def delivered() -> Deferred[Sequence[int]]:
        """Per index when it was delivered, in nanoseconds since 1970: a Deferred.

        Fails with `popserv.errors.StoreUnavailable`.
        """


class IReadyListings(Interface):
    """Beside `IMaildrop`: one that has the lines of LIST and UIDL for all of its messages as text."""

    def listing(keyword: Literal["LIST", "UIDL"]) -> IMessageReader:
        """A new reader at the first octet of the lines ("1 120" or "1 ID", with CRLF), without what ends a listing."""


class IAccountListing(Interface):
    """Beside `IAccountDirectory`: one that can say whom it knows."""

    def names() -> Deferred[Sequence[bytes]]:
        """The prepared names of all accounts, as `IAccountDirectory.account` takes them: a Deferred list of bytes."""


class IExpires(Interface):
    """Beside `IMaildrop`: one that tells how long mail is kept in it."""

    expire: str = Attribute("the value of EXPIRE in CAPA: days since delivery, or NEVER (RFC 2449 section 6.7)")


class IRetainingStore(Interface):
    """Beside `IMaildropStore`: one that keeps mail as a `popserv.maildrop.retention.Retention` of the account says.

    `open` gives maildrops whose `commit` does so, and which show nothing that is hidden.
    """

    ways: frozenset[str] = Attribute("what it can do besides removing for good, of trash, hide, expire")

    def tidy(account: IAccount, dry: bool = False) -> Deferred[Any]:
        """Remove what is kept no longer: a Deferred `popserv.maildrop.maildir_disposal.Tidied`.

        Takes the session lock and does not wait for it: fails as `IMaildropStore.open` does. With `dry` only counts.
        """

    def undelete(account: IAccount, since: float, dry: bool = False) -> Deferred[Any]:
        """Bring back what has been removed since then, seconds since 1970, and is not gone for good, under the
        unique-ids that it had: a Deferred `popserv.maildrop.maildir_disposal.Undeleted`. Fails as `tidy` does."""


class INamedMessages(Interface):
    """Beside `IMaildrop`: one whose messages are files with names that last."""

    def file_name(index: int) -> bytes:
        """The name up to its flags. Only when the message has been read, or all has been that is needed to open it."""


class IAdoptingStore(Interface):
    """Beside `IMaildropStore`: one in which messages can be given the unique-ids that another server told for them."""

    def adopt(account: IAccount, told: Sequence[Any], dry: bool = False) -> Deferred[Any]:
        """Let messages be called as each `popserv.maildrop.told.Told` says: a Deferred `Adoption`, of the same module.

        Takes the session lock and does not wait for it: fails as `IMaildropStore.open` does. With `dry` nothing
        changes.
        """


class INotesRetrievals(Interface):
    """Beside `IMaildrop`: one that is told which messages were sent."""

    def retrieved(index: int) -> None:
        """RETR has sent the whole message with this index."""


class IMessage(Interface):
    """A cheap description of one message of a snapshot. No file is open until `open`."""

    octets: int = Attribute("what a reader of it yields in all")
    crlf: bool = Attribute("its stored octets are what a reader yields; may err towards False")
    needs_stuffing: bool = Attribute("some line begins with a dot (RFC 1939 section 3); may err towards True")

    def open() -> IMessageReader:
        """A new `IMessageReader` at the first octet. Does no I/O that can block; the caller closes it."""


class IMessageReader(Interface):
    """Yields one message: CRLF line ends, a CRLF at the end of the last line (an empty message
    stays empty), not stuffed.

    Both reads raise, or fail with, `popserv.errors.MessageVanished` when the message is gone and
    `popserv.errors.StoreUnavailable` when it cannot be read.
    """

    def read_nowait(octets: int) -> bytes | None:
        """Up to about `octets` octets (never more than twice as many) if they are at hand, None if reading would
        block, b"" at the end."""

    def read(octets: int) -> Deferred[bytes]:
        """The same as a Deferred, never None. One call at a time."""

    def close() -> None:
        """Give back what is open. May be called at any time, also while a `read` is under way, and again."""


class IDelivery(Interface):
    """A store that takes mail in. Provided beside `IMaildropStore` by stores that can."""

    def begin(account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        """Start storing one message for `account`: a Deferred `IIncoming`. Makes the maildrop if need be.

        Fails with `popserv.errors.DeliveryError`.
        """


class IIncoming(Interface):
    """One message on its way into a maildrop. Not visible to any session before `commit` fires."""

    def write(octets: bytes) -> Deferred[None]:
        """Append these octets, as received: a Deferred None. One call at a time. Fails with `DeliveryError`."""

    def commit() -> Deferred[None]:
        """Make the message part of the maildrop: a Deferred None.

        When it fires, the message is there for good, across a power failure. Fails with `DeliveryError`, and then
        the message is not there.
        """

    def abort() -> Deferred[None]:
        """Leave nothing behind: a Deferred None, which never fails.

        May be called again, and after a failed `commit`.
        """


class ITended(Interface):
    """Beside `IMaildropStore`: one whose maildrops an administrator can have looked through, mended and counted anew.

    Everything fails with a `popserv.errors.PopError`, of which `MaildropInUse` says that a session has the maildrop.
    """

    def check(account: IAccount, *, lock: bool, mend: bool, progress: Callable[[int, int], None]) -> Deferred[Any]:
        """Read every message and compare with all that is kept about it: a Deferred `popserv.maildrop.findings.Report`.

        With `lock` no session is let in meanwhile; without, what a session may just be writing is not judged. With
        `mend`, which needs `lock`, what can be mended without losing a message is. `progress` is told how many messages
        are done, and of how many.
        """

    def reindex(account: IAccount) -> Deferred[tuple[int, int]]:
        """Forget what is only kept to save time, and make it anew: a Deferred of the messages and their octets."""


class IImports(Interface):
    """Beside `IMaildropStore`: one that takes in messages of other servers with all that clients know them by."""

    def take_in(
        account: IAccount,
        source: Any,
        folder: bytes = b"INBOX",
        *,
        dry_run: bool,
        progress: Callable[[int, int], None],
    ) -> Deferred[Any]:
        """Store in a folder what a `popserv.maildrop.foreign.ForeignMail` has and was not stored before.

        A Deferred `popserv.maildrop.foreign.Summary`. Each message is there for good, across a power failure, before
        the next ones are begun; what was broken off can be begun again. No session is let in meanwhile. Fails with a
        `popserv.errors.PopError` or `popserv.errors.DeliveryError`.
        """


# --- authentication -----------------------------------------------------------------------------------------------


class IMechanism(Interface):
    """One SASL mechanism (RFC 4422). Knows its syntax, not the accounts. Holds no state of an exchange."""

    name: bytes = Attribute("registered name in upper case, 1 to 20 of A-Z 0-9 - _")
    credential: Any = Attribute("the credentials interface it produces: it is offered only if some checker takes that")
    plaintext: bool = Attribute("it lets the password be read on the wire, so it needs TLS or permission")
    client_first: bool = Attribute("the client speaks first, so an initial response is allowed")

    def usable(channel: IChannel) -> bool:
        """Whether it can be used on a connection like this at all (whatever accounts there are): bool."""

    def authenticate(conversation: IConversation) -> Coroutine[Any, Any, Any]:
        """Hold the conversation: a coroutine that returns credentials which provide `credential`.

        Raises `popserv.errors.MalformedResponse` for what breaks its grammar.
        """


class IChannel(Interface):
    """A connection, as far as authentication is concerned with it."""

    tls: str = Attribute('the TLS version, such as "TLSv1.3"; "" in the clear')
    certificate: bytes | None = Attribute("the client's verified certificate, DER; None = there is none")
    names: tuple[str, ...] = Attribute(
        "DNS names in the server's own certificate, in lower case; wildcards as they stand"
    )
    binds: bool = Attribute("whether there is channel-binding data (RFC 5056) for some type")

    def binding(kind: str) -> bytes | None:
        """The data of a channel-binding type, "tls-exporter" (RFC 9266) or "tls-server-end-point" (RFC 5929).

        None where it is not available. That of tls-exporter can be had once for each connection.
        """


class IConversation(Interface):
    """One SASL exchange as a mechanism sees it: octets, decoded; never base64 and never the wire."""

    initial: bytes | None = Attribute("the initial response; None = the client sent none")
    channel: IChannel = Attribute("the connection")
    offered: tuple[bytes, ...] = Attribute("the names of all mechanisms that this connection is offered")
    hostname: str = Attribute("this server's name")

    def challenge(octets: bytes) -> Awaitable[bytes]:
        """Send a challenge: an awaitable of the response.

        Raises `popserv.errors.Cancelled` on ``*`` and `popserv.errors.MalformedResponse` on bad base64.
        """

    def first() -> Awaitable[bytes]:
        """An awaitable of the client's first message: the initial response, or the answer to an empty challenge."""


class ILogin(Interface):
    """The way in: a portal with everything that stands around it (delays, throttle, logging)."""

    def verifies(credential: Any, channel: IChannel | None = None) -> bool:
        """Whether some checker takes credentials of this interface, on this connection if one is given: bool."""

    def login(credentials: Any, peer: Any) -> Deferred[Any]:
        """Check the credentials and open the maildrop: a Deferred `popserv.auth.login.LoggedIn`.

        `peer` is a `popserv.auth.login.Peer`. Always fails with a `popserv.errors.PopError`. Not cancelled when the
        connection is lost: what comes is left again.
        """


class IOurCredentials(Interface):
    """What the credentials of every mechanism here have, besides those of `twisted.cred.credentials`. Immutable."""

    username: bytes = Attribute('the account name, prepared when a checker sees it; b"" = the secret tells who it is')
    authorization: bytes = Attribute('the identity to act as, prepared; b"" = that of the credentials')
    address: str = Attribute('where the client connects from, numeric; "" = not known')
    trail: Any = Attribute("`popserv.auth.trail.Trail` that takes note of who is asked and what they say, or None")

    def prepared(case: Literal["fold", "keep"]) -> Any:
        """The same with the names prepared. Raises `popserv.auth.names.InvalidName`."""


class IScramCredentials(IOurCredentials):
    """A SCRAM exchange (RFC 5802) behind its first message: the rest of it happens inside `prove`."""

    hash_name: Literal["sha1", "sha256", "sha512"] = Attribute("of the mechanism")

    def prove(keys: Any) -> Coroutine[Any, Any, bool]:
        """Whether the client proves that it knows the password: a coroutine, of bool.

        `keys` is the `popserv.auth.scram_keys.ScramKeys` of the account. To be called once. Raises
        `popserv.errors.PopError` for what breaks the exchange; let it pass.
        """

    def prove_nothing(salt: bytes, iterations: int) -> Coroutine[Any, Any, None]:
        """Hold the same exchange where there is no account: a coroutine; nobody passes it."""


class IScramSha1(IScramCredentials):
    """SCRAM-SHA-1 and SCRAM-SHA-1-PLUS."""


class IScramSha256(IScramCredentials):
    """SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 7677)."""


class IScramSha512(IScramCredentials):
    """SCRAM-SHA-512 and SCRAM-SHA-512-PLUS."""


class IBearerToken(IOurCredentials):
    """An OAuth 2.0 access token (RFC 6750): OAUTHBEARER, XOAUTH2."""

    token: bytes = Attribute('as the client sent it; b"" = it only asks how to get one (RFC 7628 section 4.3)')

    def refuse(status: str, scope: str = "", configuration: str = "") -> Awaitable[None]:
        """Tell the client why its token is not good (RFC 7628 section 3.2.2): an awaitable None.

        `status` is invalid_token, insufficient_scope or invalid_request, `scope` what would be needed, `configuration`
        the address of the OpenID provider's metadata. A checker awaits it, once, before it fails.
        """


class IClientCertificate(IOurCredentials):
    """A TLS client certificate that has been verified: EXTERNAL."""

    certificate: bytes = Attribute("DER")


class IKerberosExchange(IOurCredentials):
    """A GSSAPI exchange (RFC 4752) that has not begun: all of it happens inside `establish`."""

    def establish(acceptor: Any) -> Awaitable[str]:
        """The principal ("name@REALM") that the client has proved to be: an awaitable str.

        Sets `authorization`, prepared, to the identity that the client asks for. `acceptor` is a
        `popserv.auth.kerberos.Acceptor`. Raises `popserv.errors.LoginRefused`, or another `PopError` that breaks the
        exchange; let it pass.
        """


class ICapable(Interface):
    """Beside `twisted.cred.checkers.ICredentialsChecker`, for one whose accounts decide what it can check."""

    def verifies(credential: Any) -> bool:
        """Whether some account can be checked by credentials of this interface now: bool. Does not block."""


class IRecognizes(Interface):
    """Beside `ICredentialsChecker`, for one whose credentials come with the connection and not with what is said."""

    def recognizes(credential: Any, channel: IChannel) -> bool:
        """Whether credentials of this interface that this connection has brought belong to some account: bool.

        Asked before a mechanism is announced there. Does not block and never raises.
        """


class INamesOnly(Interface):
    """Beside `ICredentialsChecker`, for one that tells whose credentials are, while accounts are kept elsewhere.

    If a directory stands beside it, an account has to be known there.
    """


class IPublicMaildrop(INamesOnly):
    """Beside `ICredentialsChecker`, for one that lets anonymous users in (`twisted.cred.checkers.ANONYMOUS`)."""

    account: str = Attribute("the prepared name of the account whose maildrop they may read")


class IAuthorizes(Interface):
    """Beside `ICredentialsChecker`: it minds the authorization identity (RFC 4422 section 3.4.1) of credentials.

    What lets nobody act as somebody else need not provide this: such logins are refused without asking it.
    """


class IDummyCheck(Interface):
    """Beside `twisted.cred.checkers.ICredentialsChecker`: makes an unknown name cost what a wrong password costs."""

    def check_nothing(credentials: Any) -> Deferred[None]:
        """Do the work of checking a wrong secret, with the parameters of real accounts: a Deferred None.

        Called once by `popserv.auth.chain.CheckerChain` when no checker knew the name.
        """


# --- plug-ins: each module of a plug-in package has one object named ``plugin`` that provides its interface -------


class IBuildContext(Interface):
    """What a plug-in gets to build with. Nothing global."""

    reactor: Any = Attribute("the reactor, also the clock")
    disk: Pool = Attribute("for file system work")
    hashing: Pool = Attribute("for password hashes")
    successes: Any = Attribute("`popserv.auth.success_cache.SuccessCache` of all databases, or None")
    hostname: str = Attribute("this server's name")
    case: Literal["fold", "keep"] = Attribute("how account names are prepared, for `popserv.auth.names.prepare`")
    secret: bytes = Attribute("32 octets that nobody else knows and that outlive a restart, where the host permits it")
    lock: str = Attribute('"exclusive" | "takeover" | "none", how sessions of one maildrop exclude each other')

    def pool(name: str, threads: int, queue: int) -> Pool:
        """A pool of the plug-in's own, for `threads` calls at a time while `queue` more wait.

        It is stopped with the service. A reload that asks for the same gets the same.
        """

    def path(relative: str) -> Path:
        """An absolute `pathlib.Path`: relative ones are relative to the configuration file."""


class IStores(Interface):
    """Plug-in: a kind of maildrop store, found by the scheme of a location.

    "maildir:…" is ``popserv.stores.maildir``.
    """

    options = Attribute("type: an attrs class, the table `[maildrop.NAME]` of the configuration")

    def check(place: str, context: IBuildContext) -> list[str]:
        """What is wrong with this place (the location without its scheme): a list of str, empty if nothing is."""

    def build(place: str, options: Any, context: IBuildContext) -> IMaildropStore:
        """An `IMaildropStore` (and `IDelivery`, if it can) whose accounts live at `place` unless they say otherwise."""


class IInspects(Interface):
    """Beside `IStores`, for a kind of store that can look whether this host is as it needs it."""

    def inspect(place: str, options: Any, context: IBuildContext) -> list[str]:
        """What an administrator should know to be wrong with this place now: a list of str, empty if nothing is.

        Looks, as the service's user, and changes nothing. May block.
        """


class IAccounts(Interface):
    """Plug-in: a kind of account database ("sqlite:accounts.db" is ``popserv.accounts.sqlite``)."""

    options = Attribute("type: an attrs class, the table `[auth.NAME]` of the configuration")

    def check(argument: str, options: Any, context: IBuildContext) -> list[str]:
        """What an administrator should know to be wrong with this database now: a list of str, empty if nothing is.

        Looks, as the service's user, and changes nothing. May block.
        """

    def build(argument: str, options: Any, context: IBuildContext) -> Any:
        """A `twisted.cred.checkers.ICredentialsChecker`, which may provide `IAccountDirectory`, too.

        The checker fails with `popserv.auth.chain.UnknownAccount` for a name it does not know and with
        `twisted.cred.error.UnauthorizedLogin` for credentials that are not good.
        """


class IMailProtocol(Interface):
    """Plug-in: a wire protocol ("pop3" is ``popserv.protocols.pop3``)."""

    default_tls: str = Attribute('"starttls" | "off", when a `[[listen]]` does not say')
    tls_modes: tuple[str, ...] = Attribute('which of "starttls", "implicit" and "off" it can do')

    def factory(listener: Any) -> Any:
        """An `IProtocolFactory` for one `popserv.net.listener.Listener`."""


class ISessionObserver(Interface):
    """Told of the life of sessions, never of single commands."""

    def event(name: str, **facts: Any) -> None:
        """`name` is one of connected, tls, login, refused, delivered, closed; `facts` are plain values.

        Secrets are never among them.
        """
