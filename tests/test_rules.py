"""Every rule has a test or a reason, every rule test a rule, and the page says so."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

GENERATOR = Path(__file__).parent.parent / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", GENERATOR)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_rule_is_held_by_a_test_or_has_a_reason(generator: ModuleType) -> None:
    held, reasons = generator.holders(), generator.not_held()
    assert [rule for rule in generator.rules() if rule not in held and rule not in reasons] == []


def test_no_reason_is_given_for_a_rule_that_is_held(generator: ModuleType) -> None:
    assert sorted(generator.holders().keys() & generator.not_held().keys()) == []


def test_every_rule_test_names_a_known_rule(generator: ModuleType) -> None:
    known, parts = generator.rules(), generator.parts()
    strangers = {rule: tests for rule, tests in generator.holders().items() if rule not in known}
    assert {rule: tests for rule, tests in strangers.items() if rule.partition("-")[0] in parts} == {}


def test_the_page_is_up_to_date(generator: ModuleType) -> None:
    assert generator.PAGE.read_text("utf-8") == generator.page(), "run: python docs/generate.py"
