"""The list of mutants fits the source, and the table of invariants names tests that exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mutants import MUTANTS, Mutant

TESTS = Path(__file__).parent.parent
SOURCE = TESTS.parent / "src" / "qengine"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_what_it_breaks_is_there_once(mutant: Mutant) -> None:
    for file, old, new in mutant.edits:
        assert (SOURCE / file).read_text().count(old) == 1, f"{old!r} in {file}"
        assert new != old


def test_every_invariant_has_a_mutant() -> None:
    assert {mutant.invariant for mutant in MUTANTS} == set(range(1, 11))


def test_the_table_names_every_mutant() -> None:
    _, _, table = (TESTS / "README.md").read_text().partition("## Shown to fail")
    told = {
        (int(number), name) for number, names in re.findall(r"^\| (\d+) \| (.+) \|$", table, re.M) for name in names.split("<br>")
    }
    assert told == {(mutant.invariant, mutant.name) for mutant in MUTANTS}


NAMED = re.findall(r"`([\w./]+\.py)::(\w+)(?:::(\w+))?`", (TESTS / "README.md").read_text())


@pytest.mark.parametrize("place", NAMED, ids="::".join)
def test_the_table_names_tests_that_exist(place: tuple[str, str, str]) -> None:
    file, *names = place
    text = (TESTS.parent / file).read_text()
    for name in filter(None, names):
        assert re.search(rf"\b(?:def|class) {name}\b", text), f"{file} has no {name}"


def test_the_table_is_not_empty() -> None:
    assert len(NAMED) > 30
