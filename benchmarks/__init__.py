"""Benchmarks of qengine beside other queues and beside what the databases themselves can do. `./dev bench --help`.

Each measured system is a *subject*: a module of `peers/` or `ceilings/` that runs in a process of its own, in the virtual
environment that its `requirements/` file says, and does what an order tells it (`orders.py`). What runs in such a process
(`subject.py`, `orders.py`, `meter.py`, `workloads/`) uses the standard library only, but for the workloads that look inside
qengine.
"""
