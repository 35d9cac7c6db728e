"""A point-in-time join of a spine of 10 M rows with 100 M feature rows under a bound of memory.

usage: features_large.py PIT_JOIN WORK_DIR [--spine 10_000_000] [--rows 100_000_000] [--memory-mib 1024] [--threads 2]

Writes the case (event log in order of arrival, a tenth of it late, one per cent of corrections), runs `pit_join`, checks
20,000 rows of its answer, drawn at random, against DuckDB, and prints seconds, CPU seconds and peak memory.
Needs numpy, pyarrow and duckdb, and about 10 GB of disk."""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import time

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

p = argparse.ArgumentParser()
p.add_argument("program")
p.add_argument("work", type=pathlib.Path)
p.add_argument("--spine", type=int, default=10_000_000)
p.add_argument("--rows", type=int, default=100_000_000)
p.add_argument("--entities", type=int, default=1_000_000)
p.add_argument("--memory-mib", type=int, default=1024)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--mode", choices=["event", "known"], default="event")
a = p.parse_args()
TS = pa.timestamp("us", tz="UTC")
T0, SPAN, CHUNK = 1_735_689_600_000_000, 90 * 86_400_000_000, 2_000_000
rng = np.random.default_rng(7)


def times(values):
    return pa.array(values.astype("int64")).cast(TS)


def events(first, count):
    arrival = T0 + (np.arange(first, first + count) * (SPAN / a.rows)).astype("int64")
    late = rng.random(count) < 0.1
    event = arrival - np.where(late, rng.integers(0, 86_400_000_000, count), rng.integers(0, 1_000_000, count))
    key = rng.integers(0, a.entities, count)
    corrections, corrected = rng.integers(0, count, count // 100), rng.integers(0, count, count // 100)
    event[corrections], key[corrections] = event[corrected], key[corrected]
    # Unique, so that an engine without an order of rows finds one winner too.
    created = np.maximum(arrival, event) + np.arange(first, first + count) % 1_000_000
    return pa.table({"k": key, "event_timestamp": times(event), "created": times(created),
                     "v": rng.normal(size=count), "n": np.arange(first, first + count)})


def asked(first, count):
    return pa.table({"row": np.arange(first, first + count), "k": rng.integers(0, int(a.entities * 1.02), count),
                     "event_timestamp": times(T0 + rng.integers(0, SPAN, count))})


def write(path, rows, make):
    if path.exists():
        return
    scratch, writer = path.with_suffix(".tmp"), None
    for first in range(0, rows, CHUNK):
        table = make(first, min(CHUNK, rows - first))
        writer = writer or pq.ParquetWriter(scratch, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=131_072)
    writer.close()
    scratch.rename(path)


case = a.work / f"case-{a.spine}-{a.rows}"
case.mkdir(parents=True, exist_ok=True)
write(case / "view.parquet", a.rows, events)
write(case / "spine.parquet", a.spine, asked)
view = {"name": "view", "keys": ["k"], "source_keys": ["k"], "ttl_us": 7 * 86_400_000_000, "has_created": True, "features": ["v", "n"]}
(case / "case.json").write_text(json.dumps({"name": case.name, "mode": a.mode, "views": [view]}))
answer = a.work / "joined.parquet"
begin = time.perf_counter()
run = subprocess.run([a.program, case, answer, "--memory-mib", str(a.memory_mib), "--threads", str(a.threads)])
seconds = time.perf_counter() - begin
assert run.returncode == 0, run.returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)

db = duckdb.connect()
db.execute(f"set threads to {a.threads}; set TimeZone='UTC'; set memory_limit='4GB'")
db.execute(f"create table picked as select * from read_parquet('{answer}') using sample reservoir(20000 rows) repeatable (1)")
rows, distinct, least, most = db.execute(f"select count(*), count(distinct \"row\"), min(\"row\"), max(\"row\") from read_parquet('{answer}')").fetchone()
assert (rows, distinct, least, most) == (a.spine, a.spine, 0, a.spine - 1), (rows, distinct, least, most)
known = "and v.created <= s.event_timestamp" if a.mode == "known" else ""
wrong = db.execute(f"""
    with candidates as (
        select s."row", max_by(v.n, (v.event_timestamp, v.created)) as n, max(v.event_timestamp) as at
        from picked s join read_parquet('{case}/view.parquet') v
        on s.k = v.k and v.event_timestamp <= s.event_timestamp {known} group by 1)
    select count(*) from picked s left join candidates c using ("row")
    where (case when c.at >= s.event_timestamp - interval 7 day then c.n end) is distinct from s.n""").fetchone()[0]
matched = db.execute("select count(n) from picked").fetchone()[0]
assert wrong == 0 and matched > 10_000, (wrong, matched)
print(json.dumps({"mode": a.mode, "spine": a.spine, "rows": a.rows, "memory_mib": a.memory_mib, "threads": a.threads, "seconds": round(seconds, 1),
                  "cpu_seconds": round(used.ru_utime + used.ru_stime, 1), "peak_mib": used.ru_maxrss // 1024,
                  "checked": 20_000, "matched": matched, "case_gb": round(sum(f.stat().st_size for f in case.iterdir()) / 1e9, 1)}))
