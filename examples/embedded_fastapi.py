"""A worker inside a FastAPI application. A request stores a user and the job that welcomes them in one transaction.

python examples/embedded_fastapi.py                    # drives itself, without a socket
uvicorn --app-dir examples embedded_fastapi:app        # serves: curl -X POST 'localhost:8000/signup?email=ada@example.com'
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosqlite
import httpx
from fastapi import FastAPI, HTTPException

from qengine import Engine, JobContext

FOLDER = tempfile.TemporaryDirectory()
DATABASE = f"{FOLDER.name}/app.db"
engine = Engine(f"sqlite:///{DATABASE}")


@engine.task()
async def welcome(ctx: JobContext, email: str) -> None:
    async with ctx.transaction() as tx:
        await tx.execute("UPDATE users SET welcomed = welcomed + 1 WHERE email = ?", (email,))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with aiosqlite.connect(DATABASE) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS users (email TEXT PRIMARY KEY, welcomed INTEGER DEFAULT 0)")
    async with engine, engine.worker(concurrency=10):  # stops with the application, and lets running jobs finish
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/signup", status_code=201)
async def signup(email: str) -> dict[str, int]:
    async with aiosqlite.connect(DATABASE) as db:
        try:
            await db.execute("INSERT INTO users (email) VALUES (?)", (email,))  # begins a transaction
            job = await welcome.options(conn=db).enqueue(email=email)
            await db.commit()
        except sqlite3.IntegrityError:
            raise HTTPException(409, "this address has an account") from None
    return {"job": job.id}


@app.get("/jobs/{job_id}")
async def job_status(job_id: int) -> dict[str, str]:
    return {"status": str((await engine.job(job_id)).status)}


async def main() -> None:
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        first = await client.post("/signup", params={"email": "ada@example.com"})
        second = await client.post("/signup", params={"email": "ada@example.com"})
        print(f"signing up twice: {first.status_code}, then {second.status_code}")
        assert (first.status_code, second.status_code) == (201, 409)

        job_id = first.json()["job"]
        await (await engine.job(job_id)).wait(timeout=10)
        status = (await client.get(f"/jobs/{job_id}")).json()
        print(f"the welcome job: {status}; jobs in all: {len(await engine.jobs())}")
        assert status == {"status": "completed"}
        assert len(await engine.jobs()) == 1


if __name__ == "__main__":
    with FOLDER:
        asyncio.run(main())
