"""The page of a job, and what can be done there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from queue_on_show import dead_mails
from visitor import TOKEN, Visitor

from qengine import Engine, JobContext, JobNotFound, Status
from qengine.backends.protocol import Demand
from qengine.job import Job
from qengine.web import MASKED, dashboard
from qengine.web.masking import mask_secrets

pytestmark = pytest.mark.anyio


async def held(engine: Engine, type: str = "mail") -> Job[Any]:
    """A job that a worker elsewhere holds."""
    [claim] = await engine.backend.claim(Demand("worker-elsewhere", {type: 1}, 1, lease=600))
    return await engine.job(claim.id)


async def test_it_shows_a_job_whole(queue: Engine, visitor: Visitor) -> None:
    [dead] = await dead_mails(queue, "nobody", password="hunter2", tags=["x"])
    page = await visitor.visit(f"/jobs/{dead.id}")
    assert "hunter2" not in page.html
    for text in ("dead", "exhausted", "ValueError: no such user: nobody", "raise ValueError", "1 of 1", "attempt 1 failed"):
        assert text in page.text
    assert f'"password": "{MASKED}"' in page.text
    assert ("rect", {"class": "seg-failed"}) in [(tag, {"class": given.get("class")}) for tag, given in page.tags]
    assert "no such user" in (await visitor.follow(page, "Open the group")).text


async def test_everything_a_job_may_carry_is_shown(queue: Engine, visitor: Visitor) -> None:
    @queue.task()
    async def rich(ctx: JobContext) -> dict[str, str]:
        await ctx.progress(3, 4, "nearly <there>")
        await ctx.checkpoint({"row": 17, "api_key": "hunter2"})
        return {"answer": "forty-two", "session_token": "hunter2"}

    job = await rich.options(unique_key="the key", timeout=90, expires=3600).enqueue()
    await queue.drain()
    page = await visitor.visit(f"/jobs/{job.id}")
    assert "hunter2" not in page.html
    for text in ('"row": 17', '"answer": "forty-two"', "3 of 4 · nearly <there>", "the key", "90 s", "attempt 1, completed"):
        assert text in page.text
    assert ("progress", {"max": "4", "value": "3", "aria-label": "progress"}) in page.tags
    assert "Cancel the job" not in page.text


async def test_a_running_job_shows_its_lease_and_keeps_itself_fresh(queue: Engine, visitor: Visitor) -> None:
    await queue.enqueue("mail", {"to": "a@example.com"})
    job = await held(queue)
    page = await visitor.visit(f"/jobs/{job.id}")
    assert "worker-elsewhere" in page.text
    assert "attempt 1 runs" in page.text
    assert ("div", {"data-refresh": "2", "id": "live"}) in page.tags
    page = await visitor.press(page, "Cancel the job")
    assert "handler is stopped" in page.text
    assert (await queue.job(job.id)).status is Status.CANCELLED


async def test_a_job_whose_row_holds_odd_things_is_shown(queue: Engine, visitor: Visitor) -> None:
    job = await queue.enqueue("mail", {"to": "a@example.com"})
    [claim] = await queue.backend.claim(Demand("w", {"mail": 1}, 1, lease=600))
    for progress, shown in (("[1]", ""), ('{"message": "so far"}', "? · so far"), ('{"done": 0, "total": "many"}', "0 of many")):
        assert await queue.backend.save(claim.lease, progress=progress)
        for path in ("/jobs", f"/jobs/{job.id}", "/workers"):
            assert shown in (await visitor.visit(path)).text


async def test_a_dead_job_is_requeued(queue: Engine, visitor: Visitor) -> None:
    [dead] = await dead_mails(queue, "nobody")
    page = await visitor.press(await visitor.visit(f"/jobs/{dead.id}"), "Requeue")
    assert f"Job {dead.id} is back in line." in page.text
    assert "pending" in page.text
    assert "by Ada" in page.text
    assert "back in line" not in (await visitor.visit(f"/jobs/{dead.id}")).text


async def test_a_job_that_waits_is_run_now_and_gets_another_priority(queue: Engine, visitor: Visitor) -> None:
    job = await queue.enqueue("mail", {"to": "a@example.com"}, delay=3600)
    page = await visitor.visit(f"/jobs/{job.id}")
    page = await visitor.press(page, "Change", priority=1)
    assert "has priority 1 now" in page.text
    assert "priority 5 → 1" in page.text
    page = await visitor.press(page, "Run now")
    assert "is due now" in page.text
    assert "Run now" not in page.forms[0].buttons
    found = await queue.job(job.id)
    assert (found.priority, found.rank is not None) == (1, True)
    for wrong in ("", "11", "one"):
        assert "priority" in (await visitor.press(page, "Change", 400, priority=wrong)).text


async def test_a_job_is_deleted(queue: Engine, visitor: Visitor) -> None:
    [dead] = await dead_mails(queue, "nobody")
    page = await visitor.press(await visitor.visit(f"/jobs/{dead.id}"), "Delete for good")
    assert f"Job {dead.id} is deleted." in page.text
    with pytest.raises(JobNotFound):
        await queue.job(dead.id)
    await visitor.visit(f"/jobs/{dead.id}", 404)


async def test_what_cannot_be_done_says_why(queue: Engine, visitor: Visitor) -> None:
    waits = await queue.enqueue("mail", {"to": "a@example.com"}, unique_key="one")
    page = await visitor.visit(f"/jobs/{waits.id}")
    await queue.cancel(waits.id)
    assert "not cancelled: it is cancelled" in (await visitor.press(page, "Cancel the job", 409)).text
    assert "requeue it first" in (await visitor.press(page, "Change", 400)).text
    page = await visitor.visit(f"/jobs/{waits.id}")
    await queue.enqueue("mail", {"to": "b@example.com"}, unique_key="one")
    assert "has its unique key" in (await visitor.press(page, "Requeue", 409)).text
    await queue.delete(waits.id)
    assert "there is no job" in (await visitor.press(page, "Requeue", 404)).text


@pytest.mark.parametrize("id", ["0", "999", "9223372036854775807", "9223372036854775808", "9" * 40])
async def test_a_job_that_is_not_there_is_not_found(visitor: Visitor, id: str) -> None:
    for path in (f"/jobs/{id}", f"/jobs/{id}/edit", f"/dead/{id}"):
        await visitor.visit(path, 404)


# -- the payload


async def test_a_payload_is_mended_and_its_job_requeued(queue: Engine, visitor: Visitor) -> None:
    [dead] = await dead_mails(queue, "nobody", password="hunter2", tags=["<b>", "ü", "\\"])
    page = await visitor.follow(await visitor.visit(f"/jobs/{dead.id}"), "Edit payload…")
    assert "hunter2" not in page.html
    text = dict(page.form("Save").fields)["payload"]
    assert json.loads(text) == {"to": "nobody", "password": MASKED, "tags": ["<b>", "ü", "\\"]}
    page = await visitor.press(page, "Save and requeue", payload=text.replace("nobody", "some@body"))
    assert "is changed, and the job is back in line" in page.text
    found = await queue.job(dead.id)
    assert found.payload == {"to": "some@body", "password": "hunter2", "tags": ["<b>", "ü", "\\"]}
    assert found.status is Status.PENDING
    await queue.drain()
    page = await visitor.visit(f"/jobs/{dead.id}")
    assert "sent to some@body" in page.text
    assert '"to": "nobody"' in page.text  # what it was before
    assert "hunter2" not in page.html
    assert "hunter2" not in (await visitor.visit("/audit")).html


async def test_saving_alone_leaves_the_job_dead(queue: Engine, visitor: Visitor) -> None:
    [dead] = await dead_mails(queue, "nobody")
    page = await visitor.press(await visitor.visit(f"/jobs/{dead.id}/edit"), "Save", payload='{"to": "x@y"}')
    assert f"The payload of job {dead.id} is changed." in page.text
    assert ((await queue.job(dead.id)).status, (await queue.job(dead.id)).payload) == (Status.DEAD, {"to": "x@y"})


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("", "not JSON"),
        ('{"to": "x"', "not JSON"),
        ('{"to": NaN}', "NaN is no JSON value"),
        ("[1]", "a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"to": 7}', "to"),
        ('{"too": "x@y"}', "too"),
        (f'{{"to": "x@y", "tags": ["{MASKED}"]}}', "stands where no secret was"),
    ],
)
async def test_a_payload_that_cannot_be_is_refused_and_stays_in_the_form(
    queue: Engine, visitor: Visitor, payload: str, said: str
) -> None:
    [dead] = await dead_mails(queue, "nobody")
    page = await visitor.visit(f"/jobs/{dead.id}/edit")
    page = await visitor.press(page, "Save and requeue", 422, payload=payload)
    assert said in page.text
    assert dict(page.form("Save").fields)["payload"] == payload
    assert (await queue.job(dead.id)) == dead


async def test_a_payload_that_others_changed_meanwhile_is_not_overwritten_unseen(queue: Engine, visitor: Visitor) -> None:
    [dead] = await dead_mails(queue, "nobody")
    page = await visitor.visit(f"/jobs/{dead.id}/edit")
    await queue.amend(dead.id, payload={"to": "theirs@example.com"})
    page = await visitor.press(page, "Save", 422, payload='{"to": "mine@example.com"}')
    assert "has changed since" in page.text
    assert (await queue.job(dead.id)).payload == {"to": "theirs@example.com"}
    await visitor.press(page, "Save")
    assert (await queue.job(dead.id)).payload == {"to": "mine@example.com"}


async def test_the_payload_of_a_job_that_runs_or_is_done_is_not_edited(queue: Engine, visitor: Visitor) -> None:
    [done] = await dead_mails(queue, "a@example.com")
    page = await visitor.visit(f"/jobs/{done.id}/edit", 409)
    assert "is completed" in page.text
    assert "Edit payload…" not in (await visitor.visit(f"/jobs/{done.id}")).links
    waits = await queue.enqueue("mail", {"to": "b@example.com"})
    page = await visitor.visit(f"/jobs/{waits.id}/edit")
    assert list(page.form("Save").buttons) == ["Save"]
    await queue.drain()
    await visitor.press(page, "Save", 409)


async def test_a_mended_job_whose_unique_key_is_taken_says_so(queue: Engine, visitor: Visitor) -> None:
    await queue.enqueue("mail", {"to": "nobody"}, unique_key="one")
    await queue.drain()
    [dead] = await queue.jobs()
    page = await visitor.visit(f"/jobs/{dead.id}/edit")
    await queue.enqueue("mail", {"to": "b@example.com"}, unique_key="one", delay=60)
    page = await visitor.press(page, "Save and requeue", 409, payload='{"to": "x@y"}')
    assert "its payload is changed" in page.text
    assert (await queue.job(dead.id)).payload == {"to": "x@y"}


async def test_a_mask_of_ones_own_hides_by_type(queue: Engine) -> None:
    def mask(value: Any, type: str) -> Any:
        return "hidden" if type == "mail" else mask_secrets(value, type)

    [dead] = await dead_mails(queue, "nobody")
    await queue.amend(dead.id, payload={"to": "nobody-else"})
    async with Visitor(dashboard(queue, token=TOKEN, mask=mask)) as visitor:
        await visitor.visit(f"/?token={TOKEN}")
        for path in (f"/jobs/{dead.id}", f"/jobs/{dead.id}/edit", "/jobs", f"/dead/{dead.id}", "/audit"):
            page = await visitor.visit(path)
            assert '"nobody' not in page.text, path
        page = await visitor.visit(f"/jobs/{dead.id}/edit")
        assert dict(page.form("Save").fields)["payload"] == "hidden"
        await visitor.press(page, "Save", 422)  # it is no JSON: nothing can be saved unseen
        await visitor.press(page, "Save", payload='{"to": "x@y"}')
        assert (await queue.job(dead.id)).payload == {"to": "x@y"}
