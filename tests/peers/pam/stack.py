"""Linux-PAM as it is, with a configuration of the tests' own, and users that the machine does not have."""

from __future__ import annotations

import pwd
import sys
from collections.abc import Mapping
from pathlib import Path

from passlib.hash import sha512_crypt

from tests.peers.programs import missing

LIBRARIES = ("lib/*", "lib64", "usr/lib/*", "usr/lib64")


def needs(*names: str) -> None:
    """Skip the test without one of these files among the host's libraries, or let it fail."""
    for name in names:
        if sys.platform != "linux" or not any(any(Path("/").glob(f"{place}/{name}")) for place in LIBRARIES):
            missing(name)


def hashed(password: bytes, rounds: int = 1000) -> str:
    """A hash that pam_unix and pam_pwdfile can check."""
    return str(sha512_crypt.using(rounds=rounds).hash(password))


def write_service(directory: Path, name: str, *lines: str) -> None:
    """PAM's configuration of one service."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text("".join(f"{line}\n" for line in lines))


def write_passwords(directory: Path, accounts: Mapping[str, bytes], rounds: int = 1000) -> None:
    """The service popserv, for exactly these accounts, by pam_pwdfile."""
    needs("libpam.so.0", "security/pam_pwdfile.so")
    file = directory / "pwdfile"
    lines = [f"{name}:{hashed(password, rounds)}\n" for name, password in accounts.items()]
    file.write_text("".join(lines), "utf-8")
    write_service(
        directory, "popserv", f"auth required pam_pwdfile.so pwdfile={file}", "account required pam_permit.so"
    )


def user(name: str, uid: int = 2000, home: str = "") -> pwd.struct_passwd:
    """An entry of the host's user database."""
    return pwd.struct_passwd((name, "x", uid, 2000, "", home or f"/home/{name}", "/bin/sh"))
