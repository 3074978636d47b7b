"""An e-mail to the operator on each new kind of error: one for fifty failures that are alike, and no job waits for it.

python examples/alert_by_mail.py
"""

import asyncio
import smtplib
import tempfile
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session

from qengine import Engine
from qengine.events import Event

FOLDER = tempfile.TemporaryDirectory()
engine = Engine(f"sqlite:///{FOLDER.name}/shop.db")
mail_server = ("127.0.0.1", 0)
inbox: dict[str, str] = {}  # what arrived: text by subject


class Receive:
    """Stands in for the company's mail server; what it gets comes over real SMTP."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        message = message_from_bytes(envelope.content, EmailMessage, policy=policy.default)
        assert message["Subject"] not in inbox, "told twice"
        inbox[message["Subject"]] = message.get_content()
        return "250 thank you"


@engine.task(max_attempts=1)
async def charge(customer: int) -> None:
    raise ValueError(f"the card of customer {customer} has expired")


@engine.task(max_attempts=1)
async def ship(order: int) -> None:
    if order == 13:
        raise LookupError(f"order {order} has no address")


@engine.on("new_error_group")
def tell_the_operator(event: Event) -> None:  # a plain function is called in a thread, and may block
    mail = EmailMessage()
    mail["From"], mail["To"] = "queue@shop.example", "operator@shop.example"
    mail["Subject"] = f"{event.type}: {event.error_group}"
    mail.set_content(
        f"At {event.at:%H:%M:%S} UTC job {event.job_id} ({event.type}) failed as none did before:\n\n"
        f"    {event.error}\n\n"
        f"More about it: qengine show {event.job_id}. How many there are by now: qengine dead\n"
    )
    with smtplib.SMTP(*mail_server, timeout=10) as smtp:
        smtp.send_message(mail)


async def main() -> None:
    global mail_server
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Receive(), hostname="mail"), *mail_server)
    mail_server = server.sockets[0].getsockname()  # with the port that was free
    async with server, engine:
        await charge.enqueue_many([{"customer": number} for number in range(50)])
        await ship.enqueue_many([{"order": number} for number in range(20)])
        await engine.drain()
        counted = (await engine.stats()).by_status
        await engine.close()  # waits for mails that are still on their way

    print(f"{counted['dead']} jobs failed; {len(inbox)} mails were sent:")
    for subject in inbox:
        print(f"  {subject}")
    assert (counted["dead"], counted["completed"]) == (51, 19)
    assert sorted(subject.partition(":")[0] for subject in inbox) == ["charge", "ship"]
    assert any("LookupError: order 13 has no address" in text for text in inbox.values())


if __name__ == "__main__":
    with FOLDER:
        asyncio.run(main())
