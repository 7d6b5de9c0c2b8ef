"""Endpoint strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.service.endpoints import Endpoint, parse


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp:110", Endpoint("tcp", port=110)),
        ("tcp:port=110", Endpoint("tcp", port=110)),
        ("tcp:0:interface=127.0.0.1:backlog=5", Endpoint("tcp", interface="127.0.0.1", backlog=5)),
        ("tcp6:995", Endpoint("tcp6", port=995)),
        (r"tcp6:995:interface=\:\:1", Endpoint("tcp6", port=995, interface="::1")),
        ("unix:/run/popserv/lmtp", Endpoint("unix", path="/run/popserv/lmtp")),
        (r"unix:a\:b:mode=600:lockfile=0", Endpoint("unix", path="a:b", mode=0o600, lockfile=False)),
        ("systemd:INET6:index=1", Endpoint("systemd", domain="INET6", index=1)),
        ("systemd:domain=UNIX:name=lmtp", Endpoint("systemd", domain="UNIX", name="lmtp")),
    ],
)
def test_what_a_string_means(text: str, endpoint: Endpoint) -> None:
    assert parse(text) == endpoint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ssl:995", 'tls = "implicit"'),
        ("tls:995", 'tls = "implicit"'),
        ("haproxy:tcp:110", "proxy = "),
        ("tpc:110", "did you mean 'tcp'?"),
        ("", "must begin with tcp:, tcp6:, unix: or systemd:"),
        ("110", "must begin with"),
        ("tcp", "needs its port"),
        ("tcp:", "needs its port"),
        ("tcp:pop3", "port must be a number"),
        ("tcp:65536", "port must be a number"),
        ("tcp:+1", "port must be a number"),
        ("tcp:\u0661", "port must be a number"),
        ("tcp:110:interface=localhost", "numeric address"),
        (r"tcp:110:interface=\:\:1", "write tcp6:"),
        ("tcp6:110:interface=127.0.0.1", "write tcp:"),
        ("tcp6:110:interface=::1", r"written \:"),
        ("tcp:110:mode=600", "takes backlog=, interface=, port= here"),
        ("unix:", "needs its address"),
        ("unix:/x:mode=999", "octal"),
        ("unix:/x:lockfile=2", "lockfile must be a number from 0 to 1"),
        ("systemd:IPX", "INET, INET6 or UNIX"),
    ],
)
def test_errors_say_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        parse(text)
    assert hint in str(raised.value)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("unix:/x", True),
        ("systemd:INET", True),
        ("tcp:24:interface=127.0.0.1", True),
        (r"tcp6:24:interface=\:\:1", True),
        ("tcp:24:interface=192.0.2.1", False),
        ("tcp:24", False),
        ("tcp6:24", False),
    ],
)
def test_who_can_reach_it(text: str, local: bool) -> None:
    assert parse(text).local is local


@given(st.text(alphabet="tcp6unix:\\=0123456789interfacemode./[]*", max_size=40))
def test_any_text_is_an_endpoint_or_an_error(text: str) -> None:
    try:
        endpoint = parse(text)
    except ValueError as error:
        assert str(error)
    else:
        assert text.startswith(f"{endpoint.kind}:")
