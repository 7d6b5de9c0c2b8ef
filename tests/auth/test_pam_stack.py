"""What is read of PAM's configuration, and what is said of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.pam_stack import NotReadable, modules, problems

WORDS = ("auth", "-auth", "account", "required", "[a=1 b=2]", "[", "@include", "x.so", "#", "\\", "\n")


def write(directory: Path, **files: str) -> list[Path]:
    for name, text in files.items():
        (directory / name).write_text(text)
    return [directory]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, if we have them."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_entries_are_read_in_order(tmp_path: Path) -> None:
    places = write(
        tmp_path,
        mail="# auth required pam_comment.so\n"
        "auth required pam_env.so # first\n"
        "-auth  [success=1 default=ignore]\tpam_unix.so nullok\n"
        "auth required \\\n  /lib/security/pam_deny.so\n"
        "account required pam_permit.so\n"
        "session required pam_limits.so\n",
    )
    assert modules("auth", "mail", places) == ["pam_env.so", "pam_unix.so", "pam_deny.so"]
    assert modules("account", "mail", places) == ["pam_permit.so"]


def test_what_is_included_stands_in_its_place(tmp_path: Path) -> None:
    places = write(
        tmp_path,
        mail="auth required pam_a.so\n@include common\nauth include more\n"
        "account substack more\nauth required pam_z.so\n",
        common="auth required pam_b.so\naccount required pam_c.so\n",
        more="auth required pam_d.so\naccount required pam_e.so\n",
    )
    assert modules("auth", "mail", places) == ["pam_a.so", "pam_b.so", "pam_d.so", "pam_z.so"]
    assert modules("account", "mail", places) == ["pam_c.so", "pam_e.so"]


@given(st.lists(st.sampled_from(WORDS)))
def test_whatever_stands_there_names_modules_or_is_not_readable(words: list[str]) -> None:
    with TemporaryDirectory() as folder:
        places = write(Path(folder), mail=" ".join(words))
        try:
            found = modules("auth", "mail", places)
        except NotReadable:
            assert "@include" in words
        else:
            assert len(found) <= words.count("auth") + words.count("-auth")


def test_the_first_directory_that_has_it_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    write(second, mail="auth required pam_b.so\n")
    assert modules("auth", "mail", [first, second]) == ["pam_b.so"]
    write(first, mail="auth required pam_a.so\n")
    assert modules("auth", "mail", [first, second]) == ["pam_a.so"]


@pytest.mark.parametrize("text", ["@include nowhere\n", "auth include nowhere\n", "@include mail\n"])
def test_an_include_that_leads_nowhere_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(NotReadable):
        modules("auth", "mail", write(tmp_path, mail=text))


def test_a_service_that_is_not_there_is_said(tmp_path: Path) -> None:
    (message,) = problems("mail", [tmp_path])
    assert message.startswith(f"{tmp_path}/mail: is not there")


def test_a_file_without_auth_or_account_is_said(tmp_path: Path) -> None:
    places = write(tmp_path, half="auth required pam_permit.so\n", none="session required pam_limits.so\n")
    assert [message.partition(",")[0] for message in problems("half", places)] == ["half: has no account line"]
    assert [message.partition(",")[0] for message in problems("none", places)] == [
        "none: has no auth line",
        "none: has no account line",
    ]


def test_pam_unix_needs_the_shadow_file(tmp_path: Path) -> None:
    places = write(
        tmp_path,
        unix="@include common\n",
        other="auth required pam_ldap.so\naccount required pam_unix.so\n",
        common="auth required pam_unix.so\naccount required pam_unix.so\n",
        shadow="",
    )
    shadow = tmp_path / "shadow"
    for directory in tmp_path, *tmp_path.parents[:2]:
        directory.chmod(0o755)
    shadow.chmod(0)
    with unprivileged():
        (message,) = problems("unix", places, shadow)
        assert "pam_unix" in message and str(shadow) in message
        assert problems("other", places, shadow) == []
    shadow.chmod(0o444)
    with unprivileged():
        assert problems("unix", places, shadow) == []
