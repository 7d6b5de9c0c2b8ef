"""From what somebody typed, or mail is addressed to, to the names that an account may have."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.names import InvalidName, prepare
from popserv.auth.naming import BrokenAliases, Naming, read_aliases

PLAIN = Naming()
OURS = Naming(domains=frozenset({"example.org"}))
HOSTED = Naming(default_domain="example.org")
NAMED = Naming(
    domains=frozenset({"example.org"}), aliases={"postmaster": "fred", "sales@example.org": "ann", "x+y": "ann"}
)


@pytest.mark.parametrize(
    ("naming", "name", "forms"),
    [
        (PLAIN, b"FRED", [b"fred"]),
        (PLAIN, b"fred+a+b", [b"fred+a+b", b"fred+a", b"fred"]),
        (PLAIN, b"+a", [b"+a"]),
        (PLAIN, b"Fred@Example.org", [b"fred@example.org"]),
        (OURS, b"fred+a@Example.ORG.", [b"fred+a@example.org", b"fred@example.org", b"fred+a", b"fred"]),
        (OURS, b"fred@example.net", [b"fred@example.net"]),
        (OURS, b"a@b@example.org", [b"a@b@example.org", b"a@b"]),
        (HOSTED, b"fred", [b"fred@example.org"]),
        (HOSTED, b"fred+a", [b"fred+a@example.org", b"fred@example.org"]),
        (HOSTED, b"fred@example.net", [b"fred@example.net"]),
        (NAMED, b"Postmaster", [b"fred"]),
        (
            NAMED,
            b"postmaster+a@example.org",
            [b"postmaster+a@example.org", b"postmaster@example.org", b"postmaster+a", b"fred"],
        ),
        (NAMED, b"sales@example.org", [b"ann", b"sales"]),
        (NAMED, b"x+y", [b"ann", b"x"]),
        (PLAIN, b".fred+a", [b".fred+a"]),
    ],
)
def test_what_a_name_may_stand_for(naming: Naming, name: bytes, forms: list[bytes]) -> None:
    if name.startswith(b"."):
        with pytest.raises(InvalidName):
            naming.forms(name)
    else:
        assert naming.forms(name) == forms
        # All that stands for an account is counted as that.
        assert naming.canonical(name) == (b"ann" if b"ann" in forms else forms[-1])


@given(st.text(max_size=40), st.sampled_from([PLAIN, OURS, HOSTED, NAMED]))
def test_every_form_is_a_prepared_name(text: str, naming: Naming) -> None:
    name = text.encode("utf-8", "surrogatepass")
    canonical = naming.canonical(name)
    try:
        forms = naming.forms(name)
    except InvalidName:
        assert canonical == name
        return
    assert len(set(forms)) == len(forms) > 0
    for form in forms:
        assert prepare(form).encode("utf-8") == form
    assert canonical in forms


def test_details_of_a_name_that_others_vouch_for_are_a_part_of_it() -> None:
    assert NAMED.vouched(b"fred+a@example.org") == [b"fred+a@example.org", b"fred+a"]
    assert NAMED.vouched(b"postmaster") == [b"fred"]
    assert NAMED.vouched(b"/") == [b"/"]


@pytest.mark.parametrize(
    ("naming", "name", "account", "detail"),
    [
        (PLAIN, b"fred", "fred", b""),
        (PLAIN, b"Fred+Junk", "fred", b"Junk"),
        (PLAIN, b"fred+a+B", "fred", b"a+B"),
        (PLAIN, b"fred+a+b", "fred+a", b"b"),
        (PLAIN, b"fred+a", "fred+a", b""),
        (PLAIN, b"fred+", "fred", b""),
        (PLAIN, b"fred+Junk@example.net", "fred@example.net", b"Junk"),
        (PLAIN, b"fred+../x", "fred", b"../x"),
        (PLAIN, b"joe+Junk", "fred", b""),
        (PLAIN, b"", "fred", b""),
        (PLAIN, b"/+Junk", "fred", b""),
        (PLAIN, "fred\uff0bjunk".encode(), "fred", b""),
        (OURS, b"fred+Junk@Example.org.", "fred", b"Junk"),
        (HOSTED, b"fred+Junk", "fred@example.org", b"Junk"),
        (NAMED, b"postmaster+Junk@example.org", "fred", b"Junk"),
    ],
)
def test_which_part_of_a_name_is_its_detail(naming: Naming, name: bytes, account: str, detail: bytes) -> None:
    assert naming.detail(name, account) == detail


@given(st.text("fred+@.exampl", max_size=30), st.sampled_from([PLAIN, OURS, HOSTED, NAMED]))
def test_without_its_detail_a_name_stands_for_the_same_account(text: str, naming: Naming) -> None:
    name = text.encode()
    try:
        forms = naming.forms(name)
    except InvalidName:
        return
    local, at, domain = name.rpartition(b"@") if b"@" in name else (name, b"", b"")
    for form in forms:
        if detail := naming.detail(name, form.decode()):
            assert local.endswith(b"+" + detail)
            assert form in naming.forms(local.removesuffix(b"+" + detail) + at + domain, details=False)


def test_a_name_is_completed_by_the_default_domain() -> None:
    assert HOSTED.complete(b"Fred") == b"fred@example.org"
    assert PLAIN.complete(b"Fred") == b"fred"
    with pytest.raises(InvalidName):
        HOSTED.complete(b"f" * 250)


def test_aliases_are_read(tmp_path: Path) -> None:
    file = tmp_path / "aliases"
    file.write_text("# ours\n\n Postmaster : Fred\nsales@example.net:ann\npostmaster: fred\n")
    assert read_aliases(file, PLAIN) == {"postmaster": "fred", "sales@example.net": "ann"}
    assert read_aliases(file, HOSTED) == {
        "postmaster@example.org": "fred@example.org",
        "sales@example.net": "ann@example.org",
    }


def test_aliases_that_cannot_be_are_told_all_at_once(tmp_path: Path) -> None:
    file = tmp_path / "aliases"
    file.write_bytes(b"fred\na: b: c\n\xff: fred\nx: fred\nx: ann\ny: x\n: z\n")
    with pytest.raises(BrokenAliases) as caught:
        read_aliases(file, PLAIN)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "line 1",
        "line 2",
        "line 3",
        "line 5",
        "line 7",
        "'x' is an alias itself",
    ]
