"""Whose a client certificate is, by each way and by several at once."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from popserv.accounts.certificate import CertificatePlugin, Options, plugin
from popserv.auth.certificate_map import LOOK_SECONDS
from popserv.auth.chain import CheckerChain, CredentialsRefused, UnknownAccount
from popserv.auth.client_certificate import PRINCIPAL_NAME, ClientCertificate
from popserv.interfaces import IAccounts, IAuthorizes, ICapable, IClientCertificate, IRecognizes
from popserv.net.channel import CLEAR
from popserv.testing import MemoryAccounts
from popserv.testing.talk import TalkChannel
from tests.client_certificates import Issued, issue

from .context import Context

FRED = issue("fred@example.org")
BOTH = issue("fred@example.org", "sales@example.org")
NOBODY = issue()


def shown(issued: Issued | None) -> TalkChannel:
    """A connection that has brought this certificate."""
    return TalkChannel(certificate=issued.der if issued is not None else None)


class Certificates(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.context = Context(self.directory)

    def checker(self, **options: Any) -> Any:
        return plugin.build("", Options(**options), self.context)

    def name(self, checker: Any, issued: Issued, authorization: bytes = b"") -> bytes:
        name: bytes = self.successResultOf(checker.requestAvatarId(ClientCertificate(issued.der, authorization)))
        return name

    def refusal(self, checker: Any, issued: Issued, authorization: bytes = b"") -> type[BaseException] | None:
        work = checker.requestAvatarId(ClientCertificate(issued.der, authorization))
        return self.failureResultOf(work, UnauthorizedLogin).type

    def test_interfaces(self) -> None:
        checker = self.checker()
        for interface in (ICredentialsChecker, ICapable, IRecognizes):
            verifyObject(interface, checker)
        verifyObject(IAccounts, plugin)
        # It tells who somebody is; whether he may act as another is for the chain to say.
        self.assertFalse(IAuthorizes.providedBy(checker))

    def test_EXT_003_a_whole_address_is_the_name(self) -> None:
        self.assertEqual(self.name(self.checker(), issue("Fred@Example.ORG")), b"fred@example.org")
        kept = CertificatePlugin().build("", Options(), Context(self.directory, case="keep"))
        self.assertEqual(self.name(kept, issue("Fred@Example.ORG")), b"Fred@example.org")

    def test_EXT_003_of_a_domain_that_is_ours_the_local_part_is(self) -> None:
        checker = self.checker(domains=("Example.org",))
        self.assertEqual(self.name(checker, issue("fred@EXAMPLE.org")), b"fred")
        self.assertEqual(self.name(checker, issue("fred@sub.example.org")), b"fred@sub.example.org")
        self.assertEqual(self.name(checker, issue("fred@notexample.org")), b"fred@notexample.org")

    def test_EXT_003_principal_names_are_names_where_that_is_said(self) -> None:
        principal = x509.OtherName(PRINCIPAL_NAME, b"\x0c\x10fred@example.org")
        issued = issue("mail@example.net", names=[principal])
        self.assertEqual(self.name(self.checker(by=("upn",)), issued), b"fred@example.org")
        self.assertEqual(self.name(self.checker(by=("upn",), domains=("example.org",)), issued), b"fred")
        self.assertEqual(self.name(self.checker(), issued), b"mail@example.net")
        self.assertEqual(self.name(self.checker(by=("email", "upn")), issued, b"fred@example.org"), b"fred@example.org")
        self.assertIs(self.refusal(self.checker(by=("upn",)), FRED), UnknownAccount)

    def test_EXT_003_a_subject_that_is_mapped(self) -> None:
        (self.directory / "subjects").write_text("fred CN=fred,O=Example,C=DE\n")
        checker = self.checker(by=("dn",), dn_map="subjects")
        self.assertEqual(self.name(checker, NOBODY), b"fred")
        self.assertEqual(self.name(checker, issue("ann@example.org")), b"fred", "addresses do not count here")

    def test_EXT_003_a_fingerprint_that_is_mapped(self) -> None:
        (self.directory / "prints").write_text(f"fred {FRED.fingerprint}\nann {NOBODY.fingerprint.replace(':', '')}\n")
        checker = self.checker(by=("fingerprint",), fingerprint_map="prints")
        self.assertEqual((self.name(checker, FRED), self.name(checker, NOBODY)), (b"fred", b"ann"))
        self.assertIs(self.refusal(checker, issue("fred@example.org")), UnknownAccount)

    def test_EXT_002_a_certificate_of_nobody_is_left_to_the_next_database(self) -> None:
        self.assertIs(self.refusal(self.checker(), NOBODY), UnknownAccount)
        self.assertIs(self.refusal(self.checker(), issue("a/b@example.org")), UnknownAccount)

    def test_EXT_002_of_several_accounts_the_authorization_identity_picks_one(self) -> None:
        checker = self.checker(domains=("example.org",))
        self.assertIs(self.refusal(checker, BOTH), CredentialsRefused)
        self.assertEqual(self.name(checker, BOTH, b"sales"), b"sales")
        self.assertEqual(self.name(checker, BOTH, b"fred"), b"fred")
        self.assertIs(self.refusal(checker, BOTH, b"ann"), CredentialsRefused)
        self.assertEqual(self.name(checker, issue("fred@example.org", "FRED@example.org")), b"fred")

    def test_EXT_002_several_ways_give_all_their_accounts(self) -> None:
        (self.directory / "prints").write_text(f"ann {FRED.fingerprint}\n")
        checker = self.checker(by=("email", "fingerprint"), fingerprint_map="prints", domains=("example.org",))
        self.assertIs(self.refusal(checker, FRED), CredentialsRefused)
        self.assertEqual(self.name(checker, FRED, b"ann"), b"ann")

    def test_EXT_002_nobody_acts_as_somebody_else_without_permission(self) -> None:
        checker = self.checker(domains=("example.org",))
        chain = CheckerChain([checker, MemoryAccounts({"ann": b"secret"})])
        self.assertIs(self.refusal(chain, FRED, b"ann"), CredentialsRefused)
        self.assertEqual(self.name(chain, FRED, b"fred"), b"fred")
        masters = CheckerChain([checker], lambda name, _other: name == b"fred")
        self.assertEqual(self.name(masters, FRED, b"ann"), b"ann")

    def test_EXT_003_what_a_connection_shows_is_recognized_or_not(self) -> None:
        checker = self.checker()
        chain = CheckerChain([MemoryAccounts({"fred": b"secret"}), checker])
        for each in (checker, chain):
            self.assertTrue(each.recognizes(IClientCertificate, shown(FRED)))
            for nothing in (shown(NOBODY), shown(None), CLEAR):
                self.assertFalse(each.recognizes(IClientCertificate, nothing))

    def test_EXT_003_a_map_that_has_changed_counts_at_the_next_login(self) -> None:
        prints = self.directory / "prints"
        prints.write_text("")
        checker = self.checker(by=("fingerprint",), fingerprint_map="prints")
        self.assertFalse(checker.verifies(IClientCertificate), "there is nobody in it")
        prints.write_text(f"fred {FRED.fingerprint}\n")
        self.context.reactor.advance(LOOK_SECONDS)
        self.assertEqual(self.name(checker, FRED), b"fred")
        self.assertTrue(checker.verifies(IClientCertificate))
        prints.write_text("# nobody any more\n")
        self.context.reactor.advance(LOOK_SECONDS)
        self.assertIs(self.refusal(checker, FRED), UnknownAccount)

    def test_options_that_do_not_go_together(self) -> None:
        for options in (
            Options(by=()),
            Options(by=("dn",)),
            Options(by=("fingerprint",)),
            Options(dn_map="subjects"),
            Options(fingerprint_map="prints"),
            Options(by=("dn",), dn_map="subjects", domains=("example.org",)),
        ):
            with self.assertRaises(ValueError):
                plugin.build("", options, self.context)
            self.assertTrue(plugin.check("", options, self.context))
        with self.assertRaises(ValueError):
            plugin.build("fred", Options(), self.context)
        self.assertEqual(plugin.check("", Options(), self.context), [])

    def test_check_tells_what_is_wrong_with_the_files(self) -> None:
        (self.directory / "prints").write_text("fred nonsense\n")
        options = Options(by=("dn", "fingerprint"), dn_map="subjects", fingerprint_map="prints")
        subjects, prints = plugin.check("", options, self.context)
        self.assertEqual(subjects, f"dn_map: {self.directory / 'subjects'}: No such file or directory")
        self.assertIn(f"fingerprint_map: {self.directory / 'prints'}: line 1: is no SHA-256 fingerprint", prints)
