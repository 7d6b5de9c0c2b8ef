"""Dependencies point down: every import inside `popserv/` is checked against one table.

Names imported under `if TYPE_CHECKING:` count, too, but for those of `interfaces.py`, which may only speak about what
stands above it. Imports inside functions count: a late import is an arrow all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "popserv"

EVERYTHING = frozenset({"*"})
ROOTS = frozenset({"by_account", "errors", "interfaces", "limits", "nowait", "plugins", "pools", "steady"})
BELOW_SERVICE = ROOTS | {
    "wire",
    "session",
    "extensions",
    "sasl",
    "auth",
    "maildrop",
    "stores",
    "accounts",
    "delivery",
    "net",
    "protocols",
}

# Layer → what it may import, as layers or as modules (`auth.names`).
ARROWS: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "interfaces": frozenset(),
    "limits": frozenset(),
    "plugins": frozenset(),
    "steady": frozenset(),
    "_version": frozenset(),
    "by_account": frozenset({"interfaces"}),
    "nowait": frozenset(),
    "pools": frozenset({"errors"}),
    "wire": frozenset({"errors", "limits"}),
    "session": frozenset({"wire", "errors", "limits", "nowait", "plugins", "_version"}),
    "extensions": frozenset({"session", "wire", "errors"}),
    "sasl": frozenset({"errors", "interfaces", "plugins", "auth"}),
    "auth": frozenset(
        {"interfaces", "errors", "pools", "steady", "wire.arguments", "maildrop.adapters", "maildrop.visit"}
    ),
    "maildrop": frozenset({"by_account", "nowait", "interfaces", "errors", "wire", "pools"}),
    "stores": frozenset({"nowait", "maildrop", "interfaces", "errors", "wire", "pools"}),
    "accounts": frozenset({"nowait", "auth", "interfaces", "errors", "pools"}),
    "delivery": frozenset({"by_account", "wire", "interfaces", "errors", "limits", "pools"}),
    "net": frozenset(
        {
            "session",
            "wire",
            "interfaces",
            "limits",
            "errors",
            "plugins",
            "steady",
            "auth.names",
            "auth.credentials",
            "auth.login",
        }
    ),
    "protocols": ROOTS | {"net", "session", "delivery", "auth", "sasl", "wire", "maildrop"},
    "service": BELOW_SERVICE | {"_version"},
    "cli": BELOW_SERVICE | {"service", "_version"},
    "tap": BELOW_SERVICE | {"service", "_version"},
    "__main__": frozenset({"cli"}),
    "__init__": frozenset({"_version", "protocols"}),
    "testing": EVERYTHING,
}
REACTOR = ("cli/", "tap.py", "protocols/pop3.py")
"""Who may import the global reactor, inside a function: programs, and a `POP3Factory` that was made without a clock."""


@attrs.frozen
class Import:
    """One name that a module asks for."""

    path: Path
    line: int
    target: str
    """Dotted and absolute; for `from a import b` it is `a.b`."""
    for_types: bool
    """It stands under `if TYPE_CHECKING:`."""
    at_import: bool
    """It happens when the module is imported, not when a function is called."""

    @property
    def place(self) -> str:
        """The file, relative to the package."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def layer(self) -> str:
        return self.place.partition("/")[0].removesuffix(".py")

    def __str__(self) -> str:
        return f"popserv/{self.place}:{self.line}: {self.layer} must not import {self.target}"


class Walker(ast.NodeVisitor):
    """Collects the imports of one module."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[Import] = []
        self._for_types = False
        self._depth = 0

    def visit_If(self, node: ast.If) -> None:
        outer = self._for_types
        self._for_types = outer or ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for child in node.body:
            self.visit(child)
        self._for_types = outer
        for child in node.orelse:
            self.visit(child)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            self._add(node, name.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self._absolute(node)
        for name in node.names:
            self._add(node, f"{module}.{name.name}")

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.path.relative_to(ROOT).with_suffix("").parts[: -node.level]
        return ".".join([*package, *([node.module] if node.module else [])])

    def _add(self, node: ast.stmt, target: str) -> None:
        self.found.append(Import(self.path, node.lineno, target, self._for_types, not self._depth))


def imports_of(path: Path) -> list[Import]:
    walker = Walker(path)
    walker.visit(ast.parse(path.read_bytes()))
    return walker.found


def sources(folder: Path = PACKAGE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def all_imports() -> Iterator[Import]:
    for path in sources():
        yield from imports_of(path)


def is_upward(found: Import) -> bool:
    """Whether an import of ours breaks the table."""
    parts = found.target.split(".")
    if parts[0] != "popserv" or (found.layer == "interfaces" and found.for_types):
        return False
    if len(parts) == 1 or parts[1] == "__version__":
        return found.layer not in ("service", "cli", "tap", "testing")
    allowed = ARROWS[found.layer]
    return not (
        allowed is EVERYTHING or parts[1] == found.layer or parts[1] in allowed or ".".join(parts[1:3]) in allowed
    )


def breaks_purity(found: Import) -> bool:
    """Whether an import brings Twisted where it must not be."""
    if found.layer in ("session", "extensions"):
        return found.target.split(".")[0] == "twisted"
    if found.layer == "sasl":
        return found.at_import and not found.for_types and found.target.startswith("twisted.internet")
    return False


def installs_reactor(found: Import) -> bool:
    """Whether an import installs the global reactor, now or when it is used."""
    if f"{found.target}.".startswith("twisted.mail.pop3."):
        return True
    if not f"{found.target}.".startswith("twisted.internet.reactor."):
        return False
    return found.at_import or not found.place.startswith(REACTOR)


def test_every_layer_is_in_the_table() -> None:
    layers = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in sources()}
    assert layers - set(ARROWS) == set()


@pytest.mark.parametrize("rule", [is_upward, breaks_purity, installs_reactor])
def test_imports_point_down(rule: object) -> None:
    assert [str(found) for found in all_imports() if rule(found)] == []  # type: ignore[operator]


def test_the_plugin_files_import_only_what_twistd_has_anyway() -> None:
    found = [i for path in sources(ROOT / "twisted") for i in imports_of(path) if i.at_import and not i.for_types]
    allowed = {"twisted", "zope", "__future__", "typing", "collections", "attrs", "popserv"}
    assert [f"{i.path.name}:{i.line}: {i.target}" for i in found if i.target.split(".")[0] not in allowed] == []


def make(source: str, place: str) -> list[Import]:
    walker = Walker(PACKAGE / place)
    walker.visit(ast.parse(source))
    return walker.found


@pytest.mark.parametrize(
    ("place", "source", "rule"),
    [
        ("wire/lines.py", "from popserv.session import session", is_upward),
        ("wire/lines.py", "def f():\n    import popserv.net.protocol", is_upward),
        ("wire/lines.py", "from ..session.session import Session", is_upward),
        (
            "maildrop/uidl.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import popserv.auth.names",
            is_upward,
        ),
        ("net/factory.py", "from popserv.maildrop.locks import SessionLock", is_upward),
        ("errors.py", "from popserv import limits", is_upward),
        ("session/session.py", "from twisted.logger import Logger", breaks_purity),
        ("sasl/plain.py", "from twisted.internet.defer import Deferred", breaks_purity),
        ("net/tls.py", "def f():\n    from twisted.internet import reactor", installs_reactor),
        ("cli/run.py", "from twisted.internet import reactor", installs_reactor),
        ("cli/run.py", "from twisted.mail.pop3 import POP3Client", installs_reactor),
        ("cli/run.py", "from twisted.mail import pop3", installs_reactor),
    ],
)
def test_a_wrong_import_is_seen(place: str, source: str, rule: object) -> None:
    assert any(rule(found) for found in make(source, place))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("interfaces.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from popserv.pools import Pool"),
        ("net/factory.py", "from popserv.auth.names import prepare"),
        ("net/factory.py", "from popserv.session.session import Session\nfrom twisted.internet.defer import Deferred"),
        ("cli/run.py", "def f():\n    from twisted.internet import reactor\nfrom popserv.service import compose"),
        ("sasl/plain.py", "def f():\n    from twisted.internet.defer import Deferred"),
    ],
)
def test_a_right_import_is_left_alone(place: str, source: str) -> None:
    found = make(source, place)
    assert found
    assert not any(rule(one) for one in found for rule in (is_upward, breaks_purity, installs_reactor))
