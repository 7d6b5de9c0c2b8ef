"""A real Dovecot, by hand and in a folder of its own: POP3 in the clear on loopback, for one account."""

from __future__ import annotations

import os
import pwd
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..programs import Server, program

CONFIGURATION = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
instance_name = migration
protocols = pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
mail_location = maildir:{maildir}
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={directory}/home
}}
protocol pop3 {{
  pop3_uidl_format = {form}
}}
"""


def give(path: Path) -> None:
    """Let everything below belong to the user whom Dovecot serves it as."""
    nobody = pwd.getpwnam("nobody")
    for each in (path, *path.rglob("*")):
        os.chown(each, nobody.pw_uid, nobody.pw_gid)


@contextmanager
def serving(directory: Path, maildir: Path, port: int, form: str) -> Iterator[None]:
    """Any name and the password "secret" get in to `maildir`; `form` is its pop3_uidl_format."""
    command = program("dovecot")
    for name in ("run", "state", "home"):
        (directory / name).mkdir(mode=0o755, exist_ok=True)
    give(directory / "home")
    config = directory / "dovecot.conf"
    config.write_text(CONFIGURATION.format(directory=directory, maildir=maildir, port=port, form=form))

    def answers() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                return client.recv(100).startswith(b"+OK")
        except OSError:
            return False

    server = Server([command, "-F", "-c", str(config)], answers, directory / "dovecot.out")
    server.start()
    try:
        yield
    finally:
        server.stop(signal.SIGTERM)
