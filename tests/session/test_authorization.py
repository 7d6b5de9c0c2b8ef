"""The AUTHORIZATION state: RFC 1939 sections 4 and 7, RFC 5034."""

from __future__ import annotations

from base64 import b64encode

import pytest

from popserv.errors import MaildropInUse, StoreBroken, StoreUnavailable
from popserv.session.capabilities import Offer
from popserv.session.effects import PasswordLogin, StartTLS
from popserv.session.states import State
from popserv.wire.lines import Fault
from tests.session.support import CLOSED, OPEN, TIMESTAMP, ServerFirst, logged_in, table

GOOD = b64encode(b"\0fred\0secret")
BAD = b64encode(b"\0fred\0wrong")
REFUSED = b"-ERR [AUTH] authentication failed\r\n"
WITH_APOP = Offer(user=True, apop=True)
DIGEST = b"c4c9334bac560ecc979e58001b3e22fb"


def test_P3_016_user_and_pass_log_in() -> None:
    new = table()
    assert new.say(b"USER fred") == b"+OK send PASS\r\n"
    assert new.say(b"PASS secret") == b"+OK 3 messages (72 octets)\r\n"
    assert new.session.state is State.TRANSACTION


def test_P3_003_keywords_in_any_case_and_arguments_as_they_are() -> None:
    assert table().session.handle(b"uSeR Fred") == b"+OK send PASS\r\n"
    new = table()
    new.say(b"USER Fred")
    assert new.session.handle(b"pAsS SeCreT") == PasswordLogin(b"Fred", b"SeCreT")


def test_P3_008_transaction_commands_are_refused_before_login() -> None:
    for verb in (b"STAT", b"LIST", b"RETR 1", b"DELE 1", b"NOOP", b"RSET", b"TOP 1 0", b"UIDL"):
        assert table().say(verb) == b"-ERR not in the AUTHORIZATION state\r\n"


def test_P3_007_unknown_commands_are_answered_and_the_session_goes_on() -> None:
    new = table()
    for line in (b"FROB", b"", b" ", b" USER fred", b"USERfred", b"\x00", b"X" * 200, b"HELP me"):
        assert new.say(line) == b"-ERR unknown command\r\n"
    assert new.say(b"USER fred") == b"+OK send PASS\r\n"


@pytest.mark.parametrize("line", [b"QUIT now", b"CAPA x", b"STLS x", b"QUIT  "])
def test_P3_005_an_argument_where_none_belongs_is_refused(line: bytes) -> None:
    assert table().say(line) == b"-ERR this command takes no argument\r\n"


def test_P3_005_one_trailing_space_is_forgiven() -> None:
    assert table().say(b"CAPA ").startswith(b"+OK ")
    new = table()
    new.say(b"USER fred ")
    assert new.session.handle(b"PASS x") == PasswordLogin(b"fred", b"x")


@pytest.mark.parametrize("line", [b"USER  fred", b"USER   ", b"APOP  fred " + b"0" * 32])
def test_P3_005_two_spaces_are_one_too_many(line: bytes) -> None:
    new = table(offer=WITH_APOP, timestamp=TIMESTAMP)
    assert new.say(line) == b"-ERR one space stands before a name\r\n"
    assert new.session.user is None


def test_P3_022_quit_before_login_ends_without_update() -> None:
    new = table()
    assert new.say(b"QUIT") == b"+OK bye\r\n"
    assert new.session.ended
    assert new.removed is None


@pytest.mark.parametrize("password", [b" ", b" a b ", b"a  b", "pässwörd ünd".encode(), b"a\xc2\xa0b"])
def test_P3_044_spaces_belong_to_the_password(password: bytes) -> None:
    new = table()
    new.say(b"USER fred")
    assert new.session.handle(b"PASS " + password) == PasswordLogin(b"fred", password)


def test_P3_045_the_last_user_counts() -> None:
    new = table()
    assert new.say(b"USER ann", b"USER fred") == b"+OK send PASS\r\n" * 2
    assert new.session.handle(b"PASS x") == PasswordLogin(b"fred", b"x")


def test_P3_046_user_answers_alike_for_every_name() -> None:
    assert {table().say(b"USER " + name) for name in (b"fred", b"nobody", b"x" * 200)} == {b"+OK send PASS\r\n"}


def test_P3_047_user_is_refused_by_connection_whatever_the_name() -> None:
    answers = {table(offer=CLOSED).say(b"USER " + name) for name in (b"fred", b"nobody", b"")}
    assert answers == {b"-ERR no password in the clear: use STLS first\r\n"}
    assert table(offer=Offer(user=False)).say(b"USER x").startswith(b"-ERR USER and PASS are not available")


def test_TLS_028_a_password_in_the_clear_is_refused_unchecked() -> None:
    new = table(offer=CLOSED)
    assert new.say(b"PASS secret") == new.say(b"PASS wrong") == b"-ERR no password in the clear: use STLS first\r\n"


@pytest.mark.parametrize("between", [b"CAPA", b"NOOP", b"BOGUS", b"AUTH", b"APOP x", b"USER"])
def test_P3_048_pass_must_follow_user(between: bytes) -> None:
    assert table().say(b"PASS secret") == b"-ERR PASS must follow a successful USER\r\n"
    new = table()
    new.say(b"USER fred", between)
    assert new.say(b"PASS secret") == b"-ERR PASS must follow a successful USER\r\n"


@pytest.mark.parametrize("fault", [Fault.BARE_LF, Fault.OVERLONG])
def test_P3_048_what_is_no_line_stands_between_as_well(fault: Fault) -> None:
    new = table()
    new.say(b"USER fred")
    new.session.fault(fault)
    assert new.say(b"PASS secret") == b"-ERR PASS must follow a successful USER\r\n"


def test_P3_049_a_failed_pass_forgets_the_name() -> None:
    new = table()
    assert new.say(b"USER fred", b"PASS wrong", b"PASS secret") == (
        b"+OK send PASS\r\n" + REFUSED + b"-ERR PASS must follow a successful USER\r\n"
    )
    new.say(b"USER fred", b"PASS")
    assert new.say(b"PASS secret").startswith(b"-ERR PASS must follow")


def test_P3_019_after_a_failed_login_another_may_follow() -> None:
    new = table()
    assert new.say(b"USER fred", b"PASS wrong", b"USER fred", b"PASS secret").endswith(
        b"+OK 3 messages (72 octets)\r\n"
    )


@pytest.mark.parametrize(("failures", "ended"), [(2, False), (3, True)])
def test_refused_logins_end_the_session_at_their_limit(failures: int, ended: bool) -> None:
    new = table(login_failures=3)
    for _ in range(failures):
        assert new.say(b"USER fred", b"PASS wrong").endswith(REFUSED)
    assert new.session.ended is ended


@pytest.mark.parametrize(("faults", "ended"), [(19, False), (20, True), (25, True)])
def test_bad_commands_end_the_session_at_their_limit(faults: int, ended: bool) -> None:
    new = table(bad_commands=20)
    said = new.say(*[b"BOGUS"] * faults)
    assert new.session.ended is ended
    assert said.count(b"-ERR") == min(faults, 20)
    assert said.endswith(b"too many bad commands\r\n") is ended


# --- APOP


def test_P3_052_apop_hands_over_timestamp_and_digest() -> None:
    new = table(offer=WITH_APOP, timestamp=TIMESTAMP)
    assert new.say(b"APOP mrose " + DIGEST) == b"+OK 3 messages (72 octets)\r\n"


def test_P3_053_a_failed_apop_leaves_the_state() -> None:
    new = table(offer=WITH_APOP, timestamp=TIMESTAMP)
    assert new.say(b"APOP mrose " + b"0" * 32) == REFUSED
    assert new.session.state is State.AUTHORIZATION
    assert new.say(b"APOP mrose " + DIGEST).startswith(b"+OK")


def test_P3_055_apop_is_refused_unless_offered() -> None:
    assert table().say(b"APOP mrose " + DIGEST) == b"-ERR APOP is not available on this connection\r\n"


@pytest.mark.parametrize("argument", [b"", b" ", b" mrose", b" mrose ABC", b" mrose " + b"C" * 32, b" " + DIGEST])
def test_apop_arguments_are_checked(argument: bytes) -> None:
    new = table(offer=WITH_APOP, timestamp=TIMESTAMP)
    assert new.say(b"APOP" + argument).startswith(b"-ERR ")
    assert new.session.state is State.AUTHORIZATION


# --- AUTH


def test_SA_001_auth_plain_logs_in_and_only_here() -> None:
    new = table()
    assert new.say(b"AUTH PLAIN " + GOOD) == b"+OK 3 messages (72 octets)\r\n"
    assert new.session.state is State.TRANSACTION
    assert new.say(b"AUTH PLAIN " + GOOD) == b"-ERR not in the TRANSACTION state\r\n"


def test_SA_002_after_a_success_auth_is_refused() -> None:
    assert logged_in().say(b"AUTH PLAIN " + GOOD) == b"-ERR not in the TRANSACTION state\r\n"


def test_SA_025_one_success_a_session() -> None:
    assert logged_in().say(b"USER fred", b"PASS secret").count(b"-ERR not in the TRANSACTION state\r\n") == 2


def test_SA_003_mechanism_names_in_any_case() -> None:
    assert table().say(b"auth pLaIn " + GOOD).startswith(b"+OK")
    assert b"SASL PLAIN\r\n" in table().say(b"CAPA")


@pytest.mark.parametrize("name", [b"FOO", b"SCRAM-SHA-256", b"PLAINER"])
def test_SA_004_an_unavailable_mechanism_is_refused_at_once(name: bytes) -> None:
    assert table().say(b"AUTH " + name) == b"-ERR this mechanism is not available on this connection\r\n"


@pytest.mark.parametrize("name", [b"", b"PL AIN", b"A" * 21, b"PLAIN\x00", b"PL/AIN", b"\xff"])
def test_SA_003_malformed_names_are_syntax_errors(name: bytes) -> None:
    assert table().say(b"AUTH " + name + b" " + GOOD).startswith(b"-ERR ")


def test_SA_005_the_empty_challenge_keeps_its_space() -> None:
    assert table().say(b"AUTH PLAIN") == b"+ \r\n"


def test_SA_007_a_client_first_mechanism_is_asked() -> None:
    assert table().say(b"AUTH PLAIN", GOOD) == b"+ \r\n+OK 3 messages (72 octets)\r\n"


def test_SA_005_a_challenge_is_a_plus_a_space_and_base64() -> None:
    new = table(offer=Offer(user=False, mechanisms=(ServerFirst(),)))
    assert new.say(b"AUTH X-ECHO") == b"+ " + b64encode(b"say word") + b"\r\n"
    assert new.say(b64encode(b"word")).startswith(b"+OK ")


def test_SA_006_an_asterisk_cancels_without_a_code() -> None:
    new = table()
    assert new.say(b"AUTH PLAIN", b"*") == b"+ \r\n-ERR authentication cancelled\r\n"
    assert new.say(b"AUTH PLAIN " + GOOD).startswith(b"+OK")


def test_SA_008_an_equals_sign_is_an_empty_response_in_the_command_only() -> None:
    assert table().say(b"AUTH PLAIN =") == b"-ERR PLAIN needs exactly two NUL octets\r\n"
    assert table().say(b"AUTH PLAIN", b"=") == b"+ \r\n-ERR response is not valid base64\r\n"
    assert table().say(b"AUTH PLAIN", b"") == b"+ \r\n-ERR PLAIN needs exactly two NUL octets\r\n"


def test_SA_009_no_initial_response_to_a_server_first_mechanism() -> None:
    new = table(offer=Offer(user=False, mechanisms=(ServerFirst(),)))
    assert new.say(b"AUTH X-ECHO d29yZA==") == b"-ERR this mechanism takes no initial response\r\n"


@pytest.mark.parametrize("line", [b"%%%", b"AAA", b"A", b"AAAA\x00", b" AAAA", b"AAAA "])
def test_SA_010_bad_base64_ends_the_exchange(line: bytes) -> None:
    new = table()
    assert new.say(b"AUTH PLAIN", line) == b"+ \r\n-ERR response is not valid base64\r\n"
    assert not new.session.exchange
    assert new.say(b"USER fred") == b"+OK send PASS\r\n"


@pytest.mark.parametrize("line", [b"=AAA", b"AAA=BBB", b"AAAA=", b"AAAA====", b"AA=A", b"A===", b"AAAA\n", b"AA-_"])
def test_SA_011_base64_is_read_strictly(line: bytes) -> None:
    assert table().say(b"AUTH PLAIN", line) == b"+ \r\n-ERR response is not valid base64\r\n"


def test_SA_012_after_a_failure_the_session_is_as_before() -> None:
    new = table()
    assert new.say(b"AUTH PLAIN " + BAD) == REFUSED
    assert new.say(b"AUTH PLAIN " + GOOD).startswith(b"+OK")


def test_SA_026_user_and_auth_are_refused_alike() -> None:
    assert table().say(b"AUTH PLAIN " + BAD) == REFUSED == table().say(b"USER x", b"PASS y")[-len(REFUSED) :]


def test_RC_008_one_text_for_every_refusal() -> None:
    assert table().say(b"AUTH PLAIN " + BAD) == REFUSED


def test_SA_027_auth_alone_lists_the_mechanisms() -> None:
    assert table().say(b"AUTH") == b"+OK mechanisms follow\r\nPLAIN\r\n.\r\n"
    assert table(offer=CLOSED).say(b"AUTH") == b"+OK mechanisms follow\r\n.\r\n"


@pytest.mark.parametrize("command", [b"QUIT", b"USER fred", b"CAPA", b"NOOP"])
def test_SA_028_a_command_inside_an_exchange_is_not_executed(command: bytes) -> None:
    new = table()
    assert new.say(b"AUTH PLAIN", command).startswith(b"+ \r\n-ERR ")
    assert not new.session.ended
    assert new.session.user is None


@pytest.mark.parametrize(("steps", "ended"), [(9, False), (10, False), (11, True)])
def test_SA_029_an_exchange_has_a_bound_in_steps(steps: int, ended: bool) -> None:
    new = table(offer=Offer(user=False, mechanisms=(ServerFirst(),)), sasl_steps=10)
    new.say(b"AUTH X-ECHO", *[b64encode(b"no")] * (steps - 1))
    assert new.session.ended is ended


@pytest.mark.parametrize("length", [255, 65_000])
def test_SA_019_long_responses_are_taken(length: int) -> None:
    response = b64encode(b"\0" + b"n" * 200 + b"\0" + b"p" * length)
    assert table().say(b"AUTH PLAIN", response).endswith(REFUSED)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(("octets", "fits"), [(99, True), (100, True), (101, False), (140, False)])
def test_SA_019_the_limit_is_that_of_the_response_decoded(octets: int, fits: bool, inline: bool) -> None:
    response = b64encode(b"\0n\0" + b"p" * (octets - 3))
    new = table(sasl_octets=100)
    said = new.say(b"AUTH PLAIN " + response) if inline else new.say(b"AUTH PLAIN", response)
    assert said.endswith(REFUSED if fits else b"-ERR response is too long\r\n")
    assert not new.session.exchange


def test_SA_018_the_length_of_a_response_is_the_mechanisms_business() -> None:
    assert table().say(b"AUTH PLAIN " + b64encode(b"\0n\0" + b"p" * 30_000)) == REFUSED


# --- PLAIN


@pytest.mark.parametrize(
    "message", [b"", b"\0", b"a\0b", b"\0\0", b"\0fred\0", b"\0\0secret", b"\0a\0b\0c", b"fred", b"\0\0\0\0"]
)
def test_PL_001_a_malformed_message_is_no_refusal_of_credentials(message: bytes) -> None:
    reply = table().say(b"AUTH PLAIN", b64encode(message))
    assert reply.startswith(b"+ \r\n-ERR PLAIN needs ")


@pytest.mark.parametrize("message", [b"\0fr\xffed\0secret", b"\0fred\0\xe9", b"\xff\0fred\0secret"])
def test_PL_007_octets_that_are_not_utf8_fail(message: bytes) -> None:
    assert table().say(b"AUTH PLAIN " + b64encode(message)) == b"-ERR PLAIN message must be UTF-8\r\n"


def test_PL_002_parts_of_255_octets_are_taken() -> None:
    part = b"x" * 255
    assert table().say(b"AUTH PLAIN " + b64encode(part + b"\0" + part + b"\0" + part)) == REFUSED


def test_PL_006_plain_is_neither_announced_nor_taken_in_the_clear() -> None:
    assert b"SASL" not in table(offer=CLOSED).say(b"CAPA")
    assert table(offer=CLOSED).say(b"AUTH PLAIN " + GOOD).startswith(b"-ERR this mechanism is not available")


# --- response codes


def test_RC_002_in_use_comes_after_the_credentials() -> None:
    new = table()
    new.say(b"USER fred")
    assert isinstance(new.session.handle(b"PASS secret"), PasswordLogin)
    assert new.session.login_failed(MaildropInUse()).startswith(b"-ERR [IN-USE] ")
    assert new.session.state is State.AUTHORIZATION


def test_RC_004_auth_stands_on_refused_credentials_and_on_nothing_else() -> None:
    others = [b"PASS x", b"APOP x", b"AUTH FOO", b"AUTH PLAIN %", b"USER", b"STAT", b"BOGUS", b"AUTH PLAIN ="]
    for line in others:
        assert b"[AUTH]" not in table().say(line)
    assert b"[AUTH]" not in table().say(b"AUTH PLAIN", b"*")
    for error in (MaildropInUse(), StoreUnavailable(), StoreBroken()):
        assert b"[AUTH]" not in table().session.login_failed(error)
    assert table().say(b"AUTH PLAIN " + BAD).startswith(b"-ERR [AUTH] ")


def test_RC_006_never_auth_to_user() -> None:
    for name in (b"", b"nobody", b"\xff", b"a\x00b"):
        assert b"[" not in table().say(b"USER " + name)
        assert b"[" not in table(offer=CLOSED).say(b"USER " + name)


def test_RC_007_trouble_of_ours_has_its_codes() -> None:
    assert table().session.login_failed(StoreUnavailable()).startswith(b"-ERR [SYS/TEMP] ")
    assert table().session.login_failed(StoreBroken()).startswith(b"-ERR [SYS/PERM] ")


def test_P3_018_a_login_that_cannot_open_the_maildrop_stays_outside() -> None:
    new = table()
    new.session.login_failed(StoreUnavailable())
    assert new.session.state is State.AUTHORIZATION
    assert not new.session.ended


# --- STLS


def test_TLS_002_stls_answers_and_asks_for_tls() -> None:
    assert table().session.handle(b"STLS") == StartTLS(b"+OK begin TLS\r\n")
    assert logged_in().say(b"STLS") == b"-ERR not in the TRANSACTION state\r\n"


def test_TLS_004_stls_is_refused_when_tls_is_active() -> None:
    new = table()
    new.say(b"STLS")
    assert new.say(b"STLS") == b"-ERR TLS is active already\r\n"


def test_TLS_025_stls_is_refused_where_there_is_no_certificate() -> None:
    new = table(offer=Offer(user=True))
    assert new.say(b"STLS") == b"-ERR TLS is not available here\r\n"
    assert b"STLS" not in new.say(b"CAPA")


def test_TLS_005_after_stls_the_state_is_authorization() -> None:
    new = table()
    new.say(b"STLS")
    assert new.session.state is State.AUTHORIZATION


def test_TLS_006_after_stls_the_capabilities_are_others() -> None:
    new = table(offer=CLOSED)
    before = new.say(b"CAPA")
    new.say(b"STLS")
    after = new.say(b"CAPA")
    assert b"STLS" in before and b"USER" not in before
    assert b"STLS" not in after and b"USER\r\n" in after and b"SASL PLAIN\r\n" in after


def test_TLS_011_what_was_said_in_the_clear_is_forgotten() -> None:
    new = table(offer=OPEN)
    new.say(b"USER fred", b"STLS")
    assert new.say(b"PASS secret") == b"-ERR PASS must follow a successful USER\r\n"


def test_TLS_015_stls_drops_a_pending_user() -> None:
    new = table()
    new.say(b"USER fred", b"STLS")
    assert new.session.user is None


def test_P3_056_the_timestamp_is_void_after_stls() -> None:
    new = table(offer=Offer(user=True, apop=True, stls=True), timestamp=TIMESTAMP)
    new.session.handle(b"STLS")
    new.session.tls_started(Offer(user=True))
    assert new.session.timestamp == b""
    assert new.say(b"APOP mrose " + DIGEST) == b"-ERR APOP is not available on this connection\r\n"


def test_TLS_010_octets_behind_stls_are_refused() -> None:
    new = table()
    new.session.handle(b"STLS")
    assert new.session.tls_refused() == b"-ERR data after STLS\r\n"
    assert new.session.ended
