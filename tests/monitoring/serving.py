"""A worker that serves its metrics and health, and a GET as a probe or Prometheus sends it."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
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


def address(process: subprocess.Popen[str], what: str) -> str:
    """Where a worker says that it serves, from its log."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(rf"{what} at http://(\S+)", line):
            return found[1]
    raise AssertionError(f"the worker ended without serving {what}: {process.wait()}")


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, logged = process.communicate(timeout=40)
    assert process.returncode == 0, logged
    assert "Traceback" not in logged
    return logged
