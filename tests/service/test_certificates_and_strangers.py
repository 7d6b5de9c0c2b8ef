"""What is put together of certificate: and public:, and when client certificates are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from popserv.auth.account import Account
from popserv.auth.account_database import Database
from popserv.auth.client_certificate import ClientCertificate
from popserv.auth.login import LoggedIn, LoginService, Peer
from popserv.auth.policy import Gate, Ledger
from popserv.auth.realm import MaildropRealm
from popserv.errors import LoginBarred
from popserv.net.channel import CLEAR
from popserv.net.listener import Listener
from popserv.net.offer import offer
from popserv.pools import InlinePool
from popserv.service import check
from popserv.service.access import Accounts, BuildContext, accounts, chain, store
from popserv.service.certificate import self_signed
from popserv.service.compose import Composer
from popserv.service.config import ConfigErrors
from popserv.service.rules import policy
from popserv.service.schema import Config
from tests.accounts.test_certificate import shown
from tests.client_certificates import CA, issue, revoked

from .test_compose import configure, listeners, result_of

TLS = 'tls = {certificate = "cert.pem", key = "key.pem", client_ca = "clients.pem"}\n'
BOTH = 'auth.checkers = ["sqlite:accounts.db", "certificate:"]\n'
FRED = issue("fred@example.org")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    certificate, key = self_signed(["localhost"])
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "key.pem").chmod(0o600)
    (tmp_path / "clients.pem").write_bytes(CA.cert_pem.bytes())
    Database(tmp_path / "accounts.db").create()
    return tmp_path


def listener(base: Path, text: str) -> Listener:
    (found,) = listeners(configure(base, text))
    return found


def asks(base: Path, text: str) -> bool:
    server = listener(base, text).tls.serverConnectionForTLS(None)
    return bool(server.get_context().get_verify_mode() == SSL.VERIFY_PEER)


def test_TLS_030_where_client_certificates_suffice_external_is_enabled(base: Path) -> None:
    found = listener(base, TLS + BOTH)
    assert asks(base, TLS + BOTH)
    address = IPv4Address("TCP", "127.0.0.1", 1)
    assert b"EXTERNAL" in [each.name for each in offer(found, address, shown(FRED)).mechanisms]
    for channel in (CLEAR, shown(None), shown(issue())):
        assert b"EXTERNAL" not in [each.name for each in offer(found, address, channel).mechanisms]


@pytest.mark.parametrize(
    "text",
    [
        TLS,
        TLS + BOTH + 'auth.mechanisms = ["plain"]\n',
        TLS.replace(', client_ca = "clients.pem"', "") + BOTH,
    ],
)
def test_TLS_029_no_certificate_is_asked_for_that_nobody_could_log_in_with(base: Path, text: str) -> None:
    assert not asks(base, text)


def test_TLS_029_a_map_that_is_empty_now_may_have_somebody_later(base: Path) -> None:
    (base / "prints").touch()
    options = 'auth.certificate = {by = ["fingerprint"], fingerprint_map = "prints"}\n'
    assert asks(base, TLS + BOTH + options)


@pytest.mark.parametrize("broken", ["clients.pem", "crl.pem"])
def test_authorities_that_cannot_be_read_are_an_error(base: Path, broken: str) -> None:
    (base / "crl.pem").write_bytes(revoked())
    (base / broken).write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigErrors) as errors:
        listener(base, TLS.replace("}", ', client_crl = "crl.pem"}') + BOTH)
    ((key, message),) = errors.value.errors
    assert key == "tls.client_ca"
    assert message.startswith(f"{base / broken}: ")


def known(text: str, base: Path) -> tuple[Config, Accounts]:
    config = configure(base, text)
    return config, accounts(config, BuildContext.offline(config, InlinePool()))


def test_EXT_002_an_account_has_to_be_known_where_there_is_a_database(base: Path) -> None:
    Database(base / "accounts.db").add("fred", b"secret")
    _config, found = known(BOTH, base)
    directory = found.directory_after_login()
    assert result_of(directory.account(b"fred")) == Account("fred")
    # Whoever has been removed is out, though his certificate is valid still.
    assert result_of(directory.account(b"ann")) is None


@pytest.mark.parametrize(
    ("setting", "address", "opens"),
    [
        ("", "192.0.2.1", True),
        ("nologin", "192.0.2.1", False),
        ("allow_nets=192.0.2.0/24", "192.0.2.1", True),
        ("allow_nets=192.0.2.0/24", "198.51.100.1", False),
        ("allow_nets=192.0.2.0/24", "", False),
    ],
)
def test_EXT_002_what_bars_an_account_bars_certificates_too(
    base: Path, setting: str, address: str, opens: bool
) -> None:
    (base / "users").write_text(f"fred:{{PLAIN}}x::::::{setting}\n")
    text = 'auth.checkers = ["passwd-file:users", "certificate:"]\nauth.certificate.domains = ["example.org"]\n'
    assert enters(base, text, address) is opens


@pytest.mark.parametrize("enabled", [True, False])
def test_EXT_002_a_disabled_account_is_closed_to_certificates(base: Path, enabled: bool) -> None:
    database = Database(base / "accounts.db")
    database.add("fred", b"secret")
    database.change("fred", enabled=enabled)
    assert enters(base, BOTH + 'auth.certificate.domains = ["example.org"]\n', "192.0.2.1") is enabled


def enters(base: Path, text: str, address: str) -> bool:
    """Whether fred's certificate opens his maildrop from here."""
    config, found = known('maildrop.location = "maildir:mail/{user}"\n' + text, base)
    gate = Gate(policy(config), Ledger(Clock()))
    stores = store(config, BuildContext.offline(config, InlinePool()))
    portal = Portal(MaildropRealm(found.directory_after_login(), stores, gate), [chain(config, found)])
    login = LoginService(portal, clock=Clock())
    outcome = result_of(login.login(ClientCertificate(FRED.der), Peer(address, "s-1", mechanism="EXTERNAL")))
    assert isinstance(outcome, LoggedIn) or outcome.check(LoginBarred)
    return isinstance(outcome, LoggedIn)


def test_accounts_of_certificates_alone_are_vouched_for(base: Path) -> None:
    _config, found = known('auth.checkers = ["certificate:"]\n', base)
    assert result_of(found.directory_after_login().account(b"ann")) == Account("ann")
    assert result_of(found.directory().account(b"ann")) is None


def test_AN_002_anonymous_is_offered_if_it_is_named_and_there_is_a_public_maildrop(base: Path) -> None:
    public = 'auth.checkers = ["sqlite:accounts.db", "public:notices"]\n'
    named = 'auth.mechanisms = ["default", "anonymous"]\n'
    address = IPv4Address("TCP", "127.0.0.1", 1)
    for text, offered in ((public + named, True), (public, False), (named, False)):
        mechanisms = [each.name for each in offer(listener(base, text), address, CLEAR).mechanisms]
        assert (b"ANONYMOUS" in mechanisms) is offered, text
    assert known(public, base)[1].public() == "notices"
    assert known("", base)[1].public() == ""


def test_AN_002_there_is_one_public_maildrop(base: Path) -> None:
    with pytest.raises(ConfigErrors, match="not several"):
        Composer(reactor, None).compose(configure(base, 'auth.checkers = ["public:a", "public:b"]\n'))
    with pytest.raises(ConfigErrors):
        known('auth.checkers = ["public:a/b"]\n', base)


def told(text: str, base: Path) -> list[str]:
    config = configure(base, 'maildrop.location = "maildir:mail/{user}"\nserver.hostname = "localhost"\n' + text)
    return [str(problem) for problem in check.problems(config)]


def test_check_looks_at_client_certificates(base: Path) -> None:
    assert told(TLS + BOTH, base) == []
    (base / "crl.pem").write_bytes(revoked())
    assert told(TLS.replace("}", ', client_crl = "crl.pem"}') + BOTH, base) == []
    (without,) = told(TLS.replace('client_ca = "clients.pem"', 'client_crl = "crl.pem"'), base)
    assert without == "warning: tls.client_crl: has no effect without tls.client_ca"
    (unset,) = told(BOTH, base)
    assert unset.startswith("warning: tls.client_ca: is not set")
    (base / "crl.pem").write_bytes(b"")
    (empty,) = told(TLS.replace("}", ', client_crl = "crl.pem"}') + BOTH, base)
    assert empty == f"tls.client_crl: {base / 'crl.pem'}: holds no revocation list in PEM form"
    (base / "clients.pem").unlink()
    (gone,) = told(TLS + BOTH, base)
    assert gone == f"tls.client_ca: {base / 'clients.pem'}: No such file or directory"


def test_check_tells_that_an_authority_has_expired(base: Path) -> None:
    (base / "clients.pem").write_bytes(issue(days=0).certificate)
    (expired,) = told(TLS + BOTH, base)
    assert expired.startswith("tls.client_ca: expired on ")


def test_what_is_wrong_with_a_map_is_told(base: Path) -> None:
    (base / "prints").write_text("fred nonsense\n")
    options = 'auth.certificate = {by = ["fingerprint"], fingerprint_map = "prints"}\n'
    (wrong,) = told(TLS + BOTH + options, base)
    assert wrong.startswith("auth.checkers[1]: certificate:: fingerprint_map: ")
