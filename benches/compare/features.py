#!/usr/bin/env python3
"""Runs the point-in-time join and its peers side by side on this machine and prints what each costs, with ratios.

usage: features.py BASELINES_DIR WORK_DIR [--rounds 3] [--threads 2] [--rows 1000000] [--spine 100000] [--entities 20000]
                   [--program PIT_BENCH]

BASELINES_DIR has the peers' programs (features_gen.py, features_duckdb.py, features_polars.py). WORK_DIR keeps the data
and the virtual environment. Contenders run one after another, round by round, so that a busy machine is busy for all;
figures are medians. All read the same Parquet files, give the joined table in memory and must give the same digest.
"""
import argparse, json, math, os, pathlib, statistics, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["duckdb==2.0.1", "polars==2.1.0", "pyarrow", "numpy", "pandas"]


def python_of(work):
    venv = work / "venv-features"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PACKAGES], check=True)
        (venv / "ready").touch()
    return venv / "bin/python"


def line(command, environment=None):
    """The JSON line that a program prints."""
    print("+", " ".join(map(str, command)), file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | (environment or {}))
    return next(json.loads(text) for text in done.stdout.splitlines() if text.startswith("{"))


def same(left, right):
    """Whether two digests are equal; sums of floats are exact but for the order in which they were added."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return math.isclose(left, right, rel_tol=1e-14, abs_tol=0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("baselines", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    for name, default in (("rows", 1_000_000), ("spine", 100_000), ("entities", 20_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--program", type=pathlib.Path, help="a built pit_bench; built here in release when not given")
    options = parser.parse_args()
    work, baselines, threads = options.work.resolve(), options.baselines.resolve(), str(options.threads)
    data = work / f"features-{options.spine}-{options.rows}-{options.entities}"
    work.mkdir(parents=True, exist_ok=True)
    python = python_of(work)
    if not (data / "spine.parquet").exists():
        sizes = [word for name in ("rows", "spine", "entities") for word in (f"--{name}", str(getattr(options, name)))]
        subprocess.run([python, baselines / "features_gen.py", data, *sizes], check=True, stdout=sys.stderr)
    program = options.program
    if program is None:
        build = ["cargo", "build", "--quiet", "--release", "-p", "mlops-conformance", "--bin", "pit_bench"]
        subprocess.run(build, check=True, cwd=HERE)
        program = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")) / "release/pit_bench"
    contenders = {
        "DuckDB ASOF": lambda: line([python, baselines / "features_duckdb.py", data, "-", threads]),
        "polars join_asof": lambda: line([python, baselines / "features_polars.py", data], {"POLARS_MAX_THREADS": threads}),
        "ours, event": lambda: line([program, data, "--threads", threads]),
        "ours, known": lambda: line([program, data, "--threads", threads, "--mode", "known"]),
    }
    found = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, run in contenders.items():
            found[name].append(run())
    median = lambda name, key: statistics.median(run[key] for run in found[name])
    digest = found["ours, event"][0]["check"]
    wrong = [name for name in found if name != "ours, known" and not all(same(run["check"], digest) for run in found[name])]
    # Peers' figure without their own check of the answer.
    peak = lambda name: median(name, "peak_before_check" if "peak_before_check" in found[name][0] else "peak_rss_mib")
    ours = median("ours, event", "cpu_s")
    print("| contender | CPU s | ratio to ours | wall s | peak MiB | ratio to ours |\n|---|---|---|---|---|---|")
    for name in contenders:
        cpu, memory = median(name, "cpu_s"), peak(name)
        print(
            f"| {name} | {cpu:.2f} | {cpu / ours:.2f} | {median(name, 'wall_s'):.2f} | {memory:.0f} | {memory / peak('ours, event'):.2f} |"
        )
    print(f"\n{options.rounds} rounds, {threads} threads; digests", "differ: " + ", ".join(wrong) if wrong else "equal")
    sys.exit(bool(wrong))


main()
