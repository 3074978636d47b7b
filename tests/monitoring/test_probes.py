"""The small HTTP server of a worker: its answers, while all is well and while it is not."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import threading
import time

import pytest
from serving import Answer, get
from waiting import until

from qengine import ConfigurationError, Engine
from qengine.probes import AT_ONCE, Address, Probes
from qengine.testing import faults

pytestmark = pytest.mark.anyio

ANYWHERE = Address("127.0.0.1", 0)


async def fetch(probes: Probes, path: str, **options: str) -> Answer:
    return await asyncio.to_thread(lambda: get(probes.address, path, **options))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9464", "127.0.0.1", 9464),
        ("127.0.0.1:9464", "127.0.0.1", 9464),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("localhost:0", "localhost", 0),
        ("[::1]:9464", "::1", 9464),
        ("::1:9464", "::1", 9464),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == (host, port)


@pytest.mark.parametrize("text", ["", ":9464", "localhost", "host:", "host:web", "host:65536", "host:-1", "[]:1", "host:\u0663"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address to listen on; give a port, or host:port"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("host", "private"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("db.example", False)]
)
def test_private_addresses(host: str, private: bool) -> None:
    assert Address(host, 1).is_private is private


def test_an_address_as_text() -> None:
    assert [str(Address("::1", 80)), str(Address("127.0.0.1", 80))] == ["[::1]:80", "127.0.0.1:80"]


async def test_a_process_that_is_well(url: str) -> None:
    async with Engine(url) as engine, Probes(engine, ANYWHERE) as probes:
        assert probes.address.port > 0
        for path in ("/healthz", "/readyz", "/readyz?verbose=1"):
            answer = await fetch(probes, path)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert answer.headers["cache-control"] == "no-store"
            body = json.loads(answer.body)
            assert (body["ok"], body["ready"], body["problems"]) == (True, True, [])
        head = await fetch(probes, "/healthz", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["content-length"]) > 10


async def test_what_it_does_not_serve(url: str) -> None:
    async with Engine(url) as engine, Probes(engine, ANYWHERE) as probes:
        for path in ("/", "/metrics", "/healthz/", "/../etc/passwd"):
            assert (await fetch(probes, path)).status == 404
        for method in ("POST", "PUT", "DELETE"):
            assert (await fetch(probes, "/healthz", method=method)).status == 501


async def test_a_process_that_is_not_ready(url: str) -> None:
    engine = Engine(url)
    with faults.injected(engine, faults.fail("now", times=1000)):
        async with engine, Probes(engine, ANYWHERE) as probes:
            assert (await fetch(probes, "/healthz")).status == 200
            answer = await fetch(probes, "/readyz")
            assert answer.status == 503
            assert json.loads(answer.body)["problems"] == ["the database cannot be reached: injected fault: fail at now"]


async def test_how_long_a_job_may_be_due(url: str) -> None:
    async with Engine(url) as engine:
        await engine.enqueue("other", {})
        async with Probes(engine, ANYWHERE, max_due=1e-9) as probes, Probes(engine, ANYWHERE, max_due=None) as patient:
            assert (await fetch(probes, "/readyz")).status == 503
            assert (await fetch(patient, "/readyz")).status == 200


async def test_a_blocked_event_loop_is_told_by_the_thread(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qengine.probes.LOOP_WITHIN", 0.05)
    async with Engine(url) as engine, Probes(engine, ANYWHERE) as probes:
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(get(probes.address, "/healthz")))
        thread.start()
        while not answers:  # never giving the loop a turn
            time.sleep(0.005)  # noqa: ASYNC251 - blocking is what is tested
        thread.join()
        assert answers[0].status == 503
        assert json.loads(answers[0].body)["problems"] == ["the event loop has not answered for 0.05 s: a handler blocks it"]
        monkeypatch.undo()
        assert (await fetch(probes, "/healthz")).status == 200


async def test_a_closed_engine_is_not_well(url: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(url)
    async with engine:
        probes = await Probes(engine, ANYWHERE).__aenter__()
    answer = await fetch(probes, "/healthz")
    await probes.__aexit__(None, None, None)
    assert (answer.status, json.loads(answer.body)["problems"]) == (503, ["the engine is closed"])


def test_an_event_loop_that_has_ended(url: str) -> None:
    async def left() -> Probes:
        async with Engine(url) as engine:
            return await Probes(engine, ANYWHERE).__aenter__()

    probes = asyncio.run(left())
    status, _, body = probes.answer("/healthz", "")
    assert (status, json.loads(body)["problems"]) == (503, ["the event loop has ended"])
    asyncio.run(probes.__aexit__(None, None, None))


async def test_an_answer_that_fails_is_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    def broken(accept: str) -> tuple[bytes, str]:
        raise ValueError("no metrics today")

    async with Engine(url) as engine, Probes(engine, ANYWHERE, metrics=broken) as probes:
        assert probes.has_metrics
        answer = await fetch(probes, "/metrics")
        assert (answer.status, answer.text) == (500, "failed; see the log\n")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "/metrics could not be answered"
    ]


async def test_an_address_that_is_taken(url: str) -> None:
    async with Engine(url) as engine, Probes(engine, ANYWHERE) as probes:
        with pytest.raises(ConfigurationError, match=f"nothing can listen on {probes.address}: .*; give another address"):
            await Probes(engine, probes.address).__aenter__()


async def test_ipv6(url: str) -> None:
    async with Engine(url) as engine, Probes(engine, Address("::1", 0)) as probes:
        assert (await fetch(probes, "/healthz")).status == 200


async def test_an_open_address_is_told(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Engine(url) as engine, Probes(engine, Address("0.0.0.0", 0)) as probes:
        assert f"{probes.address} can be reached from other machines, and has no authentication" in caplog.messages
        assert (await asyncio.to_thread(get, f"127.0.0.1:{probes.address.port}", "/healthz")).status == 200


async def test_clients_that_say_nothing_are_not_let_in_without_end(url: str) -> None:
    async with Engine(url) as engine, Probes(engine, ANYWHERE) as probes:
        silent = [socket.create_connection(probes.address) for _ in range(AT_ONCE)]
        await until(lambda: sum("process_request_thread" in thread.name for thread in threading.enumerate()) >= AT_ONCE)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            await fetch(probes, "/healthz")
        for connection in silent:
            connection.close()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert (await fetch(probes, "/healthz")).status == 200
                    break
                except (http.client.RemoteDisconnected, ConnectionResetError):
                    await asyncio.sleep(0.01)


async def test_no_thread_to_be_had_is_no_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with Engine(url) as engine, Probes(engine, ANYWHERE) as probes:
        with monkeypatch.context() as patch:
            patch.setattr("socketserver.ThreadingMixIn.process_request", refuse)
            for _ in range(AT_ONCE + 1):
                with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                    await fetch(probes, "/healthz")
        assert (await fetch(probes, "/healthz")).status == 200


async def test_what_is_asked_for_is_logged_for_debugging_only_and_harmlessly(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "qengine.probes")
    async with Engine(url) as engine, Probes(engine, ANYWHERE) as probes:
        await fetch(probes, "/\x1b[31mred".replace("\x1b", "%1b"))
        connection = socket.create_connection(probes.address)
        connection.sendall(b"GET /\x1b[31m HTTP/1.0\r\n\r\n")
        await asyncio.to_thread(connection.recv, 100)
        connection.close()
    told = [record for record in caplog.records if record.name == "qengine.probes"]
    assert told
    assert all(record.levelno == logging.DEBUG for record in told)
    assert not any("\x1b" in record.getMessage() for record in told)
