#!/usr/bin/env python3
"""Runs the tracking server and the real `mlflow server` side by side on this machine and prints what each gives, with ratios.

usage: mlflow.py BASELINES_DIR WORK_DIR [--workers 1,4] [--seconds 6] [--repeat 3] [--clients 1,4] [--runs 10000] [--searches 30]

BASELINES_DIR has the load program (mlflow_load.py), which speaks only HTTP. WORK_DIR keeps both databases and the
peer's virtual environment. Servers run one after another, never at the same time. Also measured: the time from the start of the process to
the first answer of /health, and the resident memory of the server and its children when all is done.
"""
import argparse, os, pathlib, re, shutil, signal, socket, subprocess, sys, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parents[2]
PEER = ["mlflow==3.17.2"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def mlflow_of(work):
    venv = work / "venv-mlflow"
    if not (venv / "bin/mlflow").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PEER], check=True)
    return venv / "bin/mlflow"


def resident_mib(pid):
    """Of a process and all its descendants."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024 + sum(resident_mib(child) for child in children)


def measure(name, command, port, load, environment=None):
    print("+", " ".join(map(str, command)), file=sys.stderr, flush=True)
    url, begin = f"http://127.0.0.1:{port}", time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | (environment or {}),
                              start_new_session=True)
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).read()
                break
            except OSError:
                if server.poll() is not None or time.perf_counter() - begin > 300:
                    raise RuntimeError(f"{name} did not start")
                time.sleep(0.002)
        found = {"start to first answer, ms": (time.perf_counter() - begin) * 1e3}
        done = subprocess.run([*load, url], stdout=subprocess.PIPE, text=True, check=True)
        print(done.stdout, file=sys.stderr, flush=True)
        for kind, clients, rate, p50, p99 in re.findall(r"^(\w+)\s+(\d+) clients\s+([\d.]+) req/s\s+p50\s+([\d.]+) ms\s+p99\s+([\d.]+) ms", done.stdout, re.M):
            found[f"{kind}, {clients} clients, requests/s"] = float(rate)
            found[f"{kind}, {clients} clients, p99 ms"] = float(p99)
        for what, p50 in re.findall(r"^search: (.+?)\s+\d+ rows\s+p50\s+([\d.]+) ms", done.stdout, re.M):
            found[f"search {what}, p50 ms"] = float(p50)
        for seconds in re.findall(r"walk all in pages of 1000: \d+ pages in ([\d.]+) s", done.stdout):
            found["search all in pages of 1000, ms"] = float(seconds) * 1e3
        found["resident memory after the load, MiB"] = resident_mib(server.pid)
        return found
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("baselines", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--workers", default="1,4", help="of the peer; empty: only ours")
    for name, default in (("seconds", "6"), ("repeat", "3"), ("clients", "1,4"), ("runs", "10000"), ("searches", "30")):
        parser.add_argument(f"--{name}", default=default)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    load = [sys.executable, options.baselines.resolve() / "mlflow_load.py"]
    load += [part for name in ("seconds", "repeat", "clients", "runs", "searches") for part in (f"--{name}", getattr(options, name))]
    build = ["cargo", "build", "--quiet", "--release", "--no-default-features", "--features", "registry", "--example", "tracking_server"]
    subprocess.run(build, check=True, cwd=HERE)
    program = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")) / "release/examples/tracking_server"

    def fresh(name):
        shutil.rmtree(work / name, ignore_errors=True)
        (work / name).mkdir()
        return work / name

    port = free_port()
    figures = {"ours": measure("ours", [program, "--home", fresh("ours"), "--port", str(port)], port, load)}
    for workers in filter(None, options.workers.split(",")):
        home, port = fresh(f"mlflow-{workers}"), free_port()
        command = [mlflow_of(work), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", workers,
                   "--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", home / "files"]
        figures[f"mlflow, {workers} workers"] = measure("mlflow", command, port, load, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    ours, peers = figures["ours"], [(name, figure) for name, figure in figures.items() if name != "ours"]
    print("| what | ours |" + "".join(f" {name} | ratio |" for name, _ in peers))
    print("|---|---|" + "---|---|" * len(peers))
    for what, value in ours.items():
        better = (lambda theirs: value / theirs) if "requests/s" in what else (lambda theirs: theirs / value)
        cells = "".join(f" {figure[what]:.4g} | {better(figure[what]):.1f} |" if figure.get(what) else " - | - |" for _, figure in peers)
        print(f"| {what} | {value:.4g} |{cells}")


main()
