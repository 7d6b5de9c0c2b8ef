"""ANONYMOUS, on literals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.credentials import IAnonymous
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from popserv.auth.anonymous import Anonymous, prepare_trace
from popserv.auth.names import InvalidName
from popserv.errors import MalformedResponse
from popserv.interfaces import IMechanism, IOurCredentials
from popserv.net.conversation import Conversation
from popserv.sasl.anonymous import plugin


@pytest.mark.parametrize(
    "trace",
    ["", "sirhc", "fred@example.org", "x" * 255, "\U0001d11e" * 255, "Jürgen Müller", "ᏸ", "a b", "\u05d0\u05d1"],
)
def test_AN_001_an_address_a_token_or_nothing(trace: str) -> None:
    # Nothing is mapped: RFC 4505 section 3.
    assert prepare_trace(trace.encode("utf-8")) == trace


@pytest.mark.parametrize(
    "trace",
    [
        "x" * 256,
        "x" * 1015 + "@ab.cd",
        "@",
        "@example.org",
        "fred@",
        "tab\there",
        "line\r\nuser=root",
        "\0",
        "\x7f",
        "\x80",
        "\u2028",
        "\ue000",
        "\ufdd0",
        "\ufffd",
        "\u202e",
        "\U000e0041",
        "\u05d0 mixed a",
    ],
)
def test_AN_001_what_the_trace_profile_prohibits(trace: str) -> None:
    with pytest.raises(InvalidName):
        prepare_trace(trace.encode("utf-8"))


@pytest.mark.parametrize("octets", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"fred\xc3"])
def test_AN_001_a_trace_is_utf_8(octets: bytes) -> None:
    with pytest.raises(InvalidName):
        prepare_trace(octets)


@given(st.one_of(st.binary(max_size=1200), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
def test_AN_001_whatever_passes_is_short_and_has_no_controls(octets: bytes) -> None:
    try:
        trace = prepare_trace(octets)
    except InvalidName:
        return
    assert trace.encode("utf-8") == octets
    assert len(octets) <= 1020
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in trace)


class Mechanism(SynchronousTestCase):
    def converse(self, initial: bytes | None, answer: bytes = b"") -> Deferred[Anonymous]:
        self.challenges: list[bytes] = []
        conversation = Conversation(initial, self.challenges.append)
        outcome = Deferred.fromCoroutine(plugin.authenticate(conversation))
        conversation.answer(answer)
        return outcome

    def test_interfaces(self) -> None:
        self.assertTrue(verifyObject(IMechanism, plugin))
        credentials = self.successResultOf(self.converse(b""))
        for interface in (IOurCredentials, IAnonymous):
            self.assertTrue(verifyObject(interface, credentials))

    def test_AN_001_one_message_first_or_asked_for(self) -> None:
        self.assertEqual(self.successResultOf(self.converse(b"sirhc")).trace, "sirhc")
        self.assertEqual(self.challenges, [])
        self.assertEqual(self.successResultOf(self.converse(None, b"sirhc")).trace, "sirhc")
        self.assertEqual(self.challenges, [b""])

    def test_AN_001_a_bad_trace_breaks_the_exchange(self) -> None:
        self.failureResultOf(self.converse(b"a\nb"), MalformedResponse)
