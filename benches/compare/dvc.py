#!/usr/bin/env python3
"""Sets our DVC repositories beside the real dvc on this machine: seconds, CPU seconds, and their ratio.

usage: dvc.py WORK_DIR [--files 10000] [--large-mib 1024] [--rounds 3]

WORK_DIR keeps the data and a virtual environment. Both sides work on the same files in fresh repositories, in
alternation, so that a busy machine is busy for both; figures are medians of the rounds. CPU is user and system time of
the process and its children. dvc's start of a second or so is part of its time; `--version` is shown for scale. Ours is
`dvc_repo` of the release profile: cargo build --release -p mlops-conformance --bin dvc_repo.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["dvc==3.67.1"]


def environment(work):
    venv = work / "venv-dvc"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PACKAGES], check=True)
        (venv / "ready").touch()
    return str(venv / "bin/dvc")


def measured(command, cwd):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "DVC_NO_ANALYTICS": "1"})
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def data(work, files, large_mib):
    source = work / f"data-{files}-{large_mib}"
    if not source.exists():
        partial = work / "data-partial"
        shutil.rmtree(partial, ignore_errors=True)
        for index in range(files):
            path = partial / "small" / f"{index % 100:02}" / f"{index}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{index} " * 100)
        with open(partial / "large.bin", "wb") as file:
            for _ in range(large_mib):
                file.write(os.urandom(1 << 20))
        partial.rename(source)
    return source


def round_of(name, program, work, source):
    """The seconds and CPU seconds of each step in a fresh repository."""
    repo, remote = work / f"repo-{name}", work / f"remote-{name}"
    for path in (repo, remote):
        shutil.rmtree(path, ignore_errors=True)
    (repo / ".dvc").mkdir(parents=True)
    (repo / ".dvc/config").write_text(f"[core]\n    no_scm = True\n    remote = store\n['remote \"store\"']\n    url = {remote}\n")
    (repo / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    shutil.copytree(source / "small", repo / "small")
    shutil.copy(source / "large.bin", repo / "large.bin")
    time.sleep(0.2)
    step = lambda operation, *paths: measured(program(operation, repo, paths), repo)
    found = {"add small": step("add", "small"), "add small again": step("add", "small"), "add large": step("add", "large.bin"),
             "push": step("push"), "push again": step("push"), "status": step("status")}
    shutil.rmtree(repo / "small")
    (repo / "large.bin").unlink()
    shutil.rmtree(repo / ".dvc/cache")
    found["pull"] = step("pull")
    for path in (repo, remote):
        shutil.rmtree(path, ignore_errors=True)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", type=pathlib.Path)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    dvc = environment(work)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target"))
    ours = (arguments.program or target / "release/dvc_repo").resolve()
    sides = {
        "ours": lambda operation, repo, paths: [str(ours), operation, str(repo), *paths],
        "dvc": lambda operation, repo, paths: [dvc, operation, "--quiet", *paths],
    }
    source = data(work, arguments.files, arguments.large_mib)
    start = measured([dvc, "--version"], work)
    found = {name: [] for name in sides}
    for number in range(arguments.rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            found[name].append(round_of(name, sides[name], work, source))
    print(f"{arguments.files} files and one of {arguments.large_mib} MiB, medians of {arguments.rounds}; "
          f"dvc --version alone takes {start[0]:.2f} s, {start[1]:.2f} s CPU")
    print(f"{'step':<16} {'ours s':>8} {'CPU':>7} {'dvc s':>8} {'CPU':>7} {'ratio s':>8} {'CPU':>7}")
    report = {}
    for step in found["ours"][0]:
        (mine, mine_cpu), (theirs, theirs_cpu) = (
            [statistics.median(round[step][kind] for round in found[name]) for kind in (0, 1)] for name in ("ours", "dvc"))
        print(f"{step:<16} {mine:>8.2f} {mine_cpu:>7.2f} {theirs:>8.2f} {theirs_cpu:>7.2f} "
              f"{theirs / mine:>8.1f} {theirs_cpu / mine_cpu:>7.1f}")
        report[step] = {"ours": [mine, mine_cpu], "dvc": [theirs, theirs_cpu]}
    print(json.dumps(report))


main()
