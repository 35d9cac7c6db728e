"""Checks profile_stream against the data: profile_sketches.py PROGRAM FILE.parquet...

What Python's datasketches reads from the sketches, and what the program prints, must agree with what pyarrow and numpy
find in the files, within the stated error; and profiles of single files must merge to the same bytes in any order.
Needs datasketches, pyarrow and numpy.
"""

import collections
import itertools
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import datasketches as ds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

RANKS = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999]
failures, checks = [], collections.Counter()


def check(kind, holds, what):
    checks[kind] += 1
    if not holds:
        failures.append(f"{kind}: {what}")


def close(a, b, relative=1e-9):
    return a is not None and math.isclose(a, b, rel_tol=relative, abs_tol=1e-9)


def check_quantiles(name, blob, values, printed):
    sketch = ds.kll_doubles_sketch.deserialize(blob)
    check("kll count", sketch.n == len(values), f"{name}: {sketch.n} for {len(values)}")
    if len(values) == 0:
        return
    values = np.sort(values)
    check("kll range", (sketch.get_min_value(), sketch.get_max_value()) == (values[0], values[-1]), name)
    error = printed["rank_error"]
    check("kll error", error == 0 or close(error, sketch.normalized_rank_error(False), 1e-3), f"{name}: {error}")
    for rank in RANKS:
        value = sketch.get_quantile(rank, True)
        low, high = (np.searchsorted(values, value, side) / len(values) for side in ("left", "right"))
        one = 1 / len(values)
        check("kll quantile", low - error - one <= rank <= high + error + one, f"{name} at {rank}: {value} has {low} to {high}")
        truth = np.quantile(values, rank)
        check("kll rank", abs(sketch.get_rank(truth, True) - np.searchsorted(values, truth, "right") / len(values)) <= error + 1e-12, name)
    for rank, (low, estimate, high) in zip([0, 0.25, 0.5, 0.75, 1], printed["numeric"]["quartiles"]):
        truth = np.quantile(values, rank)
        check("quartile", low - 1e-9 * abs(low) <= truth <= high + 1e-9 * abs(high), f"{name} at {rank}: {truth} not in {low} to {high}")
        check("quartile exact", error > 0 or close(estimate, truth), f"{name} at {rank}: {estimate}, numpy {truth}")


def check_moments(name, values, numeric):
    if len(values) == 0:
        check("moments", numeric is None, name)
        return
    deviations = values - values.mean()
    m2, m3, m4 = (np.mean(deviations**k) for k in (2, 3, 4))
    expected = {"count": len(values), "mean": values.mean(), "min": values.min(), "max": values.max()}
    if len(values) > 1:
        expected["variance"] = values.var(ddof=1)
    if m2 > 0:
        expected |= {"skewness": m3 / m2**1.5, "excess_kurtosis": m4 / m2**2 - 3}
    for key, truth in expected.items():
        check("moments", close(numeric[key], float(truth), 1e-7), f"{name} {key}: {numeric[key]}, numpy {truth}")


def check_distinct(name, blob, values, printed):
    """The registers must be those of Python's own sketch of the values; a set is then what its estimate says."""
    sketch, own = ds.hll_sketch.deserialize(blob), ds.hll_sketch(12, ds.tgt_hll_type.HLL_8)
    for value in values:
        own.update(value)
    if len(blob) == 40 + 4096:
        check("hll registers", own.serialize_updatable()[40:] == blob[40:], name)
    else:
        check("hll few", close(sketch.get_estimate(), own.get_estimate()), name)
    low, estimate, high = printed["distinct"]
    if low < high:  # the bounds are three standard deviations; five must hold for every column
        check("hll estimate", close(sketch.get_estimate(), estimate), f"{name}: {sketch.get_estimate()}, printed {estimate}")
        low, high = estimate - (estimate - low) * 5 / 3, estimate + (high - estimate) * 5 / 3
    check("distinct", low <= len(values) <= high, f"{name}: {len(values)} not in {low} to {high}")


def check_frequent(name, blob, serde, truth, printed):
    sketch = ds.frequent_items_sketch.deserialize(blob, serde)
    total = sum(truth.values())
    check("frequent total", sketch.total_weight == total, f"{name}: {sketch.total_weight} for {total}")
    rows = sketch.get_frequent_items(ds.frequent_items_error_type.NO_FALSE_NEGATIVES, 0)
    found = {row[0]: (row[2], row[3]) for row in rows}
    for item, (low, high) in found.items():
        check("frequent bounds", low <= truth[item] <= high, f"{name} {item!r}: {truth[item]} not in {low} to {high}")
    for item, count in truth.items():
        check("frequent complete", count <= sketch.get_upper_bound(item), f"{name} {item!r} occurs {count} times")
    for item, low, high in printed["levels"]:
        item = int(item) if isinstance(next(iter(truth)), int) else item
        check("levels", low <= truth[item] <= high, f"{name} {item!r}: {truth[item]} not in {low} to {high}")


def check_column(directory, entry, column, printed):
    name, kind = entry["name"], column.type
    check("nulls", printed["nulls"] == column.null_count, name)
    column = column.drop_null()
    blob = lambda part: (directory / entry[part]).read_bytes()
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
        check("nans", printed["nans"] == int(np.isnan(numbers).sum()), name)
        check("infinities", printed["infinities"] == int(np.isinf(numbers).sum()), name)
        finite = numbers[np.isfinite(numbers)]
        check_quantiles(name, blob("kll"), finite, printed)
        check_moments(name, finite, printed["numeric"])
        distinct = np.unique(column.to_numpy() if pa.types.is_integer(kind) else finite).tolist()
        check_distinct(name, blob("hll"), distinct, printed)
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        counts = {row["values"]: row["counts"] for row in pc.value_counts(column.combine_chunks()).to_pylist()}
        serde = ds.PyLongsSerDe() if pa.types.is_integer(kind) else ds.PyStringsSerDe()
        if counts:
            check_frequent(name, blob("frequent"), serde, counts, printed)
        if not pa.types.is_integer(kind):
            check_distinct(name, blob("hll"), list(counts), printed)


def run(program, *arguments):
    return json.loads(subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True).stdout)


def main(program, files):
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        printed = run(program, *files, "--out", work / "whole", "--sketches", work / "sketches")
        table = pa.concat_tables([pq.read_table(file) for file in files]).combine_chunks()
        check("rows", printed["rows"] == table.num_rows, f"{printed['rows']}")
        by_name = {column["name"]: column for column in printed["columns"]}
        for entry in json.loads((work / "sketches" / "sketches.json").read_text()):
            check_column(work / "sketches", entry, table[entry["name"]], by_name[entry["name"]])
        parts = []
        for number, file in enumerate(files):
            parts.append(work / f"part{number}")
            run(program, file, "--out", parts[-1])
        merged = {}
        for order in itertools.islice(itertools.permutations(parts), 6):
            summary = run(program, "--merge", *order, "--out", work / "merged", "--sketches", work / "merged_sketches")
            merged[(work / "merged").read_bytes()] = summary
        check("merge order", len(merged) == 1, f"{len(merged)} results of merging {len(parts)} profiles")
        by_name = {column["name"]: column for column in summary["columns"]}
        for entry in json.loads((work / "merged_sketches" / "sketches.json").read_text()):
            check_column(work / "merged_sketches", entry, table[entry["name"]], by_name[entry["name"]])
    print(", ".join(f"{count} {kind}" for kind, count in checks.items()))
    for failure in failures[:20]:
        print("FAILED", failure)
    if failures:
        sys.exit(f"{len(failures)} of {sum(checks.values())} checks failed")
    print(f"{sum(checks.values())} checks of {table.num_rows} rows and {table.num_columns} columns hold")


main(sys.argv[1], sys.argv[2:])
