"""`popserv uidl`: tables of unique-ids out, in, and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .running import popserv

NAMES = [f"{1_700_000_000 + number}.M1P1.host" for number in range(3)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three messages of fred, none of anne."""
    (tmp_path / "users").write_text("fred:{PLAIN}secret\nanne:{PLAIN}secret\n")
    config = 'auth.checkers = ["passwd-file:users"]\nmaildrop.location = "maildir:mail/{user}"\n'
    (tmp_path / "popserv.toml").write_text(config)
    for part in ("tmp", "new", "cur"):
        (tmp_path / "mail" / "fred" / part).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (tmp_path / "mail" / "fred" / "cur" / f"{name}:2,S").write_bytes(
            b"Subject: %d\nX-UIDL: x%d\n\n" % (number, number)
        )
    return tmp_path


def uidl(place: Path, *arguments: str | Path, given: bytes = b"") -> tuple[int, str]:
    done = popserv("uidl", *arguments, "--config", place / "popserv.toml", given=given)
    return done.returncode, done.stdout + done.stderr


def ids(place: Path) -> list[str]:
    status, said = uidl(place, "export", "fred", "--json")
    assert status == 0, said
    return [json.loads(line)["unique_id"] for line in said.splitlines()]


def test_a_table_goes_out_and_in_again_elsewhere(place: Path) -> None:
    assert ids(place) == NAMES
    (place / "told").write_text(
        "unique_id,name\n" + "".join(f"id{number},{name}\n" for number, name in enumerate(NAMES))
    )
    assert uidl(place, "import", "fred", place / "told", "--dry-run")[1].startswith("fred: 3 have their ids now")
    assert ids(place) == NAMES
    assert uidl(place, "import", "fred", place / "told") == (0, "fred: 3 have their ids now, 0 had them\n")
    assert ids(place) == ["id0", "id1", "id2"]
    assert uidl(place, "import", "fred", place / "told") == (0, "fred: 0 have their ids now, 3 had them\n")
    table = uidl(place, "export", "--all")[1]
    assert table.startswith("account,unique_id,octets,header,name\nfred,id0,26,")
    # The same messages under other names, as after a move to another Maildir by hand.
    folder = place / "mail" / "fred"
    (folder / "popserv.uidmap").unlink()
    for number, name in enumerate(NAMES):
        (folder / "cur" / f"{name}:2,S").rename(folder / "new" / f"{1_800_000_000 - number}.moved")
    (place / "table").write_text(table)
    status, said = uidl(place, "verify", "fred", place / "table", "--json")
    assert (status, json.loads(said.splitlines()[0])["renamed"]) == (1, 3)
    assert uidl(place, "import", "fred", place / "table")[0] == 0
    assert ids(place) == ["id2", "id1", "id0"]
    assert uidl(place, "verify", "fred", "-", given=table.encode())[0] == 0


def test_what_cannot_be_is_told_and_the_rest_is_done(place: Path) -> None:
    lines = [
        {"unique_id": NAMES[1], "name": NAMES[0]},
        {"unique_id": "new", "name": NAMES[2]},
        {"unique_id": "gone", "name": "x"},
    ]
    (place / "told").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, said = uidl(place, "import", "fred", place / "told", "--json")
    facts = {"account": "fred", "adopted": 1, "unchanged": 0, "unmatched": ["gone"], "conflicts": [NAMES[1]]}
    assert (status, json.loads(said.splitlines()[0])) == (1, facts)
    assert ids(place) == [NAMES[0], NAMES[1], "new"]
    assert uidl(place, "import", "anne", place / "told")[0] == 1


def test_messages_that_say_it_themselves(place: Path) -> None:
    assert uidl(place, "import", "fred", "--from", "x-uidl")[0] == 0
    assert ids(place) == ["x0", "x1", "x2"]


def test_another_message_under_an_id_is_noticed(place: Path) -> None:
    table = uidl(place, "export", "fred", "--format", "csv")[1]
    (place / "mail" / "fred" / "cur" / f"{NAMES[0]}:2,S").write_bytes(b"Subject: another\n\n")
    (place / "mail" / "fred" / "cur" / f"{NAMES[1]}:2,S").unlink()
    status, said = uidl(place, "verify", "fred", "-", "--json", given=table.encode())
    facts = {"account": "fred", "messages": 2, "missing": 1, "renamed": 0, "other": 1, "new": 0}
    assert (status, json.loads(said.splitlines()[0])) == (1, facts)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("export",), 2),
        (("export", "fred", "--all"), 2),
        (("export", "nobody"), 1),
        (("import", "fred"), 2),
        (("import", "fred", "nowhere"), 1),
        (("import", "fred", "nowhere", "--from", "x-uidl"), 2),
        (("import", "fred", ".", "--from", "cyrus"), 2),
        (("import", "fred", "users", "--from", "dovecot"), 1),
        (("import", "fred", "users", "--from", "dovecot", "--uidl-format", "%z"), 2),
        (("import", "fred", "users"), 1),
        (("verify", "fred", "nowhere"), 2),
    ],
)
def test_mistakes_are_told(place: Path, arguments: tuple[str, ...], status: int) -> None:
    arguments = tuple(str(place / each) if each in (".", "users", "nowhere") else each for each in arguments)
    assert uidl(place, *arguments)[0] == status
