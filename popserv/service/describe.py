"""The sample file and the reference page, made of the records of the configuration.

What a key means stands as a string below its field, which Python drops; so it is read from the source.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import attrs

from popserv import plugins
from popserv.service.schema import DEFAULT_LISTEN, Auth, Config, Listen, Server, Tls
from popserv.service.schema_mail import Maildrop
from popserv.service.structure import keys

HEAD = """\
popserv configuration. Every key stands here; those behind "#" need not be set.
Relative paths are relative to this file. Unknown keys are errors. `popserv check` looks for what is wrong.
"""

REQUIRED: Mapping[type[Any], tuple[str, ...]] = {
    Server: ("hostname",),
    Listen: ("endpoint", "tls"),
    Tls: ("certificate", "key"),
    Auth: ("checkers",),
    Maildrop: ("location",),
}
"""Keys that the sample sets: an administrator has to think about them."""

WIDTH = 118


def key_docs(record: type[Any]) -> dict[str, str]:
    """What is written below each field of `record`, on one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the source of a class
    docs = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            docs[field.target.id] = " ".join(ast.literal_eval(below.value).replace("``", "`").split())
    return docs


def describe() -> str:
    """The sample file: every key, documented, and a configuration that loads."""
    return "\n".join(_sample()) + "\n"


def _sample() -> Iterator[str]:
    for line in HEAD.splitlines():
        yield f"# {line}"
    hints = get_type_hints(Config)
    for section in keys(Config):
        if section.name == "listen":
            yield from _listeners()
            continue
        record = hints[section.name]
        yield from ("", f"[{section.name}]", *_comment(inspect.getdoc(record) or ""), "")
        yield from _keys(record, {})
        for field in attrs.fields(record):
            if "tables" in field.metadata:
                yield from _plugin_tables(section.name, field.metadata["tables"])


def _listeners() -> Iterator[str]:
    yield from ("", *_comment(inspect.getdoc(Listen) or ""))
    first, second = DEFAULT_LISTEN
    yield "[[listen]]"
    yield from _keys(Listen, {"endpoint": first.endpoint, "tls": first.tls})
    yield from ("", "[[listen]]", f"endpoint = {_toml(second.endpoint)}", f"tls = {_toml(second.tls)}")
    yield from ("", "# [[listen]]", '# protocol = "lmtp"', '# endpoint = "unix:/run/popserv/lmtp"')


def _keys(record: type[Any], values: Mapping[str, Any]) -> Iterator[str]:
    docs = key_docs(record)
    for field in keys(record):
        yield from _comment(docs.get(field.name, ""))
        shown = values.get(field.name, _shown(field))
        yield f"{'' if field.name in REQUIRED.get(record, ()) else '# '}{field.name} = {_toml(shown)}"


def _plugin_tables(section: str, group: str) -> Iterator[str]:
    for name, record in plugin_options(group):
        yield from ("", f"# [{section}.{name}]")
        for line in _keys(record, {}):
            yield line if line.startswith("#") else f"# {line}"


def plugin_options(group: str) -> Iterator[tuple[str, type[Any]]]:
    """The plug-ins of `group` that have options, with the record of them."""
    for name in plugins.names(group):
        record = plugins.find(group, name).options
        if keys(record):
            yield name, record


def _shown(field: attrs.Attribute[Any]) -> Any:
    """The value that stands in the sample: the default, unless that says nothing."""
    if "sample" in field.metadata:
        return field.metadata["sample"]
    return field.default


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) else str(int(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    text = "" if value is None else str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), WIDTH - 2):
        yield f"# {line}"


def reference() -> str:
    """docs/configuration.md."""
    return "\n".join(_reference()) + "\n"


def _reference() -> Iterator[str]:
    yield from (
        "# Configuration",
        "",
        "One TOML file: the one that `--config` names, else `$POPSERV_CONFIG`, else `./popserv.toml`, else",
        "`/etc/popserv/popserv.toml`. Relative paths are relative to the file. Unknown keys are errors; `popserv",
        "check` shows all errors at once. SIGHUP reloads everything or, if anything is wrong, nothing.",
        "",
        "Made by `popserv config describe --format markdown`, as [etc/popserv.toml](../etc/popserv.toml) is by",
        "`popserv config describe`.",
    )
    hints = get_type_hints(Config)
    for section in keys(Config):
        record = Listen if section.name == "listen" else hints[section.name]
        title = "[[listen]]" if record is Listen else f"[{section.name}]"
        yield from ("", f"## `{title}`", "", " ".join((inspect.getdoc(record) or "").split()), "")
        yield from _table(record)
        for field in attrs.fields(record):
            if "tables" in field.metadata:
                for name, options in plugin_options(field.metadata["tables"]):
                    yield from ("", f"### `[{section.name}.{name}]`", "", *_table(options))


def _table(record: type[Any]) -> Iterator[str]:
    docs = key_docs(record)
    yield from ("| Key | Default | Meaning |", "| --- | --- | --- |")
    for field in keys(record):
        yield f"| `{field.name}` | {_default(field)} | {docs.get(field.name, '')} |"


def _default(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    # A computed default and None are explained by the key's text.
    if field.default is None or isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
        return ""
    return f"`{_toml(field.default)}`"
