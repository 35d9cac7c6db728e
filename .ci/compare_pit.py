"""Drives pit_join over the oracle's cases and compares every column, order, null and type."""

import pathlib
import subprocess
import sys

import pyarrow.parquet as pq

program, root = sys.argv[1], pathlib.Path(sys.argv[2])
passed, failed = 0, []
for case in sorted(path for path in root.iterdir() if path.is_dir()):
    out = case / "out.parquet"
    run = subprocess.run([program, str(case), str(out)], capture_output=True, text=True)
    if run.returncode != 0:
        failed.append(f"{case.name}: exit {run.returncode}: {run.stderr.strip()}")
        continue
    expected, actual = pq.read_table(case / "expected.parquet"), pq.read_table(out)
    if [(f.name, f.type) for f in expected.schema] != [(f.name, f.type) for f in actual.schema]:
        failed.append(f"{case.name}: schema {actual.schema} instead of {expected.schema}")
    elif not expected.equals(actual):
        failed.append(f"{case.name}: values differ")
    else:
        passed += 1
print("\n".join(failed[:10]))
print(f"point-in-time cases: {passed} passed, {len(failed)} failed")
sys.exit(bool(failed))
