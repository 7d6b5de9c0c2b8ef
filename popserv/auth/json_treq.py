"""JSON over HTTP on a reactor, by treq."""

from __future__ import annotations

from typing import Any

from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from popserv.auth.json_web import MOST_OCTETS, Question
from popserv.auth.remote import Unavailable
from popserv.errors import Busy

MOST_QUESTIONS = 64
"""Under way at a time; what comes beyond them is refused."""


class ReactorWeb:
    """See `popserv.auth.json_web.Web`. Each question has a connection of its own, so none fails for an old one."""

    def __init__(self, reactor: Any, seconds: float, authorities: bytes | None = None) -> None:
        """A question may take so many `seconds`. `authorities` are PEM; those that this host trusts if it is None."""
        self._reactor = reactor
        self._seconds = seconds
        trust = platformTrust() if authorities is None else _trust(authorities)  # type: ignore[no-untyped-call]
        self._policy = BrowserLikePolicyForHTTPS(trust)  # type: ignore[no-untyped-call]
        self._under_way = 0

    async def ask(self, question: Question) -> Any:
        if self._under_way >= MOST_QUESTIONS:
            raise Busy()
        self._under_way += 1
        connection = _Connection(self._reactor, self._policy)
        try:
            answer = ensureDeferred(self._ask(question, connection))
            status, octets = await answer.addTimeout(self._seconds, self._reactor)
        except TookTooLong:
            raise Unavailable(f"{question.address}: no answer in {self._seconds:g} s") from None
        except Unavailable:
            raise
        except Exception as error:
            raise Unavailable(f"{question.address}: {_reason(error)}") from error
        finally:
            self._under_way -= 1
            connection.abort()
        return question.answer(status, octets)

    async def _ask(self, question: Question, connection: _Connection) -> tuple[int, bytes]:
        agent = Agent.usingEndpointFactory(self._reactor, connection)  # type: ignore[no-untyped-call]
        client = HTTPClient(agent)
        response = await client.request(
            "GET" if question.form is None else "POST",
            question.address,
            headers=Headers({name: [value] for name, value in question.headers().items()}),
            data=question.body(),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        body = _Body(question)
        response.deliverBody(body)
        return response.code, await body.done


def _trust(authorities: bytes) -> Any:
    found = map(X509.from_cryptography, load_pem_x509_certificates(authorities))
    return trustRootFromCertificates(list(map(Certificate, found)))  # type: ignore[no-untyped-call]


@implementer(IAgentEndpointFactory)
class _Connection:
    """The connection of one question, to be cut off when there is no more use for it."""

    def __init__(self, reactor: Any, policy: BrowserLikePolicyForHTTPS) -> None:
        self._reactor = reactor
        self._policy = policy
        self._transports: list[Any] = []

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, uri.host.decode("ascii"), uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Watched(endpoint, self._transports)

    def abort(self) -> None:
        """Without waiting for a server that may have fallen silent."""
        for transport in self._transports:
            transport.abortConnection()


@implementer(IStreamClientEndpoint)
class _Watched:
    def __init__(self, endpoint: IStreamClientEndpoint, transports: list[Any]) -> None:
        self._endpoint = endpoint
        self._transports = transports

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def remember(protocol: Any) -> Any:
            self._transports.append(protocol.transport)
            return protocol

        # Two lines in the log for each question would tell nobody anything.
        protocolFactory.noisy = False  # type: ignore[attr-defined]
        return self._endpoint.connect(protocolFactory).addCallback(remember)


class _Body(Protocol):
    """Collects what comes, as long as it is not too much."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._octets = bytearray()
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if len(self._octets) > MOST_OCTETS and not self.done.called:
            self._octets.clear()
            self.done.errback(self._question.too_long())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):  # type: ignore[no-untyped-call]
            self.done.callback(bytes(self._octets))
        else:
            self.done.errback(reason)


def _reason(error: Exception) -> str:
    # What went wrong below HTTP stands in a list of failures.
    reasons = getattr(error, "reasons", None)
    inner = reasons[0].value if reasons else error
    return str(inner) or type(inner).__name__
