"""An async job queue in the database you already have: SQLite or PostgreSQL, one API."""

from qengine.backends.inspection import Activity, AuditEntry, Finding, Page
from qengine.backends.protocol import FailureGroup, Pause, Schedule, Stats, WorkerInfo
from qengine.clock import Clock, SystemClock
from qengine.context import JobContext
from qengine.engine import Engine
from qengine.engine.counts import Counts, Glance
from qengine.engine.health import Health
from qengine.errors import (
    BackendUnavailable,
    ConfigurationError,
    DuplicateTask,
    JobFailed,
    JobNotFound,
    LeaseLost,
    PayloadError,
    QEngineError,
    SchemaError,
    UnknownTask,
)
from qengine.events import Event
from qengine.job import DeadReason, Job, JobError, Status
from qengine.outcomes import Cancel, Discard, RetryAfter, Snooze
from qengine.retry import RetryPolicy
from qengine.task import Task
from qengine.worker import Worker

__all__ = [
    "Activity",
    "AuditEntry",
    "BackendUnavailable",
    "Cancel",
    "Clock",
    "ConfigurationError",
    "Counts",
    "DeadReason",
    "Discard",
    "DuplicateTask",
    "Engine",
    "Event",
    "FailureGroup",
    "Finding",
    "Glance",
    "Health",
    "Job",
    "JobContext",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "LeaseLost",
    "Page",
    "Pause",
    "PayloadError",
    "QEngineError",
    "RetryAfter",
    "RetryPolicy",
    "Schedule",
    "SchemaError",
    "Snooze",
    "Stats",
    "Status",
    "SystemClock",
    "Task",
    "UnknownTask",
    "Worker",
    "WorkerInfo",
]

for _name in __all__:
    # Messages and tracebacks say `qengine.LeaseLost`, wherever the class is written.
    if isinstance(_object := globals()[_name], type):
        _object.__module__ = __name__
del _name, _object
