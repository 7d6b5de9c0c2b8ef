"""The twistd plug-ins: found, cheap to import, and plain about wrong options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, findCheckerFactory, makeChecker
from twisted.python.usage import UsageError
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from popserv.auth.account_database import Database
from popserv.auth.credentials import Password
from popserv.service.config import from_table
from popserv.tap import Options

AUTH = ["--auth", "memory:fred:secret"]
MAIL = ["--maildrop", "maildir:mail/{user}"]


def parse(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(list(arguments))
    return options


def test_twistd_lists_it() -> None:
    code = "from twisted.scripts.twistd import run; run()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=30)
    assert [line for line in done.stdout.splitlines() if line.split()[:1] == ["popserv"]]


def test_the_plug_in_files_import_nothing_heavy() -> None:
    code = (
        "import sys; import twisted.plugins.popserv_plugin, twisted.plugins.popserv_cred;"
        "print([name for name in ('popserv', 'OpenSSL', 'click', 'twisted.internet.reactor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "[]\n", done.stderr


def test_options_are_a_configuration() -> None:
    options = parse("--pop3", "tcp:0", "--lmtp", "unix:l", "--cleartext", "loopback", *AUTH, *MAIL)
    config = from_table(options.table(), Path("/srv"))
    assert [(listen.protocol, listen.tls) for listen in config.listen] == [("pop3", "off"), ("lmtp", "off")]
    assert (config.auth.cleartext, config.maildrop.location) == ("loopback", "maildir:mail/{user}")
    assert config.base == Path("/srv")


def test_a_certificate_brings_tls() -> None:
    files = ["--certificate", "c.pem", "--key", "k.pem"]
    options = parse("--pop3", "tcp:0", "--pop3s", "tcp:0", *files, "--hostname", "h", *AUTH, *MAIL)
    config = from_table(options.table(), Path("/srv"))
    assert [listen.tls for listen in config.listen] == [None, "implicit"]
    assert config.tls.pairs[0].certificate == "c.pem"
    assert config.server.hostname == "h"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "x", "--pop3", "tcp:0"],
        ["--config", "x", *AUTH],
        ["--pop3", "tcp:0", *MAIL],
        ["--pop3", "tcp:0", *AUTH],
        [*AUTH, *MAIL],
        ["--maildrop", "maildir:x"],
        ["--auth", "nonsense:x"],
    ],
)
def test_options_that_do_not_go_together(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(*arguments)


class CheckerFactoriesTests(TestCase):
    """``--auth`` of any Twisted service."""

    def test_each_database_has_one(self) -> None:
        for name in ("sqlite", "passwd-file"):
            factory = findCheckerFactory(name)
            self.assertTrue(verifyObject(ICheckerFactory, factory))
            self.assertIn(IUsernamePassword, factory.credentialInterfaces)
            made = makeChecker(f"{name}:{self.mktemp()}")
            self.assertEqual(set(made.credentialInterfaces), set(factory.credentialInterfaces))

    async def test_it_checks(self) -> None:
        path = self.mktemp()
        Database(Path(path)).add("fred", b"secret")
        self.assertEqual(await makeChecker(f"sqlite:{path}").requestAvatarId(Password(b"fred", b"secret")), b"fred")
