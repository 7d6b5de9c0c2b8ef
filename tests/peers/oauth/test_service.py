"""A whole popserv with tokens of a real OpenID provider, by real clients, over TLS."""

from __future__ import annotations

import json
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.running import collect, folder, private, run
from tests.peers import service
from tests.peers.oauth.provider import AUDIENCE, SECRET, OidcProvider
from tests.peers.programs import program
from tests.peers.service import Served

FRED, JOE = "fred@example.org", "joe@example.org"
OPAQUE = AUDIENCE + "/opaque"
"""The resource whose tokens are no JWT."""
MESSAGE = b"Subject: hello\r\n\r\nby token\r\n"
PASSWORD = "a quiet word"

CONFIGURATION = """
[server]
hostname = "localhost"

[auth]
checkers = ["passwd-file:users", "oauth2:ISSUER"]
failure_delay = 0

[auth.oauth2]
audience = ["AUDIENCE"]
scope = "mail"
client_id = "popserv"
client_secret_file = "secret"
ca_file = "CA"
answer_seconds = 1.5
remember_seconds = 0
"""


@pytest.fixture(scope="module")
def popserv(provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = prepared(provider, tmp_path_factory.mktemp("oauth"))
    with service.serving(directory, configuration(provider)) as served:
        yield served


def prepared(provider: OidcProvider, directory: Path) -> Path:
    (directory / "secret").write_text(SECRET + "\n")
    (directory / "users").write_text(f"{FRED}:{{PLAIN}}{PASSWORD}\n")
    new = directory / "mail" / FRED / "new"
    new.mkdir(parents=True)
    (new / "1.message").write_bytes(MESSAGE)
    return directory


def configuration(provider: OidcProvider) -> str:
    named = {"ISSUER": provider.issuer, "AUDIENCE": AUDIENCE, "CA": str(provider.folder / "ca.pem")}
    text = CONFIGURATION
    for name, value in named.items():
        text = text.replace(name, value)
    return text


def cafile(served: Served, workdir: Path) -> Path:
    path = workdir / "ca.pem"
    path.write_text("".join(map(ssl.DER_cert_to_PEM_cert, served.context.get_ca_certs(binary_form=True))))
    return path


LogIn = Callable[[Served, str, str, str, Path], bytes]
"""(server, mechanism, user, token, empty folder) → the first message; a refusal is an `AssertionError`."""


def curl(served: Served, mechanism: str, user: str, token: str, workdir: Path) -> bytes:
    settings = [
        f'user = "{user}:"',
        f'oauth2-bearer = "{token}"',
        f'login-options = "AUTH={mechanism}"',
        f'cacert = "{cafile(served, workdir)}"',
        "silent",
        "show-error",
    ]
    rc = private(workdir / "rc", settings)
    return run(["curl", "-q", "-K", str(rc), f"pop3s://localhost:{served.port}/1"], workdir)


def mpop(served: Served, mechanism: str, user: str, token: str, workdir: Path) -> bytes:
    out = folder(workdir, "out")
    settings = [
        "account oauth",
        "host localhost",
        f"port {served.port}",
        f"user {user}",
        # A line of its configuration has 500 characters at most.
        f"passwordeval cat {private(workdir / 'token', [token])}",
        f"auth {mechanism.lower()}",
        "keep on",
        f"uidls_file {workdir / 'uidls'}",
        "received_header off",
        "tls on",
        "tls_starttls off",
        f"tls_trust_file {cafile(served, workdir)}",
        f"delivery exchange {out}",
    ]
    run(["mpop", "-C", str(private(workdir / "rc", settings)), "-Q", "oauth"], workdir)
    return collect(out, lambda _path: 0)[0]


def exchange(served: Served, mechanism: str, user: str, token: str) -> tuple[str, Any]:
    """The last reply, and what was told before it."""
    first = {
        "OAUTHBEARER": f"n,a={user},\1auth=Bearer {token}\1\1",
        "XOAUTH2": f"user={user}\1auth=Bearer {token}\1\1",
    }[mechanism]
    client = served.connect()
    try:
        client.sock.sendall(b"AUTH %b %b\r\n" % (mechanism.encode(), b64encode(first.encode())))
        line, told = client.file.readline(), None
        if line.startswith(b"+ "):
            told = json.loads(b64decode(line[2:]))
            client.sock.sendall(b"AQ==\r\n" if mechanism == "OAUTHBEARER" else b"\r\n")
            line = client.file.readline()
        client.sock.sendall(b"CAPA\r\n")
        assert client.file.readline().startswith(b"+OK"), "the session goes on"
        return line.decode("ascii").strip(), told
    finally:
        client.close()


CLIENTS: dict[str, LogIn] = {"curl": curl, "mpop": mpop}


@pytest.mark.parametrize("resource", [AUDIENCE, OPAQUE], ids=["jwt", "opaque"])
@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("name", CLIENTS)
def test_OA_010_real_clients_get_their_mail(
    popserv: Served, provider: OidcProvider, name: str, mechanism: str, resource: str, tmp_path: Path
) -> None:
    program(name)
    token = provider.token(FRED, resource=resource)
    assert ("." in token) == (resource == AUDIENCE)
    for number, (user, given) in enumerate([(FRED, token), (FRED, token[:-4]), (JOE, token)]):
        workdir = folder(tmp_path, str(number))
        if number == 0:
            assert CLIENTS[name](popserv, mechanism, user, given, workdir) == MESSAGE
        else:
            with pytest.raises(AssertionError):
                CLIENTS[name](popserv, mechanism, user, given, workdir)


def test_OA_008_who_is_refused_is_told_why(popserv: Served, provider: OidcProvider) -> None:
    told = {
        "scope": "mail",
        "openid-configuration": provider.issuer + "/.well-known/openid-configuration",
    }
    elsewhere = provider.token(FRED, resource="https://calendar.example.org")
    for token, status in (
        (elsewhere, "invalid_token"),
        (provider.token(FRED, scope="openid calendar"), "insufficient_scope"),
        (provider.token(FRED, resource=OPAQUE, scope="openid calendar"), "insufficient_scope"),
        ("no-token-at-all", "invalid_token"),
        ("x" * 16_000, "invalid_token"),
        ("x" * 65_000, "invalid_token"),
    ):
        assert exchange(popserv, "OAUTHBEARER", "", token) == (service.REFUSED, {"status": status, **told})
        xoauth2 = {"status": "401", "schemes": "bearer", "scope": "mail"}
        assert exchange(popserv, "XOAUTH2", FRED, token) == (service.REFUSED, xoauth2)
    # OA-011: good, and somebody else's.
    assert exchange(popserv, "OAUTHBEARER", FRED, provider.token(JOE))[0] == service.REFUSED
    log = "".join(popserv.log)
    assert f"oauth2: token refused: issuer={provider.issuer} peer=127.0.0.1 why=audience" in log
    assert elsewhere not in log and SECRET not in log


def test_an_account_has_to_be_known_elsewhere_unless_it_need_not(
    popserv: Served, provider: OidcProvider, tmp_path: Path
) -> None:
    assert exchange(popserv, "OAUTHBEARER", "", provider.token(JOE))[0].startswith("-ERR")
    assert exchange(popserv, "OAUTHBEARER", "", provider.token(FRED))[0].startswith("+OK")
    text = configuration(provider)
    for number, change in enumerate(
        [
            text + "unknown_accounts = true\n",
            text.replace('"passwd-file:users", ', ""),
        ]
    ):
        directory = prepared(provider, folder(tmp_path, str(number)))
        with service.serving(directory, change) as served:
            for account in (FRED, JOE):
                reply, told = exchange(served, "OAUTHBEARER", "", provider.token(account))
                assert reply.startswith("+OK"), reply
                assert told is None
            assert served.login(FRED, PASSWORD).startswith("+OK") == (number == 0)


def test_OA_016_the_provider_goes_away_changes_its_keys_and_comes_back(popserv: Served, provider: OidcProvider) -> None:
    good, opaque = provider.token(FRED), provider.token(FRED, resource=OPAQUE)
    assert exchange(popserv, "OAUTHBEARER", "", good)[0].startswith("+OK")
    with provider.frozen():
        assert exchange(popserv, "OAUTHBEARER", "", opaque) == (service.TROUBLE, None)
        assert popserv.login(FRED, PASSWORD).startswith("+OK")
    provider.stop()
    assert exchange(popserv, "OAUTHBEARER", "", opaque) == (service.TROUBLE, None)
    assert exchange(popserv, "OAUTHBEARER", "", good)[0].startswith("+OK")
    provider.rotate()
    provider.start()
    for token in (provider.token(FRED), provider.token(FRED, resource=OPAQUE), good):
        assert exchange(popserv, "OAUTHBEARER", "", token)[0].startswith("+OK")
    # It has forgotten this one.
    assert exchange(popserv, "OAUTHBEARER", "", opaque)[0] == service.REFUSED


def test_what_the_commands_say(popserv: Served, provider: OidcProvider) -> None:
    _status, said = service.run(popserv.directory, "check")
    assert "oauth2" not in said, said
    password = popserv.directory / "token"
    password.write_text(provider.token(FRED) + "\n")
    tested = ("auth", "test", FRED, "--mechanism", "oauthbearer", "--password-file", str(password))
    status, said = service.run(popserv.directory, *tested)
    assert (status, "oauth2: accepted" in said) == (0, True), said
    password.write_text("no-token-at-all\n")
    status, said = service.run(popserv.directory, *tested)
    assert (status, "oauth2: unknown" in said) == (1, True), said
    provider.stop()
    try:
        _status, said = service.run(popserv.directory, "check")
        assert f"{provider.issuer}/.well-known/openid-configuration" in said, said
        assert "Connection refused" in said
    finally:
        provider.start()


def test_OA_001_tokens_are_offered_under_tls_only(popserv: Served) -> None:
    client = popserv.connect()
    try:
        assert {"OAUTHBEARER", "XOAUTH2"} <= set(client.capa()["SASL"])
    finally:
        client.close()
