"""Drives pit_join over the oracle's cases and compares every column, order, null and type: with several threads, batch
sizes and memories here, or with rows sent and rows staged to the Spark Connect server that a third argument names."""

import pathlib
import subprocess
import sys

import pyarrow.parquet as pq

program, root = sys.argv[1], pathlib.Path(sys.argv[2])
LAYOUTS = [[], ["--threads", "1", "--batch-rows", "7"], ["--threads", "3", "--batch-rows", "1", "--memory-mib", "64"]]
if len(sys.argv) > 3:
    spark = ["--engine", "spark", "--remote", sys.argv[3], "--staging", str(root.absolute().with_name("staging"))]
    LAYOUTS = [spark, [*spark, "--inline-bytes-max", "0"]]
passed, failed = 0, []
cases = sorted(path for path in root.iterdir() if path.is_dir())
for case, layout in ((case, layout) for case in cases for layout in LAYOUTS):
    out = case / "out.parquet"
    out.unlink(missing_ok=True)
    run = subprocess.run([program, str(case), str(out), *layout], capture_output=True, text=True)
    if run.returncode != 0:
        failed.append(f"{case.name} {layout}: exit {run.returncode}: {run.stderr.strip()}")
        continue
    expected, actual = pq.read_table(case / "expected.parquet"), pq.read_table(out)
    if [(f.name, f.type) for f in expected.schema] != [(f.name, f.type) for f in actual.schema]:
        failed.append(f"{case.name} {layout}: schema {actual.schema} instead of {expected.schema}")
    elif not expected.equals(actual):
        failed.append(f"{case.name} {layout}: values differ")
    else:
        passed += 1
print("\n".join(failed[:10]))
print(f"point-in-time cases: {passed} passed, {len(failed)} failed")
sys.exit(bool(failed) or not passed)
