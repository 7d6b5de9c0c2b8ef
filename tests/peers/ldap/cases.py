"""What the tests of the LDAP database have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from popserv.accounts.ldap import LdapAccounts, Options, plugin
from popserv.auth.credentials import Password
from tests.accounts.context import Context
from tests.peers.ldap.server import BASE, SERVICE, SERVICE_PASSWORD, Slapd


class LdapCase:
    """To be mixed into a `TestCase`: each test begins without people."""

    @pytest.fixture(autouse=True)
    def _directory(self, slapd: Slapd, tmp_path: Path) -> None:
        self.server = slapd
        slapd.start()
        slapd.clear()
        self.folder = tmp_path
        (tmp_path / "password").write_text(SERVICE_PASSWORD + "\nnot this line\n", "utf-8")

    def options(self, **options: Any) -> Options:
        """For the server of the tests."""
        ours = {"ca_file": str(self.server.folder / "ca.pem"), "bind_dn": SERVICE, "bind_password_file": "password"}
        return Options(**{**ours, "base": BASE, **options})

    def made(self, context: Any = None, uri: str = "", **options: Any) -> LdapAccounts:
        """The checker, as the plug-in makes it."""
        return plugin.build(uri or self.server.ldaps, self.options(**options), context or Context(self.folder))

    def wrong(self, uri: str = "", **options: Any) -> list[str]:
        """What the plug-in's check says."""
        return plugin.check(uri or self.server.ldaps, self.options(**options), Context(self.folder))

    async def outcome(self, checker: LdapAccounts, name: bytes = b"fred", password: bytes = b"secret") -> Any:
        """The avatar, or the class of the failure."""
        try:
            return await checker.requestAvatarId(Password(name, password))
        except Exception as error:
            return type(error)
