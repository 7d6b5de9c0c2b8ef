"""The sample file and the reference page."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import attrs
import pytest

from popserv.service.config import from_table
from popserv.service.describe import describe, key_docs, plugin_options, reference
from popserv.service.schema import DEFAULT_LISTEN, CertificateFiles, Config, Listen
from popserv.service.structure import keys

ROOT = Path(__file__).parents[2]

RECORDS: list[type[Any]] = [
    *(get_type_hints(Config)[field.name] for field in keys(Config) if field.name != "listen"),
    Listen,
    CertificateFiles,
    *(record for group in ("accounts", "stores") for _name, record in plugin_options(group)),
]


def test_the_sample_is_up_to_date() -> None:
    assert (ROOT / "etc" / "popserv.toml").read_text() == describe(), "run: popserv config describe > etc/popserv.toml"


def test_the_reference_is_up_to_date() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == reference(), "run: popserv config describe --format markdown > docs/configuration.md"


def test_the_sample_loads_and_says_the_defaults() -> None:
    config = from_table(tomllib.loads(describe()), Path("/etc/popserv"))
    assert config.listen == DEFAULT_LISTEN
    default = Config(base=config.base)
    for field in keys(Config):
        if field.name not in ("server", "listen", "tls"):
            assert getattr(config, field.name) == getattr(default, field.name)


def test_the_sample_loads_with_every_comment_sign_removed() -> None:
    # Each commented key is a line of its own beginning with "# name = value".
    lines = []
    for line in describe().splitlines():
        bare = line.removeprefix("# ")
        is_key = bare.split(" = ")[0].replace("_", "").isalpha() and " = " in bare
        is_table = bare.startswith("[") and bare.endswith("]") and " " not in bare
        lines.append(bare if is_key or is_table else "")
    table = tomllib.loads("\n".join(lines))
    assert set(table) == {field.name for field in keys(Config)}
    assert set(table["limits"]) == {field.name for field in keys(get_type_hints(Config)["limits"])}
    config = from_table(table, Path("/etc/popserv"))
    assert config.pop3.extensions == ("last",)
    assert [listen.protocol for listen in config.listen] == ["pop3", "pop3", "lmtp"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.__module__}.{record.__name__}")
def test_every_key_is_explained(record: type[Any]) -> None:
    docs = key_docs(record)
    for field in keys(record):
        assert docs.get(field.name, "").endswith("."), field.name


def test_every_key_has_a_default_that_its_bounds_allow() -> None:
    for record in RECORDS:
        for field in attrs.fields(record):
            if field.default is not attrs.NOTHING and field.validator is not None:
                default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
                field.validator(None, field, default)
