"""The LDAP account database over a real server: who is let in, and what of an entry is not understood."""

from __future__ import annotations

import pytest
import trustme
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from popserv.accounts.ldap import plugin
from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.credentials import Password
from popserv.errors import SystemBroken, SystemTrouble
from popserv.interfaces import IAccounts
from popserv.testing.backend_contract import BackendContract
from tests.accounts.context import Context
from tests.peers.ldap.cases import LdapCase
from tests.peers.ldap.server import BASE, PEOPLE, ldap

DN = f"uid={{user}},{PEOPLE}"

STRANGE_NAMES = (
    "*",
    "a*",
    "(uid=fred)",
    "fred)(uid=*",
    "back\\slash",
    "comma,ou=x",
    "plus+cn=x",
    'quo"ted',
    "#hash",
    "less<more>",
    "semi;colon",
    "jürgen",
    "{user}",
)


class ContractTests(LdapCase, BackendContract, TestCase):
    more = {}

    def backend(self, accounts):
        self.server.clear()
        for name, password in accounts.items():
            self.server.add_person(name, password.decode())
        return self.made(**self.more)


class NamedEntryContractTests(ContractTests):
    more = {"dn": DN}


class LoginTests(LdapCase, TestCase):
    async def test_SEC_013_a_name_is_never_part_of_a_filter_or_of_a_distinguished_name(self):
        for name in STRANGE_NAMES:
            self.server.add_person(name, f"of {name}")
        self.server.add_person("fred", "of fred")
        for options in ({}, {"dn": DN}, {"filter": "(&(objectClass=person)(|(uid={local}@{domain})(uid={user})))"}):
            checker = self.made(**options)
            for name in STRANGE_NAMES:
                octets = name.encode()
                assert await self.outcome(checker, octets, b"of " + octets) == octets
                assert await self.outcome(checker, octets, b"of fred") is CredentialsRefused
                assert (await checker.account(octets)).name == name
            for name in (b"fre*", b"fred)(objectClass=*", b"fred,ou=people", b"uid=fred", b"*)(uid=fred"):
                assert await self.outcome(checker, name, b"of fred") is UnknownAccount

    async def test_an_empty_password_never_binds(self):
        dn = self.server.add_person("fred", "secret")
        connection = ldap.initialize(self.server.ldap)
        # This server lets a name without a password in as nobody, as RFC 4513 section 5.1.2 describes.
        assert connection.simple_bind_s(dn, "")[0] == ldap.RES_BIND
        connection.unbind_s()
        checker = self.made()
        for password in (b"", b"\0", b" "):
            assert await self.outcome(checker, b"fred", password) is CredentialsRefused
        # Nor does the entry of the top of a directory, whose name is empty.
        root = self.made(base="", scope="base", filter="(objectClass=*)", name="objectClass")
        assert await self.outcome(root, b"top", b"x") in (UnknownAccount, CredentialsRefused)

    async def test_names_are_compared_as_they_are_prepared(self):
        self.server.add_person("Fred  Flint", "secret")
        checker = self.made()
        assert await self.outcome(checker, b"fred  flint") == b"fred  flint"
        # To the directory these are the same.
        for name in (b"fred flint", b"FRED  FLINT", b" fred  flint "):
            assert await self.outcome(checker, name) is UnknownAccount
        assert await self.outcome(self.made(Context(self.folder, case="keep")), b"fred  flint") is UnknownAccount

    async def test_a_password_that_was_stored_as_it_is_typed(self):
        self.server.add_person("fred", "\u2168")
        prepared = Password(b"fred", "\u2168".encode()).prepared("fold")
        assert prepared.password == b"IX"
        assert await self.made().requestAvatarId(prepared) == b"fred"

    async def test_a_new_password_holds_at_once(self):
        dn = self.server.add_person("fred", "secret")
        checker = self.made()
        assert await self.outcome(checker) == b"fred"
        admin = self.server.as_admin()
        admin.modify_s(dn, [(ldap.MOD_REPLACE, "userPassword", [b"other"])])
        admin.unbind_s()
        assert await self.outcome(checker) is CredentialsRefused
        assert await self.outcome(checker, password=b"other") == b"fred"

    async def test_several_entries_are_nobodys_and_logged(self):
        self.server.add_person("fred", "secret", mail="post@example.org")
        self.server.add_person("ann", "other", mail="post@example.org")
        self.server.add_person("joe", "third", mail="post@example.org")
        said = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        checker = self.made(filter="(|(mail={user})(uid={user}))", name="mail")
        for password in (b"secret", b"other"):
            assert await self.outcome(checker, b"post@example.org", password) is CredentialsRefused
        with self.assertRaises(SystemTrouble):
            await checker.account(b"post@example.org")
        assert any("several entries" in event.get("reason", "") for event in said)

    async def test_what_the_account_is(self):
        self.server.add_person("fred", "secret", homeDirectory="/home/fred", mailLocation="maildir:/srv/{user}")
        self.server.add_person("ann", "secret")
        self.server.add_person("joe", "secret", mailLocation=["maildir:/a", "maildir:/b"])
        checker = self.made(home="homedirectory", location="mailLocation")
        account = await checker.account(b"fred")
        assert (account.home, account.location) == ("/home/fred", "maildir:/srv/{user}")
        account = await checker.account(b"ann")
        assert (account.home, account.location) == ("", "")
        with self.assertRaises(SystemTrouble):
            await checker.account(b"joe")
        assert await self.outcome(checker, b"joe") is CredentialsRefused

    async def test_a_disabled_account_is_refused_and_its_mail_comes_in(self):
        self.server.add_person("fred", "secret", mailEnabled="TRUE")
        self.server.add_person("ann", "secret", mailEnabled="FALSE")
        self.server.add_person("joe", "secret")
        checker = self.made(enabled="mailEnabled")
        assert await self.outcome(checker, b"fred") == b"fred"
        for name in (b"ann", b"joe"):
            assert await self.outcome(checker, name) is CredentialsRefused
            assert (await checker.account(name)).name == name.decode()

    async def test_an_entry_without_a_password(self):
        self.server.add(f"uid=fred,{PEOPLE}", {"objectClass": "inetOrgPerson", "uid": "fred", "cn": "x", "sn": "x"})
        assert await self.outcome(self.made()) is CredentialsRefused

    async def test_referrals_are_not_followed(self):
        self.server.add_person("fred", "secret")
        self.server.add(
            f"ou=elsewhere,{PEOPLE}",
            {"objectClass": ["referral", "extensibleObject"], "ou": "elsewhere", "ref": "ldap://192.0.2.1/dc=x"},
        )
        try:
            checker = self.made()
            assert await self.outcome(checker) == b"fred"
            assert await self.outcome(checker, b"ann") is UnknownAccount
        finally:
            admin = self.server.as_admin()
            manage = ldap.controls.simple.ManageDSAITControl()
            admin.delete_ext_s(f"ou=elsewhere,{PEOPLE}", serverctrls=[manage])
            admin.unbind_s()

    async def test_an_unknown_name_costs_a_bind(self):
        dummy = self.server.add_person("dummy", "nobody knows")
        checker = self.made(dummy_dn=dummy)
        assert await checker.check_nothing(Password(b"nobody", b"nobody knows")) is None

    async def test_TLS_009_a_server_that_nobody_vouches_for_gets_no_password(self):
        self.server.add_person("fred", "secret")
        stranger = self.folder / "stranger.pem"
        trustme.CA().cert_pem.write_to_path(stranger)
        for uri in (self.server.ldap, self.server.ldaps):
            checker = self.made(uri=uri, ca_file=str(stranger))
            assert await self.outcome(checker) is SystemTrouble
            (message,) = self.wrong(uri, ca_file=str(stranger))
            assert "certificate" in message

    async def test_every_way_to_connect(self):
        self.server.add_person("fred", "secret")
        ways = [
            (self.server.ldap, True),
            (self.server.ldap, False),
            (self.server.ldaps, True),
            (self.server.ldapi, True),
        ]
        for uri, starttls in ways:
            assert await self.outcome(self.made(uri=uri, starttls=starttls)) == b"fred"


class CheckTests(LdapCase, TestCase):
    def test_nothing_is_wrong(self):
        assert verifyObject(IAccounts, plugin)
        assert self.wrong() == []
        assert self.wrong(dn=DN) == []

    def test_what_cannot_be(self):
        (self.folder / "wrong").write_text("wrong\n")
        (self.folder / "empty").write_text("\n")
        for options, said in (
            ({"bind_password_file": "wrong"}, "Invalid credentials"),
            ({"bind_password_file": "empty"}, "empty"),
            ({"bind_password_file": "nowhere"}, "No such file"),
            ({"bind_password_file": ""}, "bind_dn and bind_password_file"),
            ({"base": "dc=nowhere"}, "dc=nowhere"),
            ({"base": "nonsense"}, "Invalid DN"),
            ({"filter": "(uid={user}"}, "Bad search filter"),
            ({"filter": "(uid={usr})"}, "{usr}"),
            ({"dn": "uid={user"}, "no partner"),
            ({"dn": "{user}"}, "Invalid DN"),
        ):
            messages = self.wrong(**options)
            assert len(messages) == 1, options
            assert said in messages[0], messages

    def test_servers_that_are_none(self):
        (message,) = self.wrong("http://localhost")
        assert "no address" in message
        (message,) = plugin.check("", self.options(), Context(self.folder))
        assert "needs a server" in message
        (message,) = self.wrong("ldaps://127.0.0.1:1 ldap://127.0.0.1:1")
        assert message.count("127.0.0.1:1") == 2
        with pytest.raises(ValueError, match="known"):
            self.made(filter="(uid={usr})")

    async def test_a_search_that_the_directory_does_not_permit(self):
        self.server.add_person("fred", "secret")
        for options, outcome in (
            ({"bind_dn": "", "bind_password_file": ""}, UnknownAccount),
            ({"bind_dn": f"cn=nobody,{BASE}"}, SystemBroken),
        ):
            assert await self.outcome(self.made(**options)) is outcome
