// graphile-worker, which is written for Node.js, as a subject: see benchmarks/subject.py for how it talks with the harness.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const order = JSON.parse(process.argv[2]);
const PAD = "x".repeat(80);
const CALLERS = 50;
const CHUNK = 1000;
const logger = new Logger(() => () => {});
const typeNames = Array.from({ length: order.types }, (_, number) => `job_${String(number).padStart(3, "0")}`);
const latencies = [];
let ran = 0;

const now = () => Number(process.hrtime.bigint()) / 1e9; // CLOCK_MONOTONIC, as time.monotonic() of Python
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const payload = () => ({ sent: now(), pad: PAD });

const handlers = {
  noop: async () => {
    ran += 1;
  },
  nap: async () => {
    await sleep(0.01);
    ran += 1;
  },
  stamp: async ({ sent }) => {
    latencies.push(now() - sent);
    ran += 1;
  },
};

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function announceReady() {
  console.log("ready");
  await lines.next();
}

// CPU seconds of the server and its processes; see benchmarks/meter.py.
function serverCpu() {
  if (order.server === null) return null;
  const spent = (pid) => Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e9;
  try {
    const fields = readFileSync(`/proc/${order.server}/stat`, "utf8").split(")").at(-1).trim().split(" ");
    let total = spent(order.server) + (Number(fields[13]) + Number(fields[14])) / 100;
    for (const child of readFileSync(`/proc/${order.server}/task/${order.server}/children`, "utf8").trim().split(" ")) {
      try {
        total += spent(child);
      } catch {
        // It has ended since.
      }
    }
    return total;
  } catch {
    return null;
  }
}

function meter() {
  const before = { server: serverCpu(), own: process.cpuUsage(), began: now() };
  return () => {
    const ended = now();
    const own = process.cpuUsage(before.own);
    const after = serverCpu();
    return {
      began: before.began,
      ended,
      seconds: ended - before.began,
      worker_cpu: (own.user + own.system) / 1e6,
      server_cpu: after === null ? null : after - before.server,
    };
  };
}

const pool = new pg.Pool({ connectionString: order.url, max: 10 });
pool.on("error", () => {});
const utils = await makeWorkerUtils({ pgPool: pool, logger });
if (order.load) await utils.migrate();

async function enqueueBulk(count, identifier) {
  for (let start = 0; start < count; start += CHUNK) {
    const length = Math.min(CHUNK, count - start);
    await utils.addJobs(Array.from({ length }, () => ({ identifier, payload: payload() })));
  }
}

function serve() {
  return run({
    pgPool: pool,
    noHandleSignals: true,
    logger,
    taskList: Object.fromEntries(typeNames.map((name) => [name, handlers[order.handler]])),
    preset: {
      worker: { concurrentJobs: order.concurrency, localQueue: { size: 500 }, completeJobBatchDelay: 0, pollInterval: 2000 },
    },
  });
}

async function enqueue() {
  const one = () => utils.addJob(typeNames[0], payload());
  for (let i = 0; i < 20; i++) await one();
  await announceReady();
  const stop = meter();
  if (order.kind === "one") {
    for (let i = 0; i < order.jobs; i++) await one();
  } else if (order.kind === "callers") {
    let left = order.jobs;
    const call = async () => {
      while (left-- > 0) await one();
    };
    await Promise.all(Array.from({ length: CALLERS }, call));
  } else {
    await enqueueBulk(order.jobs, typeNames[0]);
  }
  return { ...stop(), jobs: order.jobs };
}

async function drain() {
  if (order.load) {
    const share = Math.ceil(order.jobs / typeNames.length);
    let left = order.jobs;
    for (const name of typeNames) {
      await enqueueBulk(Math.min(share, left), name);
      left -= Math.min(share, left);
    }
  }
  await announceReady();
  const stop = meter();
  const runner = await serve();
  for (let seen = -1; ; ) {
    const near = ran >= order.jobs;
    await sleep(near ? 0.002 : 0.02);
    if (near || ran === seen) {
      const { rows } = await pool.query("SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS unfinished");
      if (!rows[0].unfinished) break;
    }
    seen = ran;
  }
  const result = { ...stop(), jobs: order.jobs, memory_mb: process.memoryUsage().rss / 2 ** 20 };
  await runner.stop();
  return result;
}

async function pickup() {
  if (order.kind === "sender") {
    await announceReady();
    return await send();
  }
  const runner = await serve();
  await sleep(0.5);
  await announceReady();
  const sent = order.kind === "both" ? await send() : {};
  for (let waited = 0; latencies.length < order.jobs; waited += 0.05) {
    if (waited > 10) throw new Error(`only ${latencies.length} of ${order.jobs} jobs were started`);
    await sleep(0.05);
  }
  await runner.stop();
  return { ...sent, latencies };
}

async function send() {
  const began = now();
  for (let i = 0, due = began; i < order.jobs; i++) {
    due += order.gap * (0.5 + Math.random());
    const wait = due - now();
    if (wait > 0) await sleep(wait);
    await utils.addJob(typeNames[0], payload());
  }
  return { fed: order.jobs / (now() - began) };
}

async function idle() {
  const runner = await serve();
  await sleep(2);
  await announceReady();
  const stop = meter();
  await sleep(order.seconds);
  const result = stop();
  await runner.stop();
  return result;
}

const result = await { enqueue, drain, pickup, idle }[order.workload]();
console.log("RESULT " + JSON.stringify({ ...result, ran, loop: "node", python: process.version }));
process.exit(0);
