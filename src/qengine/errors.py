"""Every error that qengine raises on purpose.

QEngineError
├── ConfigurationError      an option, URL, name or call that can never work; also a ValueError
│   └── DuplicateTask       two tasks under one name
├── PayloadError            arguments that do not fit the handler, or cannot be stored; also a ValueError
├── UnknownTask             a task was asked for by a name that is not registered; also a LookupError
├── LeaseLost               the job is no longer ours: nothing of what was written under the lease applies
├── JobFailed               `job.wait()`: the job ended, and not as completed
├── JobNotFound             no job has this id; also a LookupError
├── BackendUnavailable      the database cannot be reached or does not answer now; trying again may help
└── SchemaError             the database holds another schema than this release can use

Driver errors are translated at the edge of each backend and kept as `__cause__`.
"""

from __future__ import annotations


class QEngineError(Exception):
    """The base of all errors raised by qengine."""


class ConfigurationError(QEngineError, ValueError):
    """An option, URL, name or call that can never work. The message names the value and the remedy."""


class DuplicateTask(ConfigurationError):
    """Two tasks were registered under one name."""


class PayloadError(QEngineError, ValueError):
    """The arguments of a job do not fit its handler or cannot be stored. Nothing was stored.

    `parameter` names the offending parameter, where there is one.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnknownTask(QEngineError, LookupError):
    """A task was asked for by a name under which none is registered."""


class LeaseLost(QEngineError):
    """The lease on a job has ended: it expired and was reclaimed, or the job was cancelled, requeued or deleted.

    Raised inside a handler by whatever it tried to write; the write did not happen.
    """


class JobFailed(QEngineError):
    """`job.wait()` found that the job ended otherwise than completed.

    `job` is the job as it ended (its `status`, `dead_reason` and `last_error` say why).
    """

    def __init__(self, message: str, *, job: object = None) -> None:
        super().__init__(message)
        self.job = job


class JobNotFound(QEngineError, LookupError):
    """No job has this id: it never existed, or was deleted, by hand or by retention."""


class BackendUnavailable(QEngineError):
    """The database cannot be reached, or did not answer; the same call may succeed later."""


class SchemaError(QEngineError):
    """The database has no qengine schema, a newer one than this release knows, or something else in its place."""
