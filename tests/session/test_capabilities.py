"""CAPA (RFC 2449), response codes and the form of replies."""

from __future__ import annotations

import re

import attrs
import pytest

from popserv import __version__
from popserv.by_account import ByAccount, Covering
from popserv.maildrop.retention import Retention, expire_of_anybody
from popserv.session.capabilities import STANDARD, Offer
from popserv.session.states import State
from popserv.wire.replies import REPLY_OCTETS, err, multiline, ok
from tests.session.support import CLOSED, OPEN, logged_in, table

REGISTERED = {
    *("TOP", "UIDL", "USER", "SASL", "STLS", "RESP-CODES", "AUTH-RESP-CODE"),
    *("PIPELINING", "EXPIRE", "IMPLEMENTATION", "LOGIN-DELAY", "UTF8", "LANG"),
}


def lines(reply: bytes) -> list[str]:
    assert reply.startswith(b"+OK ") and reply.endswith(b"\r\n.\r\n")
    return reply.decode("ascii").split("\r\n")[1:-2]


def test_EX_005_capa_in_both_states_without_arguments() -> None:
    assert lines(table().say(b"CAPA"))
    assert lines(logged_in().say(b"CAPA"))
    assert table().say(b"CAPA x") == b"-ERR this command takes no argument\r\n"


def test_EX_006_what_is_announced_before_login_is_announced_after_it() -> None:
    before, after = set(lines(table().say(b"CAPA"))), set(lines(logged_in().say(b"CAPA")))
    assert before - after == {"STLS"}
    assert after - before == {f"IMPLEMENTATION popserv-{__version__}"}


def test_the_whole_list() -> None:
    assert lines(table().say(b"CAPA")) == [
        *("TOP", "UIDL", "USER", "SASL PLAIN", "STLS", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"),
    ]


def test_EX_007_tags_and_parameters_have_one_space_between_and_none_behind() -> None:
    for line in lines(logged_in().say(b"CAPA")):
        assert re.fullmatch(r"[!-~]+(?: [!-~]+)*", line)
        assert len(line) <= 510


def test_EX_008_the_tag_of_an_optional_command_is_its_keyword() -> None:
    tags = {line.split()[0] for line in lines(table().say(b"CAPA"))}
    assert {"TOP", "UIDL", "USER", "STLS"} <= tags


def test_EX_009_all_tags_are_registered() -> None:
    assert {capability.tag for capability in STANDARD} <= REGISTERED


def test_EX_010_there_is_no_apop_tag() -> None:
    assert "APOP" not in " ".join(lines(table(offer=Offer(user=True, apop=True)).say(b"CAPA")))


def test_EX_011_user_is_announced_where_it_is_taken() -> None:
    for offer in (OPEN, CLOSED):
        new = table(offer=offer)
        announced = "USER" in lines(new.say(b"CAPA"))
        assert new.say(b"USER fred").startswith(b"+OK") is announced


def test_a_mechanism_need_not_be_hashable() -> None:
    @attrs.define
    class Unhashable:
        name: bytes

    for name in (b"ONE", b"TWO", b"ONE"):
        reply = table(offer=Offer(user=False, mechanisms=(Unhashable(name),))).say(b"CAPA")
        assert f"SASL {name.decode()}" in lines(reply)


def test_EX_012_sasl_is_left_out_when_there_is_no_mechanism() -> None:
    assert not [line for line in lines(table(offer=CLOSED).say(b"CAPA")) if line.startswith("SASL")]


def test_EX_013_sasl_stays_after_auth() -> None:
    assert "SASL PLAIN" in lines(logged_in().say(b"CAPA"))


def test_EX_040_expire_is_that_of_everybody_and_then_that_of_the_account() -> None:
    assert "EXPIRE NEVER" in lines(table().say(b"CAPA"))
    assert "EXPIRE NEVER" in lines(logged_in().say(b"CAPA"))
    assert "EXPIRE 30 USER" in lines(table(offer=Offer(user=True, expire="30 USER")).say(b"CAPA"))


@pytest.mark.parametrize(("days", "told"), [([], "NEVER"), ([30], "30 USER"), ([0, 60, 30], "30 USER"), ([0], "NEVER")])
def test_EX_040_before_the_login_it_is_the_least_for_anybody(days: list[int], told: str) -> None:
    rules = [Covering(lambda _name: True, Retention(expire_days=each)) for each in days]
    assert expire_of_anybody(ByAccount(Retention(), rules)) == told


def test_EX_017_login_delay_is_told_where_there_is_one_and_is_the_same_in_both_states() -> None:
    assert not any(line.startswith("LOGIN-DELAY") for line in lines(table().say(b"CAPA")))
    new = logged_in()
    new.session.offer = attrs.evolve(new.session.offer, login_delay=60)
    assert "LOGIN-DELAY 60" in lines(new.say(b"CAPA"))
    new = table(offer=Offer(user=True, login_delay=60))
    assert "LOGIN-DELAY 60" in lines(new.say(b"CAPA"))


def test_EX_041_expire_never_in_both_states() -> None:
    new = logged_in()
    assert "EXPIRE NEVER" in lines(new.say(b"CAPA"))
    new.say(b"RETR 1", b"QUIT")
    assert new.removed == frozenset(), "a message that was fetched is not removed"


def test_EX_044_implementation_after_login_only() -> None:
    assert "IMPLEMENTATION" not in table().say(b"CAPA").decode()
    assert f"IMPLEMENTATION popserv-{__version__}" in lines(logged_in().say(b"CAPA"))


def test_EX_045_no_command_beyond_the_standard_ones() -> None:
    for verb in (b"XTND", b"LAST", b"RPOP", b"FOLD", b"LANG", b"UTF8"):
        assert logged_in().say(verb + b" x") == b"-ERR unknown command\r\n"


def test_RC_005_auth_resp_code_and_resp_codes_are_announced() -> None:
    assert {"AUTH-RESP-CODE", "RESP-CODES"} <= set(lines(table().say(b"CAPA")))


def test_TLS_001_a_server_with_stls_has_capa() -> None:
    assert "STLS" in lines(table().say(b"CAPA"))


def test_TLS_003_stls_is_announced_only_while_it_is_permitted() -> None:
    assert "STLS" not in lines(logged_in().say(b"CAPA"))
    new = table()
    new.say(b"STLS")
    assert "STLS" not in lines(new.say(b"CAPA"))


def test_SA_021_no_plaintext_in_the_clear() -> None:
    tags = lines(table(offer=CLOSED).say(b"CAPA"))
    assert "USER" not in tags and "SASL PLAIN" not in tags and "STLS" in tags


def test_SA_023_no_security_layers_are_offered() -> None:
    names = {mechanism.name for mechanism in OPEN.mechanisms}
    assert not names & {b"GSSAPI", b"DIGEST-MD5", b"NTLM"}


# --- the form of replies


def test_P3_002_the_status_is_in_upper_case() -> None:
    assert ok("x").startswith(b"+OK ")
    assert err("x").startswith(b"-ERR ")


def test_P3_006_a_first_line_has_at_most_512_octets() -> None:
    for line in (ok("x" * 1000), err("x" * 1000), err("x" * 1000, "SYS/TEMP"), multiline("y" * 1000, [])[:-3]):
        assert len(line) == REPLY_OCTETS
        assert line.endswith(b"\r\n")
    assert err("x" * 1000, "SYS/TEMP").startswith(b"-ERR [SYS/TEMP] x"), "text is cut, never the code"


def test_EX_004_first_lines_have_at_most_512_octets() -> None:
    assert len(ok("x" * 507)) == len(ok("x" * 506)) == 512
    assert len(ok("x" * 505)) == 511


def test_P3_015_a_space_and_a_text_follow_the_status() -> None:
    new = logged_in()
    said = new.say(
        b"NOOP", b"STAT", b"LIST", b"UIDL", b"RETR 1", b"TOP 1 0", b"DELE 1", b"RSET", b"CAPA", b"X", b"QUIT"
    )
    for line in said.split(b"\r\n"):
        if line.startswith((b"+OK", b"-ERR")):
            assert re.match(rb"(\+OK|-ERR) [!-~]", line)


def test_P3_009_every_multi_line_reply_is_stuffed() -> None:
    assert multiline("x", [b".", b"..", b"a", b""]) == b"+OK x\r\n..\r\n...\r\na\r\n\r\n.\r\n"


def test_RC_001_a_code_stands_first() -> None:
    assert err("text", "IN-USE") == b"-ERR [IN-USE] text\r\n"


def test_RC_009_texts_are_printable_ascii() -> None:
    assert err("a\r\nb\x00c\xe9d", "AUTH") == b"-ERR [AUTH] abc?d\r\n"


def test_EX_014_no_text_begins_with_a_bracket_unless_it_is_a_code() -> None:
    known = rb"\[(?:AUTH|IN-USE|SYS/TEMP|SYS/PERM)\] "
    said = table().say(b"X", b"USER [x]", b"PASS [y]", b"AUTH [z]", b"AUTH PLAIN", b"[x]") + logged_in().say(
        b"RETR [1]"
    )
    for line in said.split(b"\r\n"):
        text = line.partition(b" ")[2]
        assert not text.startswith(b"[") or re.match(known, text)


def test_SEC_002_nothing_a_client_sent_comes_back() -> None:
    token = b"zqxwv"
    said = table().say(
        token, b"USER " + token, b"PASS " + token, b"AUTH " + token, b"AUTH PLAIN " + token, b"APOP " + token
    )
    said += logged_in().say(token, b"RETR " + token, b"TOP " + token, b"LIST " + token, b"QUIT " + token)
    assert token not in said.lower()


def test_SEC_008_nul_and_stray_octets_are_refused() -> None:
    for argument in (b"fr\x00ed", b"fr\xffed", b"fr\ted", b"fr\red", b"fr\x7fed"):
        assert table().say(b"USER " + argument).startswith(b"-ERR argument must ")
        new = table()
        new.say(b"USER fred")
        assert new.say(b"PASS " + argument).startswith(b"-ERR argument must ")
    assert table().say(b"US\x00ER fred") == b"-ERR unknown command\r\n"
    assert table().say("USER frèd".encode()) == b"+OK send PASS\r\n"


def test_SEC_015_no_secret_shows_in_a_repr() -> None:
    new = table()
    new.say(b"USER fred")
    for line in (b"PASS hunter2", b"AUTH PLAIN AGEAaHVudGVyMg=="):
        effect = new.session.handle(line)
        assert "hunter2" not in repr(effect)
        new.say(b"USER fred")


def test_every_state_has_its_own_table() -> None:
    commands = {state: set(table().session._tables.by_state[state]) for state in State}
    assert not commands[State.UPDATE] and not commands[State.CLOSED]
    assert commands[State.AUTHORIZATION] & commands[State.TRANSACTION] == {b"QUIT", b"CAPA"}
