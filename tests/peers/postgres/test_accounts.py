"""The PostgreSQL account database over a real server: who is let in, and what of the query is not understood."""

from __future__ import annotations

from hashlib import md5

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from popserv.accounts.postgres import plugin
from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.credentials import ApopDigest, Password
from popserv.errors import SystemBroken, SystemTrouble
from popserv.interfaces import IAccounts, ICapable, IScramSha1, IScramSha256, IScramSha512
from popserv.service.rehearsal import ScramClient
from popserv.testing.backend_contract import BackendContract
from tests.peers.postgres.cases import PostgresCase, hashed

STRANGE_NAMES = (
    "o'brien",
    'double"quote',
    "100%",
    "%(user)s",
    "$1",
    "back\\slash",
    "semi;colon -- x",
    "söké@münchen",
    "{user}",
)


class ContractTests(PostgresCase, BackendContract, TestCase):
    def backend(self, accounts):
        self.connection.execute("TRUNCATE accounts")
        self.add({name: [hashed(password, "ARGON2ID")] for name, password in accounts.items()})
        return self.made()


class LoginTests(PostgresCase, TestCase):
    async def test_SEC_013_a_name_is_never_part_of_the_query(self):
        self.add({name: [f"{{PLAIN}}{name}'s"] for name in STRANGE_NAMES})
        checker = self.made()
        for name in STRANGE_NAMES:
            octets = name.encode()
            assert await checker.requestAvatarId(Password(octets, octets + b"'s")) == octets
            account = await checker.account(octets)
            assert account.name == name
        for name in (b"' OR ''='", b"%", b"o'brien' --", b"nobody'); DROP TABLE accounts; --"):
            with self.assertRaises(UnknownAccount):
                await checker.requestAvatarId(Password(name, b"o'brien's"))
        (count,) = self.connection.execute("SELECT count(*) FROM accounts").fetchone()
        assert count == len(STRANGE_NAMES)

    async def test_rows_of_another_name_are_nobodys(self):
        self.add({"fred": ["{PLAIN}a"], "freda": ["{PLAIN}b"]})
        loose = "SELECT name, password FROM accounts WHERE name LIKE %(user)s || '%%'"
        checker = self.made(query=loose)
        assert await checker.requestAvatarId(Password(b"fred", b"a")) == b"fred"
        for name, password in ((b"fred", b"b"), (b"fre", b"a"), (b"%", b"a"), (b"", b"a")):
            with self.assertRaises((UnknownAccount, CredentialsRefused)):
                await checker.requestAvatarId(Password(name, password))

    async def test_names_are_compared_as_they_are_prepared(self):
        self.add({"Fred": ["{PLAIN}a"]})
        checker = self.made(query="SELECT name, password FROM accounts WHERE lower(name) = lower(%(user)s)")
        assert await checker.requestAvatarId(Password(b"fred", b"a")) == b"fred"
        with self.assertRaises(UnknownAccount):
            await checker.requestAvatarId(Password(b"FRED", b"a"))

    async def test_parts_of_the_name(self):
        self.add({"fred@example.org": ["{PLAIN}a"], "@": ["{PLAIN}b"]})
        checker = self.made(query="SELECT name, password FROM accounts WHERE name = %(local)s || '@' || %(domain)s")
        assert await checker.requestAvatarId(Password(b"fred@example.org", b"a")) == b"fred@example.org"
        with self.assertRaises(UnknownAccount):
            await checker.requestAvatarId(Password(b"fred", b"a"))

    async def test_several_rows_are_forms_of_one_password(self):
        self.connection.execute("CREATE TABLE verifiers (account text, value text)")
        self.connection.execute("GRANT SELECT ON verifiers TO popserv")
        self.add({"fred": []})
        for scheme in ("SCRAM-SHA-256", "SSHA512"):
            self.connection.execute("INSERT INTO verifiers VALUES ('fred', %s)", [hashed(b"secret", scheme)])
        checker = self.made(
            query="SELECT name, value AS password FROM accounts JOIN verifiers ON account = name WHERE name = %(user)s",
            schemes=("SCRAM-SHA-256",),
        )
        assert await checker.requestAvatarId(Password(b"fred", b"secret")) == b"fred"
        with self.assertRaises(CredentialsRefused):
            await checker.requestAvatarId(Password(b"fred", b"secre"))

    async def test_a_disabled_account_is_refused_and_its_mail_comes_in(self):
        self.add({"fred": ["{PLAIN}a"]}, enabled=False)
        checker = self.made()
        with self.assertRaises(CredentialsRefused):
            await checker.requestAvatarId(Password(b"fred", b"a"))
        assert (await checker.account(b"fred")).name == "fred"

    async def test_where_it_may_be_used_from(self):
        self.connection.execute("ALTER TABLE accounts ADD allow_nets cidr[]")
        self.add({"fred": ["{PLAIN}a"]}, allow_nets=["192.0.2.0/24", "2001:db8::/32"])
        self.add({"ann": ["{PLAIN}a"]})
        checker = self.made(query="SELECT name, password, allow_nets FROM accounts WHERE name = %(user)s")
        for address in ("192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7"):
            assert await checker.requestAvatarId(Password(b"fred", b"a", address=address)) == b"fred"
        for address in ("192.0.3.7", "2001:db9::1", ""):
            with self.assertRaises(CredentialsRefused):
                await checker.requestAvatarId(Password(b"fred", b"a", address=address))
        assert await checker.requestAvatarId(Password(b"ann", b"a")) == b"ann"

    async def test_what_the_account_is(self):
        self.connection.execute("ALTER TABLE accounts ADD mechanisms text")
        self.add({"fred": []}, home="/home/fred", location="maildir:/srv/{user}", mechanisms="Plain, scram-sha-256")
        checker = self.made(
            query="SELECT name, password, home, location AS mail, mechanisms FROM accounts WHERE name = %(user)s"
        )
        account = await checker.account(b"fred")
        assert (account.home, account.location) == ("/home/fred", "maildir:/srv/{user}")
        assert account.mechanisms == {"plain", "scram-sha-256"}
        with self.assertRaises(CredentialsRefused):
            await checker.requestAvatarId(Password(b"fred", b"nothing is stored"))

    async def test_a_new_password_holds_at_once(self):
        self.add({"fred": ["{PLAIN}old"]})
        checker = self.made()
        assert await checker.requestAvatarId(Password(b"fred", b"old")) == b"fred"
        self.connection.execute("UPDATE accounts SET password = ARRAY['{PLAIN}new']")
        with self.assertRaises(CredentialsRefused):
            await checker.requestAvatarId(Password(b"fred", b"old"))
        assert await checker.requestAvatarId(Password(b"fred", b"new")) == b"fred"

    async def test_passwords_without_a_scheme(self):
        self.add({"fred": [hashed(b"secret", "SSHA512").partition("}")[2]]})
        assert await self.made(default_scheme="ssha512").requestAvatarId(Password(b"fred", b"secret")) == b"fred"

    async def test_a_unix_socket(self):
        self.add({"fred": ["{PLAIN}a"]})
        assert (
            self.wrong(f"user=popserv dbname=mail port={self.server.port}", host=str(self.server.socket_folder)) == []
        )


class Latin1Tests(PostgresCase, TestCase):
    encoding = "LATIN1"

    async def test_a_name_that_the_database_cannot_write_is_unknown(self):
        self.add({"jürgen": ["{PLAIN}a"]})
        checker = self.made()
        assert await checker.requestAvatarId(Password("jürgen".encode(), b"a")) == "jürgen".encode()
        with self.assertRaises(UnknownAccount):
            await checker.requestAvatarId(Password("猫".encode(), b"a"))


class Conversation:
    """The server's side of a SCRAM exchange with a client that answers at once."""

    def __init__(self, respond):
        self.respond = respond
        self.challenges = []
        self.offered = ()

    async def challenge(self, octets):
        self.challenges.append(octets)
        return self.respond(octets)


class ProofTests(PostgresCase, TestCase):
    async def scram(self, checker, name, password, hash_name="sha256"):
        """What the server's first message was, of a login by SCRAM."""
        from popserv.auth.scram import EXCHANGES, FirstMessage

        client = ScramClient(hash_name, name, password)
        first = FirstMessage.parse(client.first())
        conversation = Conversation(client.respond)
        exchange = EXCHANGES[hash_name](name, b"", first, b"", conversation, address="192.0.2.1")
        try:
            assert await checker.requestAvatarId(exchange) == name
        except UnknownAccount:
            await checker.check_nothing(exchange)
            return "unknown", conversation.challenges[0]
        except CredentialsRefused:
            return "refused", conversation.challenges[0]
        return "accepted", conversation.challenges[0]

    async def test_SC_016_an_unknown_name_looks_like_a_known_one(self):
        self.add({"fred": [hashed(b"secret", "SCRAM-SHA-256")], "ann": [hashed(b"x", "SSHA512")]})
        checker = self.made(schemes=("scram-sha-256",))
        known, challenge = await self.scram(checker, b"fred", b"secret")
        assert known == "accepted"
        wrong, _ = await self.scram(checker, b"fred", b"other")
        assert wrong == "refused"
        for name in (b"nobody", b"ann"):
            answers = [await self.scram(checker, name, b"secret") for _ in range(2)]
            assert {answer for answer, _ in answers} == {"unknown" if name == b"nobody" else "refused"}
            salts = [made.partition(b",s=")[2] for _, made in answers]
            assert salts[0] == salts[1]
            assert len(salts[0]) == len(challenge.partition(b",s=")[2])
            assert salts[0].partition(b",i=")[2] == challenge.partition(b",i=")[2]

    async def test_a_disabled_account_cannot_prove_anything(self):
        self.add({"fred": [hashed(b"secret", "SCRAM-SHA-256")]}, enabled=False)
        answer, _ = await self.scram(self.made(), b"fred", b"secret")
        assert answer == "refused"

    async def test_a_plain_secret_is_enough_for_all_of_them(self):
        self.add({"fred": ["{PLAIN}secret"]})
        checker = self.made(schemes=("PLAIN",))
        for hash_name in ("sha1", "sha256", "sha512"):
            assert (await self.scram(checker, b"fred", b"secret", hash_name))[0] == "accepted"
        timestamp = b"<1@localhost>"
        digest = md5(timestamp + b"secret").hexdigest().encode()
        assert await checker.requestAvatarId(ApopDigest(b"fred", timestamp, digest)) == b"fred"
        with self.assertRaises(CredentialsRefused):
            await checker.requestAvatarId(ApopDigest(b"fred", timestamp, digest[::-1]))
        with self.assertRaises(UnknownAccount):
            await checker.requestAvatarId(ApopDigest(b"nobody", timestamp, digest))

    async def test_a_digest_of_what_stands_for_no_secret_is_refused(self):
        self.add({"fred": [hashed(b"secret", "SSHA512")]})
        timestamp = b"<1@localhost>"
        for guess in (b"nothing", b""):
            digest = md5(timestamp + guess).hexdigest().encode()
            with self.assertRaises(CredentialsRefused):
                await self.made().requestAvatarId(ApopDigest(b"fred", timestamp, digest))

    def test_what_is_offered_is_what_the_administrator_says_is_there(self):
        interfaces = (IUsernamePassword, IUsernameHashedPassword, IScramSha1, IScramSha256, IScramSha512)
        for schemes, offered in (
            ((), (True, False, False, False, False)),
            (("ARGON2ID", "SCRAM-SHA-256"), (True, False, False, True, False)),
            (("scram-sha-1", "scram-sha-512"), (True, False, True, False, True)),
            (("plain",), (True, True, True, True, True)),
        ):
            checker = self.made(schemes=schemes)
            assert verifyObject(ICapable, checker)
            assert tuple(map(checker.verifies, interfaces)) == offered


class CheckTests(PostgresCase, TestCase):
    def test_nothing_is_wrong(self):
        assert verifyObject(IAccounts, plugin)
        assert self.wrong() == []

    def test_what_could_restrict_and_is_not_understood(self):
        self.connection.execute("ALTER TABLE accounts ADD only_on_sundays boolean")
        (message,) = self.wrong(query="SELECT *, password FROM accounts WHERE name = %(user)s")
        assert "only_on_sundays" in message
        assert "'password' twice" in message

    async def test_nor_does_a_login_ignore_it(self):
        self.connection.execute("ALTER TABLE accounts ADD only_on_sundays boolean")
        self.add({"fred": ["{PLAIN}a"]})
        checker = self.made(query="SELECT * FROM accounts WHERE name = %(user)s")
        with self.assertRaises(SystemBroken):
            await checker.requestAvatarId(Password(b"fred", b"a"))

    def test_queries_that_cannot_be(self):
        for query, said in (
            ("SELECT name FROM accounts WHERE name = %(user)s", "no column password"),
            ("SELECT name, password FROM nowhere WHERE name = %(user)s", "nowhere"),
            ("SELECT name, password FROM accounts WHERE name = %(who)s", "who"),
            ("SELEC name", "syntax error"),
            ("SELECT name, password FROM accounts WHERE length(name) = %(user)s::int", "InvalidTextRepresentation"),
            ("SELECT name, password FROM pg_authid JOIN accounts ON true WHERE name = %(user)s", "permission denied"),
            ("", "no column name"),
        ):
            messages = self.wrong(query=query)
            assert len(messages) == 1, query
            assert said in messages[0], messages

    def test_servers_that_cannot_be_asked(self):
        (self.folder / "wrong").write_text("wrong\n")
        (self.folder / "empty").write_text("\n")
        for options, said in (
            ({"password_file": "wrong"}, "password authentication failed"),
            ({"password_file": "empty"}, "empty"),
            ({"password_file": "nowhere"}, "No such file"),
            ({"dbname": "nowhere"}, "nowhere"),
            ({"port": 1}, "refused"),
        ):
            (message,) = self.wrong(**options)
            assert said in message
        (message,) = self.wrong("no such thing=1")
        assert message

    async def test_an_account_that_is_not_understood_cannot_be_used(self):
        self.connection.execute("ALTER TABLE accounts ADD allow_nets text")
        self.add({"fred": ["{PLAIN}a"]}, allow_nets="the office")
        checker = self.made(query="SELECT name, password, allow_nets FROM accounts WHERE name = %(user)s")
        with self.assertRaises(CredentialsRefused):
            await checker.requestAvatarId(Password(b"fred", b"a", address="192.0.2.1"))
        with self.assertRaises(SystemTrouble):
            await checker.account(b"fred")
