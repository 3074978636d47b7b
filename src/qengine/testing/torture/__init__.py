"""The torture test: real workers on a real database, a nemesis that breaks what it can, and a checker that judges.

Run it with `python -m qengine.testing.torture --backend sqlite --minutes 2`. It starts worker processes and processes
that enqueue, cancel, requeue and pause; kills, freezes, floods and cuts them off, at random from a seed; then lets
everything come to rest, reads what happened from three sides (what the handlers wrote into their ledgers, what triggers
in the database recorded, what is stored at the end), and lists every broken promise with the job's whole history.

- `options`, `__main__`: what can be asked for; `run`: one run from beginning to end.
- `cluster`: the processes; `member`: what runs in them; `app`: the handlers; `load`: who enqueues and administers.
- `nemesis`: the faults, one small class each; with `proxy`, `server` and `disk` as its tools.
- `ledger`, `store`, `history`: what is known about the run; `checker`: the judgement; `report`: the telling.
"""
