"""Traces, as an application's exporter gets them, on both databases."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from long_task import long_task
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tenacity import wait_none

from qengine import BackendUnavailable, Cancel, ConfigurationError, Engine, JobContext, Snooze
from qengine.otel import instrument, uninstrument
from qengine.testing import faults

pytestmark = pytest.mark.anyio

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Exported:
    """What has been exported, in the order in which it ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def spans(self, name: str | None = None) -> Sequence[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if name in (None, span.name)]

    def one(self, name: str) -> Any:
        (span,) = self.spans(name)
        return span


@pytest.fixture
def exported() -> Iterator[Exported]:
    found = Exported()
    yield found
    found.provider.shutdown()


def identity(span: Any) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


async def test_an_attempt_is_linked_to_the_span_that_enqueued_its_job(url: str, exported: Exported) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider)

    @engine.task("mail", queue="post")
    async def mail(to: str) -> str:
        return "sent"

    async with engine:
        job = await mail.enqueue(to="somebody@example.com")
        assert await engine.drain() == 1
        stored = await engine.job(job.id)
    sent, processed = exported.spans()
    assert (sent.name, sent.kind) == ("send mail", SpanKind.PRODUCER)
    assert (processed.name, processed.kind) == ("process mail", SpanKind.CONSUMER)
    assert [identity(link) for link in processed.links] == [identity(sent)]
    assert processed.parent is None
    assert identity(processed)[0] != identity(sent)[0]
    assert stored.headers is not None
    assert stored.headers["traceparent"].startswith(f"00-{sent.context.trace_id:032x}-{sent.context.span_id:016x}-")
    assert dict(sent.attributes) == {
        "messaging.system": "qengine",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "post",
        "messaging.qengine.type": "mail",
        "messaging.message.id": str(job.id),
    }
    worker = processed.attributes["messaging.client.id"]
    assert dict(processed.attributes) == {
        "messaging.system": "qengine",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "post",
        "messaging.message.id": str(job.id),
        "messaging.client.id": worker,
        "messaging.qengine.type": "mail",
        "messaging.qengine.priority": 5,
        "messaging.qengine.attempt": 1,
        "messaging.qengine.max_attempts": 3,
        "messaging.qengine.outcome": "completed",
    }
    assert sent.status.status_code is processed.status.status_code is StatusCode.UNSET
    # Neither what it was called with nor what it returned is told.
    assert "example.com" not in str([span.to_json() for span in exported.spans()])


async def test_one_trace_for_all_if_that_is_asked_for(url: str, exported: Exported) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider, same_trace=True)

    @engine.task("mail")
    async def mail() -> None: ...

    async with engine:
        await mail.enqueue()
        await engine.drain()
    sent, processed = exported.spans()
    assert (processed.parent.trace_id, processed.parent.span_id) == identity(sent)
    assert [identity(link) for link in processed.links] == [identity(sent)]


@pytest.mark.parametrize("executor", ["async", "thread"])
async def test_spans_of_the_handler_are_children_of_its_attempt(url: str, exported: Exported, executor: Any) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider)
    tracer = exported.provider.get_tracer("app")
    seen: list[Any] = []

    def inside() -> None:
        seen.append(baggage.get_baggage("tenant"))
        with tracer.start_as_current_span("inside"):
            pass

    if executor == "async":

        @engine.task("work")
        async def work() -> None:
            inside()
    else:
        engine.task("work")(inside)

    @engine.task("chained")
    async def chained(ctx: JobContext) -> None:
        await ctx.engine.enqueue("work")

    async with engine:
        token = context.attach(baggage.set_baggage("tenant", "seven"))
        with tracer.start_as_current_span("request"):
            await chained.enqueue()
        context.detach(token)
        assert await engine.drain(concurrency=1) == 2
    assert exported.one("send chained").parent.span_id == exported.one("request").context.span_id
    assert exported.one("send work").parent.span_id == exported.one("process chained").context.span_id
    assert exported.one("inside").parent.span_id == exported.one("process work").context.span_id
    assert exported.one("process work").parent is None
    assert seen == ["seven"]  # baggage goes along from job to job
    assert not trace.get_current_span().get_span_context().is_valid


async def test_an_attempt_that_fails_is_an_error_with_its_exception(url: str, exported: Exported) -> None:
    engine = Engine(url, retry=wait_none())
    instrument(engine, exported.provider)

    @engine.task("fragile", max_attempts=2)
    async def fragile(secret: str) -> None:
        raise ValueError("no such row")

    async with engine:
        await fragile.enqueue(secret="hush")
        assert await engine.drain() == 2
    sent = exported.one("send fragile")
    first, second = exported.spans("process fragile")
    assert [span.attributes["messaging.qengine.outcome"] for span in (first, second)] == ["failed", "dead"]
    assert [span.attributes["messaging.qengine.attempt"] for span in (first, second)] == [1, 2]
    for span in (first, second):
        assert [identity(link) for link in span.links] == [identity(sent)]
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "ValueError: no such row"
        assert span.attributes["error.type"] == "ValueError"
        (event,) = span.events
        assert event.name == "exception"
        assert (event.attributes["exception.type"], event.attributes["exception.message"]) == ("ValueError", "no such row")
        assert "raise ValueError" in event.attributes["exception.stacktrace"]
    assert "hush" not in str([span.to_json() for span in exported.spans()])


async def test_other_ends_are_no_errors(url: str, exported: Exported) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider)

    @engine.task("signals")
    async def signals(which: str) -> None:
        raise Snooze(3600) if which == "snooze" else Cancel("no longer wanted")

    async with engine:
        await signals.enqueue(which="snooze")
        await signals.enqueue(which="cancel")
        await engine.drain(concurrency=1)
    spans = exported.spans("process signals")
    assert [span.attributes["messaging.qengine.outcome"] for span in spans] == ["snoozed", "cancelled"]
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}


async def test_a_lost_lease_is_an_error(url: str, exported: Exported) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider)
    long, runs = long_task(engine)

    async with engine:
        job = await long.enqueue()
        async with engine.worker():
            await runs.wait()
            await engine.cancel(job.id)
            while not exported.spans("process long"):
                await asyncio.sleep(0.01)
    span = exported.one("process long")
    assert span.attributes["messaging.qengine.outcome"] == "lease_lost"
    assert span.attributes["error.type"] == "LeaseLost"
    assert span.status.status_code is StatusCode.ERROR


async def test_a_batch_has_one_span(url: str, exported: Exported) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider)

    @engine.task("mail")
    async def mail(n: int) -> None: ...

    async with engine:
        await mail.enqueue_many([{"n": n} for n in range(5)])
        await mail.options(headers={"tenant": "7"}).enqueue_many([{"n": 5}, {"n": 6}])
        assert await engine.drain() == 7
        tenants = [(await engine.job(n)).headers for n in (6, 7)]
    first, second = exported.spans("send mail")
    assert (first.attributes["messaging.batch.message_count"], second.attributes["messaging.batch.message_count"]) == (5, 2)
    assert "messaging.message.id" not in first.attributes
    linked = [identity(link) for span in exported.spans("process mail") for link in span.links]
    assert linked == [identity(first)] * 5 + [identity(second)] * 2
    assert [headers and headers["tenant"] for headers in tenants] == ["7", "7"]


async def test_different_types_in_one_statement(url: str, exported: Exported) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider)

    @engine.task("one", queue="a")
    async def one() -> None: ...

    @engine.task("two", queue="b")
    async def two() -> None: ...

    async with engine:
        await engine.submit([one.new_job((), {}), two.new_job((), {})])
    span = exported.one("send")
    assert span.attributes["messaging.batch.message_count"] == 2
    assert not {"messaging.qengine.type", "messaging.destination.name"} & set(span.attributes)


async def test_a_context_that_the_caller_gives_stays(url: str, exported: Exported) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider)

    @engine.task("mail")
    async def mail() -> None: ...

    async with engine:
        job = await mail.options(headers={"traceparent": CALLER}).enqueue()
        await engine.drain()
        assert (await engine.job(job.id)).headers == {"traceparent": CALLER}
    for span in exported.spans():
        assert [f"{link.context.trace_id:032x}" for link in span.links] == [CALLER.split("-")[1]]


async def test_headers_that_were_damaged_stop_nobody(url: str, exported: Exported) -> None:
    engine = Engine(url)

    @engine.task("mail")
    async def mail() -> None: ...

    async with engine:
        await mail.options(headers={"traceparent": "nonsense"}).enqueue()
        await engine.enqueue("mail")
        instrument(engine, exported.provider)
        assert await engine.drain() == 2
    assert [list(span.links) for span in exported.spans("process mail")] == [[], []]


async def test_a_job_that_stood_already_is_told_as_such(url: str, exported: Exported) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider)

    @engine.task("mail")
    async def mail() -> None: ...

    async with engine:
        first = await mail.options(unique_key="k").enqueue()
        again = await mail.options(unique_key="k").enqueue()
    assert again.id == first.id
    spans = exported.spans("send mail")
    assert [span.attributes.get("messaging.qengine.existed") for span in spans] == [None, True]
    assert {span.attributes["messaging.message.id"] for span in spans} == {str(first.id)}


async def test_enqueueing_that_fails_is_an_error(url: str, exported: Exported) -> None:
    engine = Engine(url)
    instrument(engine, exported.provider)

    @engine.task("mail")
    async def mail() -> None: ...

    with faults.injected(engine, faults.fail("enqueue")):
        async with engine:
            with pytest.raises(BackendUnavailable):
                await mail.enqueue()
    span = exported.one("send mail")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "BackendUnavailable"


async def test_without_a_provider_of_the_applications_nothing_travels(url: str) -> None:
    engine = Engine(url)
    instrument(engine)

    @engine.task("mail")
    async def mail() -> None: ...

    async with engine:
        job = await mail.enqueue()
        assert await engine.drain() == 1
        assert (await engine.job(job.id)).headers is None


async def test_an_engine_has_one_instrument(sqlite_url: str, exported: Exported) -> None:
    engine = Engine(sqlite_url)
    instrument(engine, exported.provider)
    with pytest.raises(ConfigurationError, match="instrument already"):
        instrument(engine, exported.provider)
    uninstrument(engine)
    instrument(engine, exported.provider)
    uninstrument(engine)
    async with engine:
        await engine.enqueue("mail")
    assert not exported.spans()


@pytest.mark.parametrize("present", [True, False])
def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    monkeypatch.delitem(sys.modules, "qengine.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry.trace" if present else "opentelemetry", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'qengine\[otel\]'"):
        __import__("qengine.otel")
