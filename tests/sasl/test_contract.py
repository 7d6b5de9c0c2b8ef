"""Every mechanism here against the public contract."""

from __future__ import annotations

import pkgutil
from base64 import b64encode
from importlib import import_module
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import tests.sasl
from popserv import plugins
from popserv.accounts.certificate import AddressRule, CertificateAccounts
from popserv.accounts.passwd_file import PasswdFile
from popserv.auth.chain import CredentialsRefused
from popserv.auth.scram_keys import ScramKeys
from popserv.interfaces import IBearerToken
from popserv.pools import InlinePool
from popserv.service.rehearsal import ScramClient, client
from popserv.testing.accounts import MemoryAccounts
from popserv.testing.mechanism_contract import MechanismContract
from popserv.testing.talk import TalkChannel
from tests.accounts.context import new_path
from tests.client_certificates import issue


class PlainTests(MechanismContract, SynchronousTestCase):
    mechanism = plugins.find("sasl", "plain")

    def client(self, name, secret):
        message, _respond = client("plain", name, secret)
        return lambda _challenge: message

    def checker(self, accounts):
        return MemoryAccounts(accounts)


class LoginTests(MechanismContract, SynchronousTestCase):
    mechanism = plugins.find("sasl", "login")

    def client(self, name, secret):
        return client("login", name, secret)[1]

    def checker(self, accounts):
        return MemoryAccounts(accounts)


class CramMd5Tests(MechanismContract, SynchronousTestCase):
    mechanism = plugins.find("sasl", "cram-md5")

    def client(self, name, secret):
        return client("cram-md5", name, secret)[1]

    def checker(self, accounts):
        return MemoryAccounts(accounts)


class ScramSha256Tests(MechanismContract, SynchronousTestCase):
    mechanism = plugins.find("sasl", "scram-sha-256")
    header, binding = b"n,,", b""

    def client(self, name, secret):
        scram = ScramClient(self.hash_name, name, secret, header=self.header, binding=self.binding)
        return lambda challenge: scram.respond(challenge) if challenge else scram.first()

    def checker(self, accounts):
        path = new_path(self)
        # Few iterations, so that many examples are quick.
        made = {name: ScramKeys.make(secret, self.hash_name, 4) for name, secret in accounts.items()}
        scheme = self.mechanism.name.decode().removesuffix("-PLUS")
        path.write_text("".join(f"{name}:{{{scheme}}}{keys.to_text()}\n" for name, keys in made.items()))
        return PasswdFile(path, InlinePool(), InlinePool(), secret=b"s" * 32)

    @property
    def hash_name(self) -> Any:
        return self.mechanism.name.decode().removesuffix("-PLUS").removeprefix("SCRAM-").replace("-", "").lower()


class ScramSha1Tests(ScramSha256Tests):
    mechanism = plugins.find("sasl", "scram-sha-1")


class ScramSha512Tests(ScramSha256Tests):
    mechanism = plugins.find("sasl", "scram-sha-512")


class ScramSha256PlusTests(ScramSha256Tests):
    mechanism = plugins.find("sasl", "scram-sha-256-plus")
    header, binding = b"p=tls-exporter,,", b"e" * 32


class ScramSha1PlusTests(ScramSha256PlusTests):
    mechanism = plugins.find("sasl", "scram-sha-1-plus")
    header, binding = b"p=tls-server-end-point,,", b"h" * 32


class ScramSha512PlusTests(ScramSha256PlusTests):
    mechanism = plugins.find("sasl", "scram-sha-512-plus")


CERTIFICATES = {"fred": issue("fred@example.org"), "nora": issue("nora@example.org"), "nobody": issue()}


@implementer(ICredentialsChecker)
class Tokens:
    """Each account's secret, in base64, is its token."""

    credentialInterfaces = (IBearerToken,)

    def __init__(self, accounts):
        self._owners = {b64encode(secret): name.encode() for name, secret in accounts.items()}

    def requestAvatarId(self, credentials):
        return ensureDeferred(self._check(credentials))

    async def _check(self, credentials):
        owner = self._owners.get(credentials.token)
        if owner is None or credentials.username not in (b"", owner):
            await credentials.refuse("invalid_token")
            raise CredentialsRefused("not a token of this account")
        return owner


class OAuthBearerTests(MechanismContract, SynchronousTestCase):
    mechanism = plugins.find("sasl", "oauthbearer")

    def client(self, name, secret):
        message, last_words = client(self.mechanism.name.decode().lower(), name, b64encode(secret))
        return lambda challenge: last_words(challenge) if challenge else message

    def checker(self, accounts):
        return Tokens(accounts)


class XOAuth2Tests(OAuthBearerTests):
    mechanism = plugins.find("sasl", "xoauth2")


class ExternalTests(MechanismContract, SynchronousTestCase):
    """The secret chooses the certificate that the connection has brought; the client only says whom to act as."""

    mechanism = plugins.find("sasl", "external")
    shown = CERTIFICATES["fred"]

    def client(self, name, secret):
        owners = {known: owner for owner, known in self.accounts.items()}
        self.shown = CERTIFICATES[owners.get(secret, "nobody")]
        return lambda _challenge: name

    def channel(self):
        return TalkChannel(certificate=self.shown.der)

    def checker(self, accounts):
        return CertificateAccounts(AddressRule(frozenset({"example.org"}), "fold"))


def held(contract: type) -> set[str]:
    """The names of all mechanisms that have a test class."""
    found = {contract.mechanism.name.decode().lower()} if hasattr(contract, "mechanism") else set()
    return found.union(*map(held, contract.__subclasses__()))


def test_every_mechanism_has_a_test_class() -> None:
    for module in pkgutil.iter_modules(tests.sasl.__path__):
        import_module(f"tests.sasl.{module.name}")
    # Who is anonymous has no secret that could be wrong: tests/sasl/test_anonymous.py.
    # GSSAPI has none without a KDC: tests/peers/kerberos.
    assert sorted(set(plugins.names("sasl")) - held(MechanismContract)) == ["anonymous", "gssapi"]
