"""Traces for OpenTelemetry; the extra `otel` (`pip install 'qengine[otel]'`).

    qengine.otel.instrument(engine)      # before its workers start; the exporter is the application's choice

Enqueueing makes a producer span, whose context travels in the job's headers; each attempt makes a consumer span, linked to
it. Spans that the handler makes are its children. `docs/tracing.md` tells what is in them; payloads never are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from qengine.backends.protocol import Claim
from qengine.codec import decode_or_text, encode
from qengine.engine import Engine
from qengine.errors import ConfigurationError
from qengine.job import Job, NewJob
from qengine.worker.instrument import ToldEnded, ToldStored
from qengine.worker.tally import Ended

try:
    from opentelemetry import context as contexts
    from opentelemetry import propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
except ModuleNotFoundError as missing:
    if missing.name is None or not missing.name.startswith("opentelemetry"):
        raise
    raise ConfigurationError("traces need opentelemetry-api: pip install 'qengine[otel]'") from missing

SYSTEM = "qengine"
FAILURES: tuple[Ended, ...] = ("failed", "dead", "lease_lost")
"""Ends of a run with which its span has the status ERROR."""

_NO_CONTEXT = Context()


def instrument(engine: Engine, tracer_provider: TracerProvider | None = None, *, same_trace: bool = False) -> None:
    """Trace what `engine` enqueues, and the runs of its workers that start from now on.

    - `tracer_provider`: None is the application's global one.
    - `same_trace` (False): whether an attempt's span is a child of the span that enqueued the job, in its trace, besides
      being linked to it. Without it each attempt begins a trace of its own.

    Raises ConfigurationError when the engine has an instrument already.
    """
    tracer = trace.get_tracer("qengine", version("qengine"), tracer_provider)
    engine.instrument(Tracing(tracer, same_trace=same_trace))


def uninstrument(engine: Engine) -> None:
    """Trace no more, but for workers that run already."""
    engine.instrument(None)


class Tracing:
    """A `qengine.worker.instrument.Instrument` that makes spans."""

    def __init__(self, tracer: Tracer, *, same_trace: bool) -> None:
        self._tracer = tracer
        self._same_trace = same_trace

    @contextlib.contextmanager
    def storing(self, jobs: Sequence[NewJob]) -> Iterator[tuple[Sequence[NewJob], ToldStored]]:
        """A producer span, whose context goes into the headers of those jobs that bring none of their own."""
        types, queues = {job.type for job in jobs}, {job.queue for job in jobs}
        attributes: dict[str, Any] = {
            "messaging.system": SYSTEM,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
        }
        if len(queues) == 1:
            attributes["messaging.destination.name"] = jobs[0].queue
        if len(types) == 1:
            attributes["messaging.qengine.type"] = jobs[0].type
        if len(jobs) != 1:
            attributes["messaging.batch.message_count"] = len(jobs)
        brought = [found for found in map(_creation, jobs) if found is not None]
        with self._tracer.start_as_current_span(
            f"send {jobs[0].type}" if len(types) == 1 else "send",
            kind=SpanKind.PRODUCER,
            attributes=attributes,
            links=[Link(found) for found in brought],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            carried: dict[str, str] = {}
            propagate.inject(carried)
            try:
                yield _carrying(jobs, carried), lambda stored: _tell_stored(span, stored)
            except Exception as error:
                _tell_error(span, type(error).__name__, str(error))
                raise

    @contextlib.contextmanager
    def running(self, claim: Claim, worker: str) -> Iterator[ToldEnded]:
        """A consumer span, current while the handler runs."""
        # Whatever the job before has left behind in this task is not the parent.
        extracted = propagate.extract(_headers(claim.headers), context=_NO_CONTEXT)
        creation = trace.get_current_span(extracted).get_span_context()
        span = self._tracer.start_span(
            f"process {claim.type}",
            context=extracted if self._same_trace else _NO_CONTEXT,
            kind=SpanKind.CONSUMER,
            links=[Link(creation)] if creation.is_valid else [],
            attributes={
                "messaging.system": SYSTEM,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": claim.queue,
                "messaging.message.id": str(claim.id),
                "messaging.client.id": worker,
                "messaging.qengine.type": claim.type,
                "messaging.qengine.priority": claim.priority,
                "messaging.qengine.attempt": claim.attempt,
                "messaging.qengine.max_attempts": claim.max_attempts,
            },
        )
        # Baggage of the one who enqueued reaches the handler.
        token = contexts.attach(trace.set_span_in_context(span, extracted))
        try:
            yield lambda end, error, traceback: _tell_ended(span, end, error, traceback)
        finally:
            contexts.detach(token)
            span.end()


def _tell_stored(span: Span, jobs: Sequence[Job[Any]]) -> None:
    if len(jobs) == 1:
        span.set_attribute("messaging.message.id", str(jobs[0].id))
        if jobs[0].existed:
            span.set_attribute("messaging.qengine.existed", True)


def _tell_ended(span: Span, end: Ended, error: str | None, traceback: str | None) -> None:
    span.set_attribute("messaging.qengine.outcome", end)
    if end == "lease_lost":
        _tell_error(span, "LeaseLost", "the lease was lost")
    elif end in FAILURES:
        kind, _, message = (error or end).partition(": ")
        _tell_error(span, kind, message, traceback)


def _tell_error(span: Span, kind: str, message: str, traceback: str | None = None) -> None:
    span.set_attribute("error.type", kind)
    event = {"exception.type": kind, "exception.message": message}
    span.add_event("exception", event | ({"exception.stacktrace": traceback} if traceback else {}))
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {message}" if message else kind))


def _headers(text: str | None) -> dict[str, str]:
    """What is stored, as far as it is of use: it may have been edited by hand."""
    found = decode_or_text(text)
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, Mapping) else {}


def _creation(job: NewJob) -> trace.SpanContext | None:
    """The context that a job's own headers bring."""
    if job.headers is None:
        return None
    found = trace.get_current_span(propagate.extract(_headers(job.headers), context=_NO_CONTEXT)).get_span_context()
    return found if found.is_valid else None


def _carrying(jobs: Sequence[NewJob], carried: Mapping[str, str]) -> Sequence[NewJob]:
    """The jobs with the context in their headers, but for those that bring one."""
    if not carried:
        return jobs
    alone = encode(dict(carried), what="headers")
    found = []
    for job in jobs:
        if job.headers is None:
            found.append(msgspec.structs.replace(job, headers=alone))
        elif _creation(job) is None:
            found.append(msgspec.structs.replace(job, headers=encode({**_headers(job.headers), **carried}, what="headers")))
        else:
            found.append(job)
    return found
