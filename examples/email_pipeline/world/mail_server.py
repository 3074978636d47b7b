"""An SMTP server that times out, defers, refuses and limits the rate, as the recipient's address asks it to."""

import asyncio
import time
from collections import deque
from email.parser import BytesHeaderParser
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP

from email_pipeline.world.record import Delivery, Record

MAILS, WINDOW = 20, 3.0
"""The rate limit: so many mails in so many seconds."""
ANSWER_AFTER = 0.15
"""Seconds between accepting a mail and saying so: whoever dies in between does not know that it was accepted."""
LATE = 5.0
"""The same where the recipient's server `answers-late`: longer than the client waits."""


class MailServer:
    """The hooks that aiosmtpd calls; what they return is the answer to the client."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._accepted: deque[float] = deque(maxlen=MAILS)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        match address.rpartition("@")[2]:
            case "no-such-user.example":
                self._record.note("recipients refused (550)", address)
                return "550 5.1.1 no such user here"
            case "greylisting.example" if self._record.first("recipients deferred (451)", address):
                return "451 4.7.1 greylisted, please try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        [recipient] = envelope.rcpt_tos
        wait = self._until_allowed()
        if wait > 0:
            self._record.note("senders told to slow down (451)", recipient)
            return f"451 4.7.28 rate limit, retry after {wait:.2f} seconds"
        headers = BytesHeaderParser(policy=default).parsebytes(envelope.content)
        mail = Delivery(headers["Message-ID"], recipient, headers["Subject"])
        is_new = self._record.receive(mail)
        self._accepted.append(time.monotonic())
        late = recipient.endswith("@answers-late.example") and self._record.first(
            "mails accepted, but answered too late", recipient
        )
        await asyncio.sleep(LATE if late else ANSWER_AFTER)
        return "250 OK, accepted" if is_new else "250 OK, known by its Message-ID and not delivered again"

    def _until_allowed(self) -> float:
        if len(self._accepted) < MAILS:
            return 0.0
        return self._accepted[0] + WINDOW - time.monotonic()


async def serve_mail(record: Record) -> asyncio.Server:
    """Serve on a free port of 127.0.0.1."""
    handler = MailServer(record)
    return await asyncio.get_running_loop().create_server(lambda: SMTP(handler, hostname="world.example"), "127.0.0.1", 0)
