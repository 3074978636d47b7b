"""A web server: slow company pages, some of them dead at first; a directory of people; and a CRM that fails once."""

import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from email_pipeline.world.record import Record

FAILING_PAGE = 3
"""The page of contacts on which the CRM breaks down the first time it is sent."""
HANG = 6.0
"""Seconds that a site which `hangs` takes for its first answer: longer than anybody waits."""


class Handler(BaseHTTPRequestHandler):
    record: Record  # set by serve_web

    def do_GET(self) -> None:
        _, service, host = self.path.split("/")
        chance = random.Random(self.path)  # the same for each run
        if service == "people":
            time.sleep(chance.uniform(0.05, 0.15))
            self._answer(200, json.dumps({"title": chance.choice(["CEO", "CTO", "Head of Sales", "Office Manager"])}))
        elif host.startswith("dead-") and self.record.first("sites that hung up", host):
            self.close_connection = True  # hangs up without a word
        elif host.startswith("busy-") and self.record.first("sites too busy (503)", host):
            self._answer(503, "busy", **{"Retry-After": "2"})
        else:
            hangs = host.startswith("hangs-") and self.record.first("sites that did not answer in time", host)
            time.sleep(HANG if hangs else chance.uniform(0.4, 1.2))
            self._answer(200, f"<html><title>Welcome to {host}</title></html>")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        page = self.path.rpartition("/")[2]
        time.sleep(0.3)
        if page == str(FAILING_PAGE) and self.record.first("breakdowns of the CRM (500)", page):
            self._answer(500, "the CRM fell over")
        else:
            self._answer(200, "stored")

    def _answer(self, status: int, body: str, **headers: str) -> None:
        content = body.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the record says what matters."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no news here."""


def serve_web(record: Record) -> ThreadingHTTPServer:
    """Serve on a free port of 127.0.0.1, in threads."""
    server = Server(("127.0.0.1", 0), type("RecordingHandler", (Handler,), {"record": record}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
