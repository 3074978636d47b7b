"""The worker pool: it claims jobs, runs their handlers and writes down how they ended.

It knows a backend, the tasks and its options, and never the engine or SQL.
"""

from qengine.worker.options import Rules, WorkerOptions
from qengine.worker.pool import Worker

__all__ = ["Rules", "Worker", "WorkerOptions"]
