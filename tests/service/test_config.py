"""The configuration file: what it means, and that everything wrong with it is said at once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.limits import Limits
from popserv.service.config import ConfigErrors, find, from_table, load
from popserv.service.schema import CertificateFiles, Config, Listen

TLS = {"tls": {"certificate": "fullchain.pem", "key": "key.pem"}}


def configure(text: str, serving: bool = False) -> Config:
    return from_table(tomllib.loads(text), Path("/etc/popserv"), serving)


def errors(text: str, serving: bool = False) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as raised:
        configure(text, serving)
    found = dict(raised.value.errors)
    assert len(found) == len(raised.value.errors)
    return found


def test_defaults() -> None:
    config = configure("")
    assert config.listeners == (Listen("tcp6:110", tls="starttls"), Listen("tcp6:995", tls="implicit"))
    assert config.server.workers == 1
    assert config.auth.checkers == ("sqlite:accounts.db",)
    assert config.auth.mechanisms == ("default",)
    assert (config.auth.cleartext, config.auth.failure_delay, config.auth.case) == ("never", 2.0, "fold")
    assert (config.maildrop.location, config.maildrop.lock) == ("maildir:/srv/mail/{user}", "exclusive")
    assert config.lmtp.message_octets == 104857600
    assert config.pop3.extensions == ()
    assert config.connection_limits() == Limits()


def test_limits_and_failures_bound_connections() -> None:
    limits = configure("auth.max_failures = 5\nlimits.idle_seconds = 700\nlimits.bad_commands = 9").connection_limits()
    assert (limits.login_failures, limits.idle_seconds, limits.bad_commands) == (5, 700.0, 9)
    assert limits.login_seconds == Limits().login_seconds


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "popserv.toml").write_text('[tls]\ncertificate = "a.pem"\nkey = "/k.pem"\n')
    config = load(tmp_path / "popserv.toml")
    assert [config.path(name) for name in ("a.pem", "/k.pem")] == [tmp_path / "a.pem", Path("/k.pem")]


def test_several_certificates() -> None:
    config = configure('[tls]\ncertificate = [{certificate = "a", key = "b"}, {certificate = "c", key = "d"}]', True)
    assert config.tls.pairs == (CertificateFiles("a", "b"), CertificateFiles("c", "d"))


def test_tables_of_plug_ins() -> None:
    config = configure('[auth.passwd-file]\ndefault_scheme = "PLAIN"\n[maildrop.maildir]\nline_ends = "lf"')
    assert config.auth.options["passwd-file"].default_scheme == "PLAIN"
    assert config.maildrop.options["maildir"].line_ends == "lf"


def test_an_array_of_certificates_is_not_empty(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        from_table({"tls": {"certificate": []}}, tmp_path)
    assert caught.value.errors == (("tls.certificate", "must not be an empty array"),)


def test_every_error_at_once() -> None:
    found = errors("""
        [server]
        hostnme = "mail.example.org"
        workers = true
        [[listen]]
        endpoint = "ssl:995"
        [[listen]]
        protocol = "pop2"
        [[listen]]
        endpoint = "tcp:110"
        tls = "implict"
        [auth]
        checkers = ["sqlite:accounts.db", "sqlit:accounts.db"]
        mechanisms = ["default", "plian"]
        cleartext = ["10.0.0.0/8", "10.0.0.1/8"]
        max_failures = "5"
        [auth.passwd-file]
        default_schema = "PLAIN"
        [auth.passwdfile]
        [maildrop]
        location = "maildri:/srv/mail"
        lock = "takeovr"
        [limits]
        idle_seconds = 599
        connections = true
        login_seconds = nan
        [lmpt]
    """)
    later = "this version of popserv does not have it"
    assert found == {
        "server.hostnme": "unknown key; did you mean 'hostname'?",
        "server.workers": "must be a whole number",
        "listen[0].endpoint": 'TLS is a key, no endpoint prefix: write endpoint = "tcp:…" and tls = "implicit"',
        "listen[1].endpoint": "is missing",
        "listen[1].protocol": f"pop2: {later}",
        "listen[2].tls": 'must be one of "starttls", "implicit", "off"; did you mean \'implicit\'?',
        "auth.checkers[1]": "sqlit: unknown name; did you mean 'sqlite'?",
        "auth.mechanisms[1]": "plian: unknown name; did you mean 'plain'?",
        "auth.cleartext": "10.0.0.1/8 has host bits set",
        "auth.max_failures": "must be a whole number",
        "auth.passwd-file.default_schema": "unknown key; did you mean 'default_scheme'?",
        "auth.passwdfile": "passwdfile: unknown name; did you mean 'passwd-file'?",
        "maildrop.location": "maildri: unknown name; did you mean 'maildir'?",
        "maildrop.lock": 'must be one of "exclusive", "takeover", "none"; did you mean \'takeover\'?',
        "limits.idle_seconds": "must be at least 600 (RFC 1939 section 3)",
        "limits.connections": "must be a whole number",
        "limits.login_seconds": "must be a finite number",
        "lmpt": "unknown key; did you mean 'lmtp'?",
    }


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("server.workers = 0", "server.workers"),
        ("server.workers = 4", "server.workers"),
        ('listen = [{endpoint = "tcp:110", protocol = "kpop"}]', "listen[0].protocol"),
        ('listen = [{endpoint = "tcp:110", proxy = ["10.0.0.0/8"]}]', "listen[0].proxy"),
        ('maildrop.location = "postgres:x"', "maildrop.location"),
    ],
)
def test_what_this_version_lacks_is_said(line: str, key: str) -> None:
    found = errors(line)
    assert list(found) == [key]
    assert "this version of popserv does not have it" in found[key]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('limits.bad_commands = "20"', "must be a whole number"),
        ("limits.bad_commands = 20.0", "must be a whole number"),
        ("limits.bad_commands = true", "must be a whole number"),
        ("limits.bad_commands = 0", "must be at least 1"),
        ("limits.command_octets = 254", "must be at least 255 (RFC 2449 section 4)"),
        ("limits.login_seconds = true", "must be a number"),
        ("limits.login_seconds = inf", "must be a finite number"),
        ('limits = "many"', "must be a table"),
        ("server.hostname = 1", "must be a string"),
        ('server.hostname = "a b"', "must be a host name: printable ASCII without spaces, at most 255"),
        ('server.hostname = ""', "must be a host name: printable ASCII without spaces, at most 255"),
        ('listen = {endpoint = "tcp:1"}', "must be an array"),
        ("listen = [1]", "must be a table"),
        ("auth.checkers = []", "must not be empty"),
        ('auth.checkers = "sqlite:a"', "must be an array"),
        ('auth.case = "lower"', 'must be one of "fold", "keep"'),
        ('auth.cleartext = "sometimes"', 'must be "never", "loopback", "always" or an array'),
        ('pop3.extensions = ["lats"]', "lats: unknown name; did you mean 'last'?"),
        ('maildrop.location = "/srv/mail"', 'a location is written "scheme:place"'),
        ("maildrop.maildrop = 1", "unknown key"),
    ],
)
def test_one_error(line: str, message: str) -> None:
    assert list(errors(line).values()) == [message]


def test_bounds_are_inside() -> None:
    config = configure("[limits]\nidle_seconds = 600\ncommand_octets = 255\nbad_commands = 1\ndrain_seconds = 0")
    assert (config.limits.idle_seconds, config.limits.command_octets) == (600.0, 255)


def test_listeners_need_a_certificate() -> None:
    found = errors("", serving=True)
    assert list(found) == ["tls.certificate"]
    assert 'write [tls] certificate = "fullchain.pem" and key = "key.pem"' in found["tls.certificate"]
    assert configure("", serving=False).tls.pairs == ()
    without = configure('[[listen]]\nendpoint = "tcp:110"\ntls = "off"', serving=True)
    assert without.tls.pairs == ()


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('tls.certificate = "a.pem"', "tls.key"),
        ('tls.key = "a.key"', "tls.certificate"),
        ('tls = {certificate = [{certificate = "a", key = "b"}], key = "c"}', "tls.key"),
        ('tls.certificate = [{certificate = "a"}]', "tls.certificate[0].key"),
    ],
)
def test_half_a_certificate(line: str, key: str) -> None:
    assert list(errors(line, serving=True)) == [key]


def test_an_address_is_used_once() -> None:
    listen = '[[listen]]\nendpoint = "tcp:{0}"\ntls = "off"\n' * 2
    assert list(errors(listen.format(110), serving=True)) == ["listen[1].endpoint"]
    assert len(configure(listen.format(0), serving=True).listeners) == 2


def test_strcred_checkers_are_known(tmp_path: Path) -> None:
    assert configure('auth.checkers = ["file:passwords"]').auth.checkers == ("file:passwords",)


def test_no_toml(tmp_path: Path) -> None:
    file = tmp_path / "popserv.toml"
    for octets in (b"[server\n", b"\xff = 1\n"):
        file.write_bytes(octets)
        with pytest.raises(ConfigErrors, match=r"popserv\.toml: "):
            load(file)
    with pytest.raises(ConfigErrors, match="No such file"):
        load(tmp_path / "other.toml")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("POPSERV_CONFIG", raising=False)
    monkeypatch.setattr("popserv.service.config.PLACES", ("popserv.toml", str(tmp_path / "etc.toml")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_where_the_file_is_looked_for(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigErrors) as raised:
        find()
    for place in ("$POPSERV_CONFIG", "./popserv.toml", "etc.toml"):
        assert place in str(raised.value)
    (nowhere / "etc.toml").touch()
    assert find() == nowhere / "etc.toml"
    (nowhere / "popserv.toml").touch()
    assert find() == Path("popserv.toml")
    monkeypatch.setenv("POPSERV_CONFIG", "/elsewhere/popserv.toml")
    assert find() == Path("/elsewhere/popserv.toml")


def test_the_places_of_a_fresh_machine() -> None:
    from popserv.service.config import PLACES

    assert PLACES == ("popserv.toml", "/etc/popserv/popserv.toml")


SECTIONS = st.sampled_from(["server", "listen", "tls", "auth", "maildrop", "pop3", "lmtp", "limits", "x"])
KEYS = st.sampled_from(["hostname", "endpoint", "certificate", "checkers", "location", "options", "cleartext", "y"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(SECTIONS, VALUES | st.dictionaries(KEYS, VALUES, max_size=4), max_size=5))
def test_whatever_stands_in_the_file_is_a_configuration_or_errors(table: dict[str, object]) -> None:
    try:
        config = from_table(table, Path("/"), serving=False)
    except ConfigErrors as wrong:
        assert wrong.errors
        assert all("\n" not in line for line in wrong.lines)
    else:
        assert isinstance(config, Config)
