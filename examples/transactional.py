"""A job exists if and only if the data that it is about does; and it is completed if and only if its writes are kept.

python examples/transactional.py
"""

import asyncio
import tempfile

import aiosqlite

from qengine import Engine, JobContext

FOLDER = tempfile.TemporaryDirectory()
DATABASE = f"{FOLDER.name}/shop.db"
engine = Engine(f"sqlite:///{DATABASE}")  # the queue lives in the application's own database


@engine.task()
async def ship(ctx: JobContext, order_id: int) -> None:
    async with ctx.transaction() as tx:  # the update and the completion of this job are one commit
        await tx.execute("UPDATE orders SET state = 'shipped' WHERE id = ?", (order_id,))


async def place_order(db: aiosqlite.Connection, order_id: int, item: str, *, in_stock: bool) -> None:
    await db.execute("BEGIN IMMEDIATE")
    try:
        await db.execute("INSERT INTO orders VALUES (?, ?, 'placed')", (order_id, item))
        await ship.options(conn=db).enqueue(order_id=order_id)  # joins the transaction of `db`
        if not in_stock:
            raise LookupError(f"no {item} in stock")
        await db.commit()
    except LookupError as reason:
        await db.rollback()  # takes the order and its job back
        print(f"order {order_id} was rolled back: {reason}")


async def main() -> None:
    async with engine, aiosqlite.connect(DATABASE) as db:
        await db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, state TEXT)")
        await place_order(db, 1, "kettle", in_stock=True)
        await place_order(db, 2, "unicorn", in_stock=False)

        jobs = await engine.jobs(type="ship")
        print(f"jobs to ship: {[job.payload for job in jobs]}")
        assert [job.payload for job in jobs] == [{"order_id": 1}]

        await engine.drain()  # runs what is due, then returns
        orders = list(await db.execute_fetchall("SELECT id, item, state FROM orders"))
        print(f"orders: {orders}")
        assert orders == [(1, "kettle", "shipped")]
        assert (await engine.job(jobs[0].id)).status == "completed"


if __name__ == "__main__":
    with FOLDER:
        asyncio.run(main())
