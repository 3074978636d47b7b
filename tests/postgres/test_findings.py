"""What figures of `diagnose` are called bad, how bad, and what is advised."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from qengine.backends.inspection import Finding
from qengine.backends.postgres import findings

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
SERVER: dict[str, Any] = {
    "now": NOW,
    "version": "17.2",
    "major": 17,
    "up": 86_400.0 * 3,
    "standby": False,
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "autovacuum": "on",
    "track_counts": "on",
    "connections": 97,
    "connected": 10,
    "database_connections": None,
    "database_connected": 9,
    "role_connections": None,
    "role_connected": 8,
    "transaction_age": 1_000,
}
TABLE: dict[str, Any] = {
    "name": "qengine_jobs",
    "size": 3 << 30,
    "indexes": 500 << 20,
    "rows": 1_000_000.0,
    "dead": 20_000,
    "vacuumed": NOW,
    "analyzed": NOW,
    "autovacuum": True,
    "scale_factor": 0.02,
    "threshold": 1000.0,
}
INDEX: dict[str, Any] = {
    "name": "qengine_jobs_claim",
    "on_table": "qengine_jobs",
    "valid": True,
    "is_unique": False,
    "size": 50 << 20,
    "entries": 1e6,
    "scans": 7_000,
}
OPEN: dict[str, Any] = {
    "who": "pid 12",
    "role": "app",
    "application": "report",
    "state": "idle in transaction",
    "age": 600.0,
    "pins": True,
    "remedy": "SELECT pg_terminate_backend(12)",
}
NO_SLOT: dict[str, Any] = {
    "slot": None,
    "active": None,
    "status": None,
    "kept": None,
    "most": 1 << 30,
    "archiver_fails": False,
    "listable": True,
}
SLOT: dict[str, Any] = {**NO_SLOT, "slot": "replica", "active": True, "status": "reserved", "kept": 1e6}
JOBS: dict[str, Any] = {"overdue": 0, "overdue_for": None, "waiting_for": None, "workers": 0}


def seen(*found: Finding) -> list[tuple[str, str]]:
    """Check and level of each; those that are not ok come with a remedy, and only those."""
    assert [bool(one.remedy) for one in found] == [one.level != "ok" for one in found], found
    assert all(one.text for one in found)
    return [(one.check, one.level) for one in found]


@pytest.mark.parametrize(
    ("facts", "level", "text"),
    [
        ({}, "ok", "PostgreSQL 17.2, up for 3 days"),
        ({"up": 7_300.0}, "ok", "PostgreSQL 17.2, up for 2 h"),
        ({"up": 1.24}, "ok", "PostgreSQL 17.2, up for 1.2 s"),
        ({"standby": True}, "problem", "takes no writes"),
        ({"major": 13, "version": "13.4"}, "warning", "no more fixes"),
    ],
)
def test_server(facts: dict[str, Any], level: str, text: str) -> None:
    found = findings.server({**SERVER, **facts})
    assert seen(found) == [("server", level)]
    assert text in found.text


@pytest.mark.parametrize(
    ("facts", "option", "level", "text"),
    [
        ({}, "full", "ok", "loses no commit"),
        ({"fsync": "off"}, "full", "problem", "fsync is off"),
        ({"full_page_writes": "off"}, "relaxed", "problem", "full_page_writes is off"),
        ({"synchronous_commit": "off"}, "full", "warning", "in its last second"),
        ({"synchronous_commit": "off"}, "relaxed", "ok", "may lose its last second"),
    ],
)
def test_durability(facts: dict[str, Any], option: str, level: str, text: str) -> None:
    found = findings.durability({**SERVER, **facts}, option)
    assert seen(found) == [("durability", level)]
    assert text in found.text


@pytest.mark.parametrize(
    ("ahead", "took", "level", "text"),
    [
        (0.0, 0.01, "ok", ""),
        (4.0, 0.01, "ok", ""),
        (30.0, 0.01, "warning", "30.0 s ahead of"),
        (-300.0, 0.01, "warning", "5 min behind"),
        (30.0, 100.0, "ok", ""),  # the answer took so long that it cannot be told
    ],
)
def test_clock(ahead: float, took: float, level: str, text: str) -> None:
    here = NOW - dt.timedelta(seconds=ahead)
    around = dt.timedelta(seconds=took / 2)
    found = findings.clock(findings.Facts(SERVER, here - around, here + around))
    assert seen(found) == [("clock", level)]
    assert text in found.text


@pytest.mark.parametrize(
    ("facts", "level", "text"),
    [
        ({}, "ok", "10 of 97"),
        ({"connected": 80}, "warning", "80 of 97"),
        ({"connected": 95}, "problem", "by max_connections"),
        ({"role_connections": 10}, "warning", "8 of 10 connections are taken (by the role's"),
        ({"database_connections": 9, "role_connections": 20}, "problem", "the database's CONNECTION LIMIT"),
        ({"database_connections": 0}, "problem", "9 of 0"),
    ],
)
def test_connections(facts: dict[str, Any], level: str, text: str) -> None:
    found = findings.connections({**SERVER, **facts})
    assert seen(found) == [("connections", level)]
    assert text in found.text


@pytest.mark.parametrize(("age", "level"), [(10, "ok"), (1_200_000_000, "warning"), (1_900_000_000, "problem")])
def test_freeze(age: int, level: str) -> None:
    assert seen(findings.freeze({**SERVER, "transaction_age": age})) == [("freeze", level)]


@pytest.mark.parametrize(
    ("open_ones", "level", "text"),
    [
        ([], "ok", ""),
        ([OPEN], "warning", "pid 12 of report (app, idle in transaction) has had a transaction open for 10 min"),
        ([{**OPEN, "age": 9_000.0}], "problem", "can be vacuumed away"),
        ([{**OPEN, "age": 9_000.0, "pins": False, "application": ""}, OPEN], "warning", "and 1 more for over 5 min: no dead row"),
        ([{**OPEN, "age": 9_000.0, "pins": False}], "warning", "open for 2 h"),
    ],
)
def test_transactions(open_ones: list[dict[str, Any]], level: str, text: str) -> None:
    found = findings.transactions(open_ones)
    assert seen(found) == [("transactions", level)]
    assert text in found.text


def test_locks() -> None:
    assert seen(findings.locks([])) == [("locks", "ok")]
    found = findings.locks([{"pid": 1, "waits": 130.0, "blockers": [9, 7]}, {"pid": 2, "waits": 6.0, "blockers": [7]}])
    assert seen(found) == [("locks", "warning")]
    assert found.text == "2 sessions wait for locks, the longest for 2 min, held by pid 7, 9"
    assert seen(findings.shut_out()) == [("locks", "problem")]


def test_sizes_name_the_largest_tables() -> None:
    small = {**TABLE, "name": "qengine_meta", "size": 8 << 10, "indexes": 100, "rows": 1.0}
    found = findings.sizes([small, TABLE])
    assert seen(found) == [("size", "ok")]
    assert found.text == (
        "qengine_jobs 3.0 GB and 500 MB of indexes, about 1,000,000 rows; qengine_meta 8 kB and 100 B of indexes, about 1 rows"
    )


@pytest.mark.parametrize(
    ("facts", "table", "level", "text"),
    [
        ({}, {}, "ok", "no table has more dead rows"),
        ({}, {"rows": 100.0, "dead": 9_000}, "ok", ""),
        ({"autovacuum": "off"}, {}, "problem", "autovacuum is off"),
        ({"track_counts": "off"}, {}, "problem", "track_counts is off"),
        ({}, {"autovacuum": False, "dead": 10**6}, "problem", "switched off for qengine_jobs"),
        (
            {},
            {"dead": 70_000},
            "warning",
            "70,000 dead rows beside 1,000,000; autovacuum should come at 21,000, and last did at 2",
        ),
        ({}, {"dead": 70_000, "vacuumed": None}, "warning", "last did never"),
        ({}, {"scale_factor": 0.2}, "warning", "only when 20% of it is dead"),
        ({}, {"scale_factor": 0.2, "name": "qengine_errors"}, "ok", ""),
        ({}, {"analyzed": None}, "warning", "never been analyzed"),
        (
            {"autovacuum": "off"},
            {"analyzed": None, "dead": 70_000},
            "problem",
            "off: dead rows are never vacuumed away, and every claim gets slower; qengine_jobs has 70,000",
        ),
    ],
)
def test_autovacuum(facts: dict[str, Any], table: dict[str, Any], level: str, text: str) -> None:
    found = findings.autovacuum({**SERVER, **facts}, [{**TABLE, **table}])
    assert seen(found) == [("autovacuum", level)]
    assert text in found.text


@pytest.mark.parametrize(
    ("index", "level", "text"),
    [
        ({}, "ok", "all 1 are there and valid; the most used is qengine_jobs_claim (7,000 scans)"),
        ({"valid": False}, "problem", "is not valid"),
        ({"size": 600 << 20, "entries": 10.0}, "warning", "takes 600 MB for 10 entries"),
        ({"size": 600 << 20, "entries": 1e6}, "ok", ""),
        ({"name": "mine", "scans": 0}, "warning", "mine on qengine_jobs is none of qengine's and was never used"),
        ({"name": "mine", "scans": 1}, "ok", ""),
        ({"name": "qengine_jobs_pkey", "scans": 0, "is_unique": True}, "ok", ""),
    ],
)
def test_indexes(index: dict[str, Any], level: str, text: str) -> None:
    found = findings.indexes([INDEX, {**INDEX, **index}], ["qengine_jobs_claim"])
    assert seen(found) == [("indexes", level)]
    assert text in found.text


def test_a_missing_index_is_named() -> None:
    found = findings.indexes([INDEX], ["qengine_jobs_claim", "qengine_jobs_due", "qengine_jobs_lease"])
    assert seen(found) == [("indexes", "problem")]
    assert found.text == "missing: qengine_jobs_due, qengine_jobs_lease"


@pytest.mark.parametrize(
    ("rows", "size", "level", "text"),
    [
        ([NO_SLOT], None, "ok", "hidden from this role"),
        ([NO_SLOT], 2e9, "ok", "takes 1.9 GB"),
        ([NO_SLOT], 9e9, "warning", "takes 8.4 GB, max_wal_size is 1.0 GB"),
        ([{**NO_SLOT, "archiver_fails": True}], 1e6, "problem", "archiving fails"),
        ([SLOT], 1e6, "ok", ""),
        ([{**SLOT, "kept": 5e9}], 1e6, "ok", ""),
        ([{**SLOT, "kept": 5e9, "active": False}], 1e6, "warning", "slot replica (used by nobody) keeps 4.7 GB of WAL"),
        ([{**SLOT, "status": "lost"}], 1e6, "problem", "slot replica (active)"),
    ],
)
def test_wal(rows: list[dict[str, Any]], size: float | None, level: str, text: str) -> None:
    found = findings.wal(rows, size)
    assert seen(found) == [("wal_size", level)]
    assert text in found.text


@pytest.mark.parametrize(
    ("jobs", "level", "text", "remedy"),
    [
        ({}, "ok", "", ""),
        ({"overdue": 3, "overdue_for": 50.0}, "ok", "", ""),
        (
            {"overdue": 3, "overdue_for": 90.0},
            "problem",
            "3 jobs have a lease that is over, the first for 90.0 s",
            "start a worker",
        ),
        ({"overdue": 1000, "overdue_for": 90.0, "workers": 2}, "problem", "1,000 jobs or more", "2 live: look at their logs"),
    ],
)
def test_leases(jobs: dict[str, Any], level: str, text: str, remedy: str) -> None:
    found = findings.leases({**JOBS, **jobs})
    assert seen(found) == [("leases", level)]
    assert text in found.text
    assert remedy in found.remedy


def test_due() -> None:
    assert seen(findings.due(JOBS), findings.due({**JOBS, "waiting_for": 59.0})) == [("due", "ok")] * 2
    found = findings.due({**JOBS, "waiting_for": 7_300.0})
    assert seen(found) == [("due", "problem")]
    assert "2 h ago" in found.text


def test_unhandled() -> None:
    assert seen(findings.unhandled([])) == [("unhandled", "ok")]
    found = findings.unhandled([f"t{n}" for n in range(12)])
    assert seen(found) == [("unhandled", "warning")]
    assert found.text.endswith("t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, …")


def test_a_schema_that_cannot_be_used() -> None:
    old = findings.no_schema("the qengine schema is at 1, this release needs 2; run `qengine migrate`")
    assert (old.text, old.remedy) == ("the qengine schema is at 1, this release needs 2", "run `qengine migrate`")
    assert seen(findings.no_schema("the schema version is no number")) == [("schema", "problem")]


def test_the_worst_comes_first() -> None:
    unused = {**INDEX, "name": "mine", "scans": 0}
    broken = {**INDEX, "valid": False}
    found = findings.indexes([unused, broken], ["qengine_jobs_claim"])
    assert seen(found) == [("indexes", "problem")]
    assert found.text.startswith("qengine_jobs_claim is not valid: its making was broken off, and no query uses it; mine on")
    assert found.remedy == "REINDEX INDEX CONCURRENTLY qengine_jobs_claim; DROP INDEX CONCURRENTLY mine"
