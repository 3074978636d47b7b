"""Whom the campaigns are for. The addresses say what will go wrong with them: see `world/`."""

from typing import NamedTuple

NAMES = ("Ada", "Ben", "Cleo", "Dara", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jun", "Kim", "Lou", "Mia", "Ned", "Ola", "Pia")
POISON = 14
"""The number of the prospect whose record makes its handler fail each time, until somebody mends it."""


class Prospect(NamedTuple):
    """A row of demo_prospects, as it is put in."""

    id: int
    name: str
    email: str
    website: str
    campaign: int


def prospect(number: int) -> Prospect:
    name = NAMES[number % len(NAMES)]
    return Prospect(number, name, f"{name.lower()}{number}@{_mail_domain(number)}", _website(number), 1 if number % 3 == 0 else 2)


def replies(number: int) -> bool:
    """Every second prospect answers the campaign's mail."""
    return number % 2 == 0


def is_interested(number: int) -> bool:
    """Every third of those who answer wants to know more."""
    return number % 6 == 0


def mended_website() -> str:
    return f"https://www.company{POISON}.example"


def _mail_domain(number: int) -> str:
    troubles = {3: "greylisting.example", 7: "no-such-user.example", 11: "answers-late.example", 13: "greylisting.example"}
    return troubles.get(number % 20, f"company{number}.example")


def _website(number: int) -> str:
    if number == POISON:
        return f"https://[www.company{number}.example"
    trouble = {2: "hangs-", 5: "busy-", 8: "dead-", 15: "busy-"}.get(number % 20, "")
    return f"https://{trouble}company{number}.example"
