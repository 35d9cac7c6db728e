#!/usr/bin/env python3
"""Runs the monitor and its peers side by side on this machine and prints what each costs, with ratios.

usage: monitor.py BASELINES_DIR WORK_DIR [--rows 100000] [--skip evidently,whylogs]

BASELINES_DIR has the peers' programs (monitor_gen.py, monitor_evidently.py, monitor_river.py, monitor_limits.py,
monitor_whylogs.py). WORK_DIR keeps data and one virtual environment per peer, for they do not install together.
Figures are processor seconds, medians of the repetitions that each program makes; peers run one after another, alternating
with ours, so that a busy machine is busy for both.
"""
import argparse, json, os, pathlib, re, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parents[2]
PEERS = {
    "scipy": ["numpy==2.4.6", "scipy==1.17.1", "pyarrow"],
    "river": ["river==0.26.1"],
    "evidently": ["evidently==0.7.23", "pandas<3", "pyarrow"],
    # Its compiled sketches need numpy 1, which newer pyarrow refuses.
    "whylogs": ["whylogs==1.6.4", "numpy<2", "pandas<2.3", "pyarrow<18", "protobuf<5", "setuptools<81"],
}


def python_of(work, peer):
    venv = work / f"venv-{peer}"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PEERS[peer]], check=True)
        (venv / "ready").touch()
    return venv / "bin/python"


def lines(command, environment=None):
    """The JSON lines that a program prints, by name."""
    print("+", " ".join(map(str, command)), file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | (environment or {}))
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{") and '"name"' in line]
    return {entry["name"]: entry for entry in found}


def pick(entries, pattern):
    return next((entry for name, entry in entries.items() if re.search(pattern, name)), None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("baselines", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--skip", default="")
    options = parser.parse_args()
    skipped = set(filter(None, options.skip.split(",")))
    work, rows = options.work.resolve(), options.rows
    work.mkdir(parents=True, exist_ok=True)
    baselines = options.baselines.resolve()
    if not (work / f"cur_{rows}.parquet").exists():
        subprocess.run([python_of(work, "scipy"), baselines / "monitor_gen.py", work, str(rows)], check=True)
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "mlops-bench-peers", "--no-default-features"], check=True, cwd=HERE)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target"))
    program = target / "release/monitor"
    ours = lambda part: lines([program, work, "--rows", str(rows), "--only", part])
    # The peers' numpy may be held to slow kernels by these; they are theirs to choose.
    plain = {name: "" for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if name in os.environ}
    table = []

    def row(what, peer, theirs, mine, per=None):
        if theirs and mine:
            a, b = theirs["cpu_s"] / (per or (1, 1))[0], mine["cpu_s"] / (per or (1, 1))[1]
            table.append((what, peer, a, b, a / b))

    if "scipy" not in skipped:
        theirs, mine = lines([python_of(work, "scipy"), baselines / "monitor_limits.py", "1"], plain), ours("statistics")
        for name in ("wasserstein_distance", "mannwhitneyu", "cramervonmises_2samp", "anderson_ksamp"):
            row(f"{name} 1e6 vs 1e6", "scipy", pick(theirs, name), pick(mine, name))
        ks = pick(theirs, "ks_2samp 1e6")
        row("ks_2samp 1e6 vs 1e6", "scipy", ks, mine.get("ks_2samp 1e6 vs 1e6"))
        row("the same with a stored reference", "scipy", ks, mine.get("ks_2samp 1e6 vs 1e6, stored reference"))
    if "river" not in skipped:
        theirs, mine = lines([python_of(work, "river"), baselines / "monitor_river.py"]), ours("stream")
        updates = lambda entry: int(re.search(r"(\d+) updates", entry["name"]).group(1))
        for name in ("ADWIN", "PageHinkley", "KSWIN", "DDM", "EDDM", "FHDDM", "HDDM_A", "HDDM_W"):
            a, b = pick(theirs, rf"\b{name} \d"), pick(mine, rf"^{name} ")
            if a and b:
                row(f"{name}, one update", "river", a, b, (updates(a), updates(b)))
    report = ours("report")
    if "evidently" not in skipped:
        theirs = lines([python_of(work, "evidently"), baselines / "monitor_evidently.py", work, str(rows)], {"FULL": "1"})
        row(f"drift report {rows} x 50", "evidently", pick(theirs, "DataDriftPreset"), pick(report, "drift report"))
    if "whylogs" not in skipped:
        theirs = lines([python_of(work, "whylogs"), baselines / "monitor_whylogs.py", work, str(rows)])
        row(f"profile {rows} x 50", "whylogs", pick(theirs, "whylogs profile"), pick(ours("profile"), "^profile"))
    print("| task | peer | peer, CPU s | ours, CPU s | ratio |\n|---|---|---|---|---|")
    for what, peer, a, b, ratio in table:
        print(f"| {what} | {peer} | {a:.3g} | {b:.3g} | {ratio:.1f} |")
    memory, size = pick(report, "drift report"), report.get("input")
    if memory and size:
        share = memory["rss_peak_mib"] / size["mib"]
        print(f"\ndrift report {rows} x 50: input {size['mib']:.0f} MiB, peak {memory['rss_peak_mib']:.0f} MiB ({share:.2f} times)")


main()
