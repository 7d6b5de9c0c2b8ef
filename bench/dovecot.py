"""Debian's Dovecot for the benchmarks: by hand, in a folder of its own, tuned as far as it goes."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from peer import connect, free_port

CONFIGURATION = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
instance_name = bench
protocols = pop3
listen = 127.0.0.1
ssl = {ssl}
ssl_cert = <{certificate}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_mechanisms = plain
auth_cache_size = 10M
auth_cache_ttl = 1 hour
mail_location = maildir:{maildir}
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
mail_fsync = never
maildir_very_dirty_syncs = yes
mail_max_userip_connections = 100000
pop3_fast_size_lookups = {fast}
pop3_lock_session = no
pop3_no_flag_updates = yes
mailbox_list_index = no
service pop3-login {{
  service_count = 0
  client_limit = 20000
  process_min_avail = 1
  process_limit = 1
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {tls_port}
    ssl = yes
  }}
}}
service pop3 {{
  service_count = 0
  client_limit = 20000
  process_min_avail = 1
  process_limit = 1
}}
service auth {{
  client_limit = 50000
}}
service anvil {{
  chroot =
  client_limit = 50000
}}
service stats {{
  client_limit = 50000
  process_limit = 1
}}
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={directory}/home
}}
"""


def is_there() -> bool:
    return shutil.which("dovecot", path="/usr/sbin:/usr/bin") is not None


@contextmanager
def running(
    directory: Path,
    maildir: Path | str,
    fast: bool,
    *,
    tls: tuple[Path, Path] | None = None,
    tls_port: int = 0,
) -> Iterator[tuple[int, int]]:
    """Its port and process id.

    `maildir` may have Dovecot's variables in it. `fast` says that sizes need not be those of RFC 1939. `tls` is a
    certificate and its key, for a `tls_port`.
    """
    port = free_port()
    for name in ("run", "state", "home"):
        (directory / name).mkdir(mode=0o755, exist_ok=True)
    config = directory / f"dovecot-{port}.conf"
    text = CONFIGURATION.format(
        directory=directory,
        maildir=maildir,
        port=port,
        fast="yes" if fast else "no",
        ssl="yes" if tls else "no",
        certificate=tls[0] if tls else "",
        key=tls[1] if tls else "",
        tls_port=tls_port,
    )
    config.write_text(text if tls else "\n".join(line for line in text.splitlines() if not line.startswith("ssl_")))
    dovecot = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", str(config)], stdin=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(OSError):
                connect(port).close()
                break
            time.sleep(0.05)
        yield port, dovecot.pid
    finally:
        dovecot.terminate()
        dovecot.wait(20)


def forget(maildir: Path) -> None:
    """Remove all that it keeps beside the messages."""
    for path in maildir.glob("dovecot*"):
        path.unlink()
