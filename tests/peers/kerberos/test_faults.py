"""Tickets that are too old, and keytabs that are not there."""

from __future__ import annotations

import time
from pathlib import Path

from tests.peers import service
from tests.peers.kerberos.client import Client
from tests.peers.kerberos.realm import Realm, configuration, prepared
from tests.peers.service import serving

LIFE = 2
"""Seconds of a ticket that is to expire."""


def test_GS_002_an_expired_ticket_is_refused(realm: Realm, tmp_path: Path) -> None:
    strict = tmp_path / "krb5.conf"
    text = Path(realm.environment["KRB5_CONFIG"]).read_text()
    strict.write_text(text.replace("[libdefaults]", "[libdefaults]\nclockskew = 1", 1))
    environment = {**realm.environment, "KRB5_CONFIG": str(strict)}
    with serving(prepared(tmp_path), configuration(realm.keytab), environment) as served:
        client = Client(served, realm.tickets("fred", "-l", f"{LIFE}s"))
        time.sleep(LIFE + 2)
        assert client.begin() == service.REFUSED.encode()
        assert client.client.quit() == b"+OK bye"
        assert Client(served, realm.tickets("fred")).log_in().startswith(b"+OK 1 message")
        log = served.logged("kerberos: refused: ")
        assert log.count("kerberos: refused: ") == 1 and "Ticket expired" in log, log


def test_GS_001_without_a_keytab_it_is_not_announced(realm: Realm, tmp_path: Path) -> None:
    keytab = tmp_path / "keytab"
    with serving(prepared(tmp_path), configuration(keytab)) as served:
        client = served.connect()
        assert "SASL" not in client.capa()
        assert "Traceback" not in served.logged("kerberos: GSSAPI is not offered: ")
        assert client.quit() == b"+OK bye"
        status, said = service.run(tmp_path, "check")
        assert status != 0 and f"{keytab}: " in said


def test_GS_001_a_keytab_that_is_lost_is_trouble_of_ours(realm: Realm, fred: dict[str, str], tmp_path: Path) -> None:
    keytab = tmp_path / "keytab"
    keytab.write_bytes(realm.keytab.read_bytes())
    with serving(prepared(tmp_path), configuration(keytab)) as served:
        _status, said = service.run(tmp_path, "check")
        assert str(keytab) not in said, said
        client = Client(served, fred)
        keytab.unlink()
        assert client.begin() == service.TROUBLE.encode()
        log = served.logged("kerberos: GSSAPI is not offered: ")
        assert log.count("kerberos: GSSAPI is not offered: ") == 1 and "Traceback" not in log
        assert client.client.quit() == b"+OK bye"
        assert "SASL" not in served.connect().capa()
