"""What the figures of `diagnose` mean: which are bad, how bad, and what to do. Nothing here asks the database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from qengine.backends.inspection import Finding

Row = Mapping[str, Any]
Level = Literal["ok", "warning", "problem"]


class Facts(NamedTuple):
    """The settings and the state of the server, and between which moments of this machine's time it answered."""

    server: Row
    before: dt.datetime
    after: dt.datetime


class Fault(NamedTuple):
    """One of several things that a check can find wrong."""

    level: Level
    text: str
    remedy: str


MAINTAINED = 15
"""The oldest release of PostgreSQL that still got fixes when this was written."""
SKEW = 5.0
"""Seconds by which two clocks may differ."""
LATE = 60.0
"""Seconds after which an ended lease or a due job that no worker has dealt with is a problem."""
OPEN, OPEN_TOO_LONG = 300.0, 3600.0
"""Seconds for which an open transaction is a warning, and a problem."""
WAITING = 5.0
"""Seconds of waiting for a lock that are worth telling."""
DEAD = 10_000
"""Dead rows of a table that are not worth a word, whatever their share."""
LARGE_INDEX, LARGE_ENTRY = 256 << 20, 1000
"""Bytes of an index that are worth a look, and bytes for each of its entries that tell of bloat."""
LARGE_WAL = 1 << 30
"""Bytes of kept write-ahead log that are worth a word."""
OLD, TOO_OLD = 1_000_000_000, 1_600_000_000
"""Transactions since the last freeze that are a warning, and a problem: at two billion the server stops."""


def no_schema(error: str) -> Finding:
    """The schema cannot be used; the error says why and what to do."""
    text, _, remedy = error.partition("; ")
    return Finding("schema", "problem", text, remedy or "look whether the option schema= names the right one")


def server(facts: Row) -> Finding:
    """The release, and whether it is a server to write to."""
    text = f"PostgreSQL {facts['version']}, up for {_span(facts['up'])}"
    if facts["standby"]:
        return Finding("server", "problem", f"{text}: a standby, which takes no writes", "name the primary in the URL")
    if facts["major"] < MAINTAINED:
        return Finding("server", "warning", f"{text}: a release that gets no more fixes", "upgrade the server")
    return Finding("server", "ok", text)


def durability(facts: Row, option: str) -> Finding:
    """Whether a commit outlives a crash of the server."""
    for setting in ("fsync", "full_page_writes"):
        if facts[setting] != "on":
            text = f"{setting} is {facts[setting]}: a crash of the machine can destroy the whole database"
            return Finding("durability", "problem", text, f"ALTER SYSTEM SET {setting} = on; SELECT pg_reload_conf()")
    mode = facts["synchronous_commit"]
    if mode == "off" and option != "relaxed":
        text = "synchronous_commit is off: a crash of the server can undo what was enqueued or settled in its last second"
        remedy = "set it to on for the database or the role; if it is meant, say so with durability=relaxed"
        return Finding("durability", "warning", text, remedy)
    lost = "may lose its last second" if mode == "off" else "loses no commit"
    return Finding("durability", "ok", f"fsync on, synchronous_commit {mode}: a crash of the server {lost}")


def clock(facts: Facts) -> Finding:
    """Whether this machine has the server's time, as far as the time that the answer took allows to tell."""
    now: dt.datetime = facts.server["now"]
    ahead = max((now - facts.after).total_seconds(), 0.0) - max((facts.before - now).total_seconds(), 0.0)
    if abs(ahead) <= SKEW:
        return Finding("clock", "ok", f"the server and this machine differ by no more than {SKEW:g} s")
    text = f"the server's clock is {_span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine's"
    remedy = "let both follow NTP; due times and leases go by the server's, `at=` and logs by each machine's own"
    return Finding("clock", "warning", text, remedy)


def connections(facts: Row) -> Finding:
    """How many more connections the server takes, by the tightest of its limits."""
    limits = [
        (facts["connected"], facts["connections"], "max_connections"),
        (facts["database_connected"], facts["database_connections"], "the database's CONNECTION LIMIT"),
        (facts["role_connected"], facts["role_connections"], "the role's CONNECTION LIMIT"),
    ]
    used, most, name = max((limit for limit in limits if limit[1] is not None), key=lambda limit: limit[0] / max(limit[1], 1))
    text = f"{used} of {most} connections are taken (by {name}, less what is reserved)"
    share = used / max(most, 1)
    if share < 0.8:
        return Finding("connections", "ok", text)
    remedy = f"raise {name}, use a smaller pool_size or fewer processes, or put PgBouncer before it (with listen=False)"
    return Finding("connections", "warning" if share < 0.95 else "problem", text, remedy)


def freeze(facts: Row) -> Finding:
    """How far the database is from the end of its transaction numbers."""
    age = facts["transaction_age"]
    text = f"{age:,} transactions since the oldest that is not frozen"
    if age < OLD:
        return Finding("freeze", "ok", text)
    remedy = "VACUUM (FREEZE) in this database, after ending what pins old rows: at 2,000,000,000 the server takes no more writes"
    return Finding("freeze", "warning" if age < TOO_OLD else "problem", text, remedy)


def transactions(open_ones: Sequence[Row]) -> Finding:
    """Transactions that have been open for OPEN seconds, the oldest first."""
    if not open_ones:
        return Finding("transactions", "ok", f"no transaction has been open for {_span(OPEN)}")
    worst = next((one for one in open_ones if one["pins"]), open_ones[0])
    who = worst["who"] + (f" of {worst['application']}" if worst["application"] else "")
    text = f"{who} ({worst['role']}, {worst['state']}) has had a transaction open for {_span(worst['age'])}"
    if len(open_ones) > 1:
        text += f", and {len(open_ones) - 1} more for over {_span(OPEN)}"
    if worst["pins"]:
        text += ": no dead row that is younger can be vacuumed away, and claims get slower"
    level: Level = "problem" if worst["pins"] and worst["age"] >= OPEN_TOO_LONG else "warning"
    remedy = f"end it ({worst['remedy']}); idle_in_transaction_session_timeout ends forgotten ones by itself"
    return Finding("transactions", level, text, remedy)


def locks(waiting: Sequence[Row]) -> Finding:
    """Sessions that have waited for WAITING seconds, those that waited longest first."""
    if not waiting:
        return Finding("locks", "ok", f"no session has waited for a lock for {WAITING:g} s")
    blockers = sorted({pid for one in waiting for pid in one["blockers"]})
    text = (
        f"{len(waiting)} sessions wait for locks, the longest for {_span(waiting[0]['waits'])}, held by pid {_listed(blockers)}"
    )
    remedy = "look at what they do in pg_stat_activity; end the one in the way: SELECT pg_terminate_backend(pid)"
    return Finding("locks", "warning", text, remedy)


def shut_out() -> Finding:
    """The tables could not even be looked at."""
    text = "another session holds a lock that lets nobody read the tables (ALTER TABLE, VACUUM FULL, CLUSTER, LOCK)"
    return Finding("locks", "problem", text, "wait for it, or end it: SELECT * FROM pg_locks WHERE mode = 'AccessExclusiveLock'")


def sizes(tables: Iterable[Row]) -> Finding:
    """What the tables and their indexes take."""
    large = sorted(tables, key=lambda table: (-table["size"] - table["indexes"], table["name"]))
    told = [
        f"{t['name']} {_size(t['size'])} and {_size(t['indexes'])} of indexes, about {t['rows']:,.0f} rows" for t in large[:3]
    ]
    return Finding("size", "ok", "; ".join(told))


def autovacuum(facts: Row, tables: Iterable[Row]) -> Finding:
    """Whether dead rows go away in time."""
    found: list[Fault] = []
    for setting in ("autovacuum", "track_counts"):
        if facts[setting] != "on":
            text = f"{setting} is off: dead rows are never vacuumed away, and every claim gets slower"
            found.append(Fault("problem", text, f"ALTER SYSTEM SET {setting} = on; SELECT pg_reload_conf()"))
    for table in tables:
        name, rows, dead = table["name"], table["rows"], table["dead"]
        begins = table["threshold"] + table["scale_factor"] * rows
        if not table["autovacuum"]:
            text = f"autovacuum is switched off for {name}"
            found.append(Fault("problem", text, f"ALTER TABLE {name} RESET (autovacuum_enabled)"))
        elif dead > max(DEAD, 3 * begins):
            when = "never" if table["vacuumed"] is None else f"at {table['vacuumed']:%Y-%m-%d %H:%M} UTC"
            text = (
                f"{name} has {dead:,} dead rows beside {rows:,.0f}; autovacuum should come at {begins:,.0f}, and last did {when}"
            )
            remedy = (
                f"VACUUM (ANALYZE) {name}, after ending long transactions; raise autovacuum_vacuum_cost_limit if it comes again"
            )
            found.append(Fault("warning", text, remedy))
        elif name == "qengine_jobs" and table["scale_factor"] > 0.1:
            text = f"autovacuum comes to {name} only when {table['scale_factor']:.0%} of it is dead"
            found.append(Fault("warning", text, f"ALTER TABLE {name} SET (autovacuum_vacuum_scale_factor = 0.02)"))
        if rows > DEAD and table["analyzed"] is None:
            text = f"{name} has never been analyzed: the planner knows nothing of it"
            found.append(Fault("warning", text, f"ANALYZE {name}"))
    return _all(found, "autovacuum") or Finding(
        "autovacuum", "ok", "it is on, and no table has more dead rows than it lets pile up"
    )


def indexes(found: Sequence[Row], needed: Sequence[str]) -> Finding:
    """Whether the indexes that this release needs are there and sound, and which others cost for nothing."""
    by_name = {index["name"]: index for index in found}
    told: list[Fault] = []
    missing = sorted(set(needed) - set(by_name))
    if missing:
        remedy = "make them again, with CREATE INDEX CONCURRENTLY: `qengine migrate --sql` prints their statements"
        told.append(Fault("problem", f"missing: {', '.join(missing)}", remedy))
    for name, index in by_name.items():
        if not index["valid"]:
            text = f"{name} is not valid: its making was broken off, and no query uses it"
            told.append(Fault("problem", text, f"REINDEX INDEX CONCURRENTLY {name}"))
        elif index["size"] > max(LARGE_INDEX, LARGE_ENTRY * index["entries"]):
            text = f"{name} takes {_size(index['size'])} for {index['entries']:,.0f} entries"
            told.append(Fault("warning", text, f"REINDEX INDEX CONCURRENTLY {name}"))
        elif name not in needed and not index["is_unique"] and not index["scans"]:
            text = f"{name} on {index['on_table']} is none of qengine's and was never used; every write pays for it"
            told.append(Fault("warning", text, f"DROP INDEX CONCURRENTLY {name}"))
    if (faults := _all(told, "indexes")) is not None:
        return faults
    scans = {name: by_name[name]["scans"] for name in needed}
    most = max(needed, key=lambda name: scans[name])
    text = f"all {len(needed)} are there and valid; the most used is {most} ({scans[most]:,} scans)"
    return Finding("indexes", "ok", text)


def wal(rows: Sequence[Row], size: float | None) -> Finding:
    """How much write-ahead log is kept, and what keeps it; `size`: on disk, None where we may not look."""
    told: list[Fault] = []
    for slot in rows:
        if slot["slot"] is None:
            continue
        user = "active" if slot["active"] else "used by nobody"
        about = f"replication slot {slot['slot']} ({user}) keeps {_size(slot['kept'])} of WAL"
        if slot["status"] in ("unreserved", "lost"):
            text = f"{about}, and the server has begun to take it away: its reader will have to start anew"
            told.append(Fault("problem", text, "make the replica anew, or raise max_slot_wal_keep_size"))
        elif slot["kept"] > LARGE_WAL and not slot["active"]:
            remedy = f"SELECT pg_drop_replication_slot('{slot['slot']}'), unless its reader comes back soon"
            told.append(Fault("warning", about, remedy))
    if rows[0]["archiver_fails"]:
        text = "archiving fails: the WAL is kept until the disk is full"
        told.append(Fault("problem", text, "look at the server's log for the archive_command, and at pg_stat_archiver"))
    if size is not None and size > max(LARGE_WAL, 3 * rows[0]["most"]):
        text = f"the WAL takes {_size(size)}, max_wal_size is {_size(rows[0]['most'])}"
        told.append(Fault("warning", text, "look for what keeps it: slots, a failing archiver, wal_keep_size"))
    if (faults := _all(told, "wal_size")) is not None:
        return faults
    takes = "the WAL's size is hidden from this role (GRANT pg_monitor)" if size is None else f"the WAL takes {_size(size)}"
    return Finding("wal_size", "ok", f"{takes}; no slot and no archiver holds it back")


def leases(jobs: Row) -> Finding:
    """Leases that ended and were not taken back."""
    if (jobs["overdue_for"] or 0.0) <= LATE:
        return Finding("leases", "ok", "leases that end are taken back in time")
    many = f"{jobs['overdue']} jobs" if jobs["overdue"] < 1000 else "1,000 jobs or more"
    text = f"{many} have a lease that is over, the first for {_span(jobs['overdue_for'])}"
    return Finding("leases", "problem", text, _start(jobs["workers"], "takes them back"))


def due(jobs: Row) -> Finding:
    """Jobs whose time has come and that are not in line."""
    if (jobs["waiting_for"] or 0.0) <= LATE:
        return Finding("due", "ok", "jobs that come due are put in line in time")
    text = f"jobs that came due {_span(jobs['waiting_for'])} ago are not in line yet"
    return Finding("due", "problem", text, _start(jobs["workers"], "puts them in line"))


def unhandled(types: Sequence[str]) -> Finding:
    """Types in line that nobody serves."""
    if not types:
        return Finding("unhandled", "ok", "every type in line is served by a live worker")
    text = f"jobs wait of types that no live worker of their queue serves: {_listed(types)}"
    return Finding("unhandled", "warning", text, "start a worker that has these tasks, and serves their queues")


def _all(faults: Sequence[Fault], check: str) -> Finding | None:
    """The faults that one check has found as one finding, the worst first; None when there are none."""
    if not faults:
        return None
    ordered = sorted(faults, key=lambda fault: fault.level != "problem")
    remedies = dict.fromkeys(fault.remedy for fault in ordered)
    return Finding(check, ordered[0].level, "; ".join(fault.text for fault in ordered), "; ".join(remedies))


def _start(workers: int, does: str) -> str:
    if workers:
        return f"any worker {does}, and {workers} live: look at their logs for errors of upkeep"
    return f"start a worker, of whatever types: any {does}"


def _listed(things: Sequence[Any]) -> str:
    return ", ".join(map(str, things[:10])) + (", …" if len(things) > 10 else "")


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} GB"


def _span(seconds: float) -> str:
    for length, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"
