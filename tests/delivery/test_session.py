"""The LMTP state machine on literals."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.account import Account
from popserv.delivery.session import RECIPIENTS, LmtpSession, LookUp, Receive, State
from popserv.errors import DeliveryError, MailSystemFull, UnknownRecipient
from popserv.limits import Limits
from popserv.wire.lines import Fault

FRED = Account("fred")
REPLY = re.compile(rb"(?:[245][0-9]{2}-[ -~]+\r\n)*[2345][0-9]{2} [ -~]+\r\n")
ENHANCED = re.compile(rb"[245][0-9]{2} [245]\.[0-9]{1,3}\.[0-9]{1,3} ")


def session(**limits: int) -> LmtpSession:
    return LmtpSession("mail.example.org", 100_000, Limits(**limits))


def greeted(**limits: int) -> LmtpSession:
    new = session(**limits)
    new.handle(b"LHLO client.example.org")
    return new


def said(session: LmtpSession, line: bytes) -> bytes:
    """The reply to a command that needs nobody's help."""
    reply = session.handle(line)
    assert isinstance(reply, bytes)
    return reply


def test_what_pipelining_clients_cannot_know_is_no_fault_of_theirs() -> None:
    new = greeted(bad_commands=3)
    for _ in range(10):
        new.handle(b"MAIL FROM:<>")
        assert isinstance(new.handle(b"RCPT TO:<nobody>"), LookUp)
        new.refuse_recipient(UnknownRecipient())
        assert said(new, b"DATA") == b"503 5.5.1 no valid recipients\r\n"
        new.handle(b"RSET")
        assert said(new, b"MAIL FROM:<> SIZE=1000000").startswith(b"552 5.3.4 ")
        assert said(new, b"MAIL FROM:<> UNHEARD=OF").startswith(b"555 5.5.4 ")
    assert not new.ended


def test_a_message_that_is_stored_makes_up_for_faults() -> None:
    new = greeted(bad_commands=3)
    for _ in range(10):
        new.handle(b"HUH")
        new.handle(b"HUH")
        new.stored(None)
    assert not new.ended
    for _ in range(3):
        new.handle(b"DATA")
    assert new.ended == "errors"


def with_recipients(count: int = 1) -> LmtpSession:
    new = greeted()
    new.handle(b"MAIL FROM:<joe@example.net>")
    for _ in range(count):
        assert isinstance(new.handle(b"RCPT TO:<fred@mail.example.org>"), LookUp)
        new.recipient(FRED)
    return new


def test_LM_002_lhlo_is_answered_as_ehlo_and_helo_and_ehlo_are_refused() -> None:
    new = session()
    for verb in (b"HELO x.example", b"EHLO x.example", b"ehlo x.example"):
        assert said(new, verb).startswith(b"500 5.5.1 ")
    assert new.handle(b"LHLO x.example") == (
        b"250-mail.example.org\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 SIZE 100000\r\n"
    )


def test_LM_003_data_without_a_recipient_is_503() -> None:
    assert said(greeted(), b"DATA").startswith(b"503 5.5.1 ")
    new = greeted()
    new.handle(b"MAIL FROM:<>")
    new.handle(b"RCPT TO:<nobody@mail.example.org>")
    assert new.refuse_recipient(UnknownRecipient()).startswith(b"550 5.1.1 ")
    assert said(new, b"DATA").startswith(b"503 5.5.1 ")


def test_LM_004_every_successful_recipient_is_kept_in_order_also_duplicates() -> None:
    new = with_recipients(3)
    new.handle(b"RCPT TO:<nobody@mail.example.org>")
    new.refuse_recipient(UnknownRecipient())
    assert new.recipients == [FRED, FRED, FRED]
    assert isinstance(new.handle(b"DATA"), Receive)


def test_LM_006_size_is_checked_at_mail() -> None:
    assert said(greeted(), b"MAIL FROM:<a@b.example> SIZE=100000").startswith(b"250 2.1.0 ")
    assert said(greeted(), b"MAIL FROM:<a@b.example> SIZE=100001").startswith(b"552 5.3.4 ")
    assert said(greeted(), b"MAIL FROM:<a@b.example> SIZE=1e3").startswith(b"501 5.5.4 ")


@pytest.mark.parametrize("body", [b"7BIT", b"8BITMIME", b"8bitmime"])
def test_LM_006_body_is_accepted(body: bytes) -> None:
    assert said(greeted(), b"MAIL FROM:<a@b.example> BODY=" + body).startswith(b"250 ")


@pytest.mark.parametrize(
    ("parameters", "reply"),
    [
        (b"BODY=BINARYMIME", b"501 5.5.4 "),
        (b"AUTH=<>", b"555 5.5.4 "),
        (b"X=1", b"555 5.5.4 "),
        (b"SMTPUTF8", b"555 5.5.4 "),
    ],
)
def test_LM_006_other_parameters_are_refused(parameters: bytes, reply: bytes) -> None:
    assert said(greeted(), b"MAIL FROM:<a@b.example> " + parameters).startswith(reply)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (b"<fred@example.org>", b"fred@example.org"),
        (b"<fred>", b"fred"),
        (b"<@relay.example,@other.example:fred@example.org>", b"fred@example.org"),
        (b'<"fred flint"@example.org>', b"fred flint@example.org"),
        (b'<"a\\"b"@example.org>', b'a"b@example.org'),
        (b"<fred+list@[127.0.0.1]>", b"fred+list@[127.0.0.1]"),
        (b"<" + b"l" * 64 + b"@example.org>", b"l" * 64 + b"@example.org"),
        (b"<f@" + b"d." * 126 + b"ddd>", b"f@" + b"d." * 126 + b"ddd"),
    ],
)
def test_LM_008_paths_are_understood(path: bytes, address: bytes) -> None:
    new = greeted()
    new.handle(b"MAIL FROM:<>")
    assert new.handle(b"rcpt to:" + path) == LookUp(address)


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"fred@example.org",
        b"TO:fred@example.org",
        b"TO:<>",
        b"TO:<fred@>",
        b"TO:<@example.org>",
        b"TO:<fr ed@example.org>",
        b"TO:<fred@example.org",
        b"TO:<fred@exa\x00mple.org>",
        b"TO:<fred@-example.org>",
        b"TO:<" + b"l" * 65 + b"@example.org>",
        b"TO:<f@" + b"d." * 127 + b"dd>",
        b"TO:<fred@example.org> NOTIFY=",
    ],
)
def test_malformed_recipients_are_501(argument: bytes) -> None:
    new = greeted()
    new.handle(b"MAIL FROM:<>")
    assert said(new, b"RCPT " + argument).startswith(b"501 5.1.3 ")


def test_LM_006_parameters_of_a_recipient_are_refused() -> None:
    new = greeted()
    new.handle(b"MAIL FROM:<>")
    assert said(new, b"RCPT TO:<fred@example.org> NOTIFY=NEVER").startswith(b"555 5.5.4 ")


def test_LM_008_a_hundred_recipients_and_many_more_are_taken() -> None:
    new = with_recipients(RECIPIENTS)
    assert new.handle(b"RCPT TO:<fred@mail.example.org>") == b"452 4.5.3 too many recipients\r\n"
    assert isinstance(new.handle(b"DATA"), Receive)


def test_order_is_enforced() -> None:
    new = session()
    assert said(new, b"MAIL FROM:<>").startswith(b"503 ")
    new.handle(b"LHLO x.example")
    assert said(new, b"RCPT TO:<fred>").startswith(b"503 ")
    new.handle(b"MAIL FROM:<>")
    assert said(new, b"MAIL FROM:<>").startswith(b"503 ")
    assert said(new, b"RSET").startswith(b"250 ")
    assert new.state is State.READY
    assert said(new, b"MAIL FROM:<>").startswith(b"250 ")


def test_other_commands() -> None:
    new = greeted()
    assert said(new, b"NOOP anything").startswith(b"250 2.0.0 ")
    assert said(new, b"VRFY fred").startswith(b"252 2.0.0 ")
    assert said(new, b"HELP").startswith(b"214 ")
    assert said(new, b"BDAT 1").startswith(b"500 5.5.1 ")
    assert not new.ended
    assert said(new, b"QUIT").startswith(b"221 2.0.0 ")
    assert new.ended == "quit"


def test_replies_for_stored_and_failed_recipients() -> None:
    new = with_recipients()
    assert new.stored(None).startswith(b"250 2.0.0 ")
    assert new.stored(MailSystemFull()).startswith(b"452 4.3.1 ")
    assert new.stored(DeliveryError()).startswith(b"451 4.3.0 ")


@pytest.mark.parametrize(("faults", "ended"), [(19, ""), (20, "errors")])
def test_bad_commands_end_the_session(faults: int, ended: str) -> None:
    new = greeted(bad_commands=20)
    for _ in range(faults):
        reply = said(new, b"BOGUS")
    assert new.ended == ended
    assert reply.startswith(b"421 4.7.0 " if ended else b"500 5.5.1 ")


def test_faults_are_answered_and_a_second_overlong_line_ends() -> None:
    new = greeted()
    assert new.fault(Fault.BARE_LF).startswith(b"500 5.5.2 ")
    assert new.fault(Fault.OVERLONG).startswith(b"500 5.5.2 ")
    assert not new.ended
    assert new.fault(Fault.OVERLONG_AGAIN).startswith(b"500 5.5.2 ")
    assert new.ended == "errors"


def test_a_flood_ends_without_an_answer() -> None:
    new = greeted()
    assert new.fault(Fault.FLOOD) == b""
    assert new.ended == "errors"


WORDS = st.sampled_from([b"LHLO ", b"MAIL FROM:", b"RCPT TO:", b"DATA", b"<", b">", b"a@b.example", b" SIZE=", b"RSET"])
LINES = st.one_of(st.binary(max_size=80), st.lists(WORDS | st.binary(max_size=5), max_size=8).map(b"".join))


@given(st.lists(LINES, max_size=12))
def test_whatever_comes_is_answered_well_formed(lines: list[bytes]) -> None:
    new = greeted(bad_commands=1000)
    for line in lines:
        if new.ended:
            break
        reply = new.handle(line)
        if isinstance(reply, LookUp):
            reply = new.recipient(FRED)
        elif isinstance(reply, Receive):
            reply = reply.reply
            new.reset()
        assert REPLY.fullmatch(reply), reply
        if not reply.startswith((b"250-", b"354")):
            assert ENHANCED.match(reply), reply


def test_SEC_002_nothing_of_the_client_is_echoed() -> None:
    token = b"zqxwvtoken"
    new = greeted()
    replies = b""
    for line in (b"LHLO " + token, token, b"MAIL FROM:<" + token + b"@x>", b"VRFY " + token, b"MAIL " + token):
        reply = new.handle(line)
        assert isinstance(reply, bytes)
        replies += reply
    assert token not in replies.lower()
