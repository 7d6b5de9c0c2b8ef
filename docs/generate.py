"""Write docs/protocol-support.md from tests/rules.toml and the names of the tests: ``python docs/generate.py``."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "protocol-support.md"
TESTS = ROOT / "tests"
NAME = re.compile(r"test_([A-Z][A-Z0-9]+)_(\d{3})(?:_|$)")

HEAD = """\
# Protocol support

The rules of the standards that a POP3 server has to keep, and for each the test that holds it: made from
`tests/rules.toml` and the names of the tests by `python docs/generate.py`. {held} of {rules} are held by tests; the
others stand here with the reason.

The states of a session and what leads from one to the next:

```mermaid
{diagram}```
"""


def rules() -> dict[str, tuple[str, str]]:
    """Source and title by id, in order."""
    table = tomllib.loads((TESTS / "rules.toml").read_text("utf-8"))
    return {
        f"{part}-{number}": (source, title)
        for part, entries in table.items()
        if part != "not_held"
        for number, (source, title) in ((key, value) for key, value in entries.items() if key != "title")
    }


def parts() -> dict[str, str]:
    """The title of each part."""
    table = tomllib.loads((TESTS / "rules.toml").read_text("utf-8"))
    return {part: entries["title"] for part, entries in table.items() if part != "not_held"}


def not_held() -> dict[str, str]:
    """The reason for each rule that no test holds."""
    table = tomllib.loads((TESTS / "rules.toml").read_text("utf-8"))
    reasons: dict[str, str] = table["not_held"]
    return reasons


def _functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def holders() -> dict[str, list[str]]:
    """The tests by the id of the rule that they hold: ``tests/wire/test_lines.py::test_P3_004_…``."""
    found: dict[str, list[str]] = {}
    # The public contracts are run by tests and hold rules, too.
    for folder in (TESTS, ROOT / "popserv" / "testing"):
        for path in sorted(folder.rglob("*.py")):
            for name in _functions(path):
                match = NAME.match(name)
                if match:
                    found.setdefault(f"{match[1]}-{match[2]}", []).append(f"{path.relative_to(ROOT)}::{name}")
    return found


def page() -> str:
    """The whole text."""
    sys.path.insert(0, str(ROOT))
    from popserv.session.states import diagram

    held, reasons, known = holders(), not_held(), rules()
    lines = [HEAD.format(held=sum(rule in held for rule in known), rules=len(known), diagram=diagram())]
    for part, title in parts().items():
        lines += [f"## {title}\n", "| rule | source | what it asks | held by |", "| --- | --- | --- | --- |"]
        for rule, (source, asked) in known.items():
            if rule.startswith(f"{part}-"):
                by = "<br>".join(f"`{test}`" for test in held.get(rule, [])) or f"not held: {reasons.get(rule, '?')}"
                lines.append(f"| {rule} | {source} | {asked} | {by} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
