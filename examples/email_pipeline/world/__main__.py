"""The process of the outside world: `python -m email_pipeline.world RECORD`.

Prints its two ports as JSON once they are open, and ends when its standard input is closed: with whoever started it.
"""

import asyncio
import json
import sys
from pathlib import Path

from email_pipeline.world.mail_server import serve_mail
from email_pipeline.world.record import Record
from email_pipeline.world.web_server import serve_web


async def main(path: Path) -> None:
    record = Record(path)
    mail = await serve_mail(record)
    web = serve_web(record)
    print(json.dumps({"smtp": mail.sockets[0].getsockname()[1], "web": web.server_port}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    mail.close()
    web.shutdown()


asyncio.run(main(Path(sys.argv[1])))
