"""A visitor of the dashboard: reads pages and fills in their forms, as a browser without scripts does."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self

import httpx
from starlette.types import ASGIApp

TOKEN = "a-token-for-the-tests"


@dataclass
class Form:
    """A form as it is on a page."""

    method: str
    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    """By label: the name and value that it adds."""


class Page(HTMLParser):
    """A page: its forms and links, and every tag with its attributes."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(convert_charrefs=True)
        self.response = response
        self.status = response.status_code
        self.html = response.text
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self._inside: list[tuple[str, dict[str, str | None], int]] = []
        self._in_form = False
        self.feed(self.html)
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "form":
            self.forms.append(Form(given.get("method") or "get", given.get("action") or ""))
            self._in_form = True
        if tag == "input" and self._in_form and given.get("name"):
            kind = given.get("type", "text")
            if kind not in ("checkbox", "radio") or "checked" in given:
                self.forms[-1].fields.append((given["name"] or "", given.get("value") or ""))
        if tag in ("a", "button", "textarea", "select", "option"):
            self._inside.append((tag, given, len(self._words)))

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._in_form = False
        if not self._inside or self._inside[-1][0] != tag:
            return
        _, given, start = self._inside.pop()
        text = "".join(self._words[start:])
        label = " ".join(text.split())
        if tag == "a":
            self.links.setdefault(label, given.get("href") or "")
        elif tag == "button" and self._in_form:
            name = given.get("name")
            self.forms[-1].buttons[label] = (name, given.get("value") or "") if name else None
        elif tag == "textarea" and self._in_form:
            self.forms[-1].fields.append((given["name"] or "", text.removeprefix("\n")))
        elif tag == "option" and self._in_form and self._inside and self._inside[-1][0] == "select":
            name = self._inside[-1][1]["name"] or ""
            fields, chosen = self.forms[-1].fields, (name, label if given.get("value") is None else given["value"] or "")
            if "selected" in given:
                fields[:] = [pair for pair in fields if pair[0] != name] + [chosen]
            elif name not in dict(fields):
                fields.append(chosen)  # a browser takes the first where none is marked

    def form(self, button: str) -> Form:
        """The first form with this button."""
        found = next((form for form in self.forms if button in form.buttons), None)
        assert found is not None, (
            f"no button {button!r} on {self.response.url}; there are {[list(f.buttons) for f in self.forms]}"
        )
        return found


class Visitor:
    """A browser without scripts."""

    def __init__(self, app: ASGIApp, base: str = "http://dash.test", **headers: str) -> None:
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url=base,
            headers={"accept": "text/html", **headers},
            follow_redirects=True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def visit(self, path: str, status: int = 200) -> Page:
        page = Page(await self.client.get(path))
        assert page.status == status, page.text
        return page

    async def follow(self, page: Page, link: str) -> Page:
        assert link in page.links, f"no link {link!r} on {page.response.url}; there are {list(page.links)}"
        return await self.visit(page.links[link])

    async def press(self, page: Page, button: str, status: int = 200, **fields: Any) -> Page:
        """Press a button of a form, after filling in `fields` of it."""
        form = page.form(button)
        pressed = form.buttons[button]
        assert set(fields) <= {name for name, _ in form.fields}, form.fields
        data = [(name, value) for name, value in form.fields if name not in fields]
        data += [(name, str(value)) for name, value in fields.items()] + ([pressed] if pressed else [])
        assert form.method == "post"
        body = httpx.QueryParams(data)
        answer = await self.client.post(
            form.action, content=str(body), headers={"content-type": "application/x-www-form-urlencoded"}
        )
        page = Page(answer)
        assert page.status == status, page.text
        return page
