"""Sending one mail with smtplib, and telling apart the ways in which a server says no."""

import re
import smtplib
from email.message import EmailMessage

TIMEOUT = 2.0
"""Seconds to wait for each answer of the server."""


class Refused(Exception):
    """5xx: it will never be taken."""


class Deferred(Exception):
    """4xx: not now."""


class SlowDown(Exception):
    """4xx with a time: nothing at all before `seconds` have passed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"asked to wait {seconds:g} s")
        self.seconds = seconds


def deliver(server: tuple[str, int], *, message_id: str, to: str, subject: str, body: str) -> None:
    """Hand a mail over, blocking. Raises Refused, Deferred, SlowDown, or OSError when the server is silent or gone.

    After an OSError nobody can know whether the server has accepted the mail. That is why the Message-ID is the
    caller's, and the same at each attempt.
    """
    message = EmailMessage()
    message["Message-ID"] = message_id
    message["From"] = "campaigns@pipeline.example"
    message["To"] = to
    message["Subject"] = subject
    message.set_content(body)
    try:
        with smtplib.SMTP(*server, local_hostname="localhost", timeout=TIMEOUT) as smtp:
            smtp.send_message(message)
    except smtplib.SMTPRecipientsRefused as refused:
        [(code, answer)] = refused.recipients.values()
        raise _judged(code, answer) from None
    except smtplib.SMTPResponseException as refused:
        raise _judged(refused.smtp_code, refused.smtp_error) from None


def _judged(code: int, answer: bytes | str) -> Exception:
    text = answer.decode() if isinstance(answer, bytes) else answer
    wait = re.search(r"retry after ([\d.]+) seconds", text)
    if code >= 500:
        return Refused(f"{code} {text}")
    return SlowDown(float(wait[1])) if wait else Deferred(f"{code} {text}")
