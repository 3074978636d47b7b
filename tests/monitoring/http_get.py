"""A GET as a probe or Prometheus sends it."""

from __future__ import annotations

import http.client
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def get(address: object, path: str, *, method: str = "GET", accept: str = "*/*") -> Answer:
    connection = http.client.HTTPConnection(str(address), timeout=20)
    try:
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()
