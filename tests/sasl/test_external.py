"""EXTERNAL, on literals."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from popserv.auth.client_certificate import ClientCertificate
from popserv.errors import LoginRefused, MalformedResponse
from popserv.interfaces import IClientCertificate, IMechanism
from popserv.net.channel import CLEAR
from popserv.net.conversation import Conversation
from popserv.sasl.external import plugin
from tests.accounts.test_certificate import FRED, shown


class External(SynchronousTestCase):
    def converse(self, initial: bytes | None, answer: bytes = b"", channel: Any = None) -> Deferred[ClientCertificate]:
        self.challenges: list[bytes] = []
        conversation = Conversation(initial, self.challenges.append, channel or shown(FRED))
        outcome = Deferred.fromCoroutine(plugin.authenticate(conversation))
        conversation.answer(answer)
        return outcome

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IMechanism, plugin))

    def test_EXT_001_the_initial_response_is_the_authorization_identity_or_empty(self) -> None:
        for initial in (b"", b"fred", "jürgen@example.org".encode()):
            credentials = self.successResultOf(self.converse(initial))
            self.assertEqual((credentials.certificate, credentials.authorization), (FRED.der, initial))
            self.assertTrue(verifyObject(IClientCertificate, credentials))
            self.assertEqual(self.challenges, [])

    def test_EXT_001_without_an_initial_response_the_client_is_asked_by_an_empty_challenge(self) -> None:
        self.assertEqual(self.successResultOf(self.converse(None, b"fred")).authorization, b"fred")
        self.assertEqual(self.challenges, [b""])

    def test_EXT_001_no_nul_and_nothing_but_utf_8(self) -> None:
        for bad in (b"fr\0ed", b"\0", b"\xff", b"\xed\xa0\x80"):
            self.failureResultOf(self.converse(bad), MalformedResponse)

    def test_EXT_002_without_a_certificate_it_fails(self) -> None:
        self.failureResultOf(self.converse(b"", channel=CLEAR), LoginRefused)
        self.assertFalse(plugin.usable(CLEAR))
        self.assertFalse(plugin.usable(shown(None)))
        self.assertTrue(plugin.usable(shown(FRED)))
