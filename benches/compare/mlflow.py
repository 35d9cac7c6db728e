#!/usr/bin/env python3
"""Runs the tracking server and the real `mlflow server` side by side on this machine and prints what each gives, with ratios.

usage: mlflow.py WORK_DIR [--workers 1,4] [--seconds 5] [--rounds 3] [--connections 1,4] [--runs 10000] [--tail 16] [--program PATH]
                 [--baselines DIR]

Both servers are asked by wrk (apt-get install wrk) with mlflow.lua, because a client in Python takes longer for a request than our
server does, so that it would be the client that is compared. WORK_DIR keeps both databases and the peer's virtual environment. Servers run
one after another, never at the same time. The searches are over --runs runs of five metrics, three params and a tag each: put into ours by
its API, and into the peer's database by SQL, for its API would take half an hour. Also measured: the processor's time that the server took
for a request, which other programs on the machine disturb least; the time from the start of the process to the first answer of
/health; the 99th percentile of ours at --tail connections, where the peer fails most requests because its database is locked; and the
resident memory of the server and its children when all is done. --baselines names the directory of mlflow_load.py, the load program in
Python, and runs that as well.
"""
import argparse, json, os, pathlib, random, re, shutil, signal, sqlite3, statistics, subprocess, sys, time, urllib.request

from servers import free_port, post, processor_seconds, resident_mib, wrk

HERE = pathlib.Path(__file__).resolve().parents[2]
PEER = ["mlflow==3.17.2"]
API, SCRIPT = "/api/2.0/mlflow/", pathlib.Path(__file__).with_suffix(".lua")


def mlflow_of(work):
    venv = work / "venv-mlflow"
    if not (venv / "bin/mlflow").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PEER], check=True)
    return venv / "bin/mlflow"


METRICS = ("acc", "loss", "auc", "f1", "rmse")


def runs_of_search(count):
    """What the searches are over: name, start, tag, metrics, params."""
    rng = random.Random(5)
    for i in range(count):
        metrics = {key: rng.random() for key in METRICS}
        params = {"depth": str(i % 20), "lr": f"{rng.random():.5f}", "model": f"Net{i % 50}"}
        yield f"run-{i}", 1_700_000_000_000 + i, "odd" if i % 2 else "even", metrics, params


def fill_by_api(url, experiment, count):
    for name, start, kind, metrics, params in runs_of_search(count):
        tags = [{"key": "kind", "value": kind}]
        run = post(f"{url}{API}runs/create", {"experiment_id": experiment, "start_time": start, "run_name": name, "tags": tags})["run"]["info"]["run_id"]
        points = [{"key": key, "value": value, "timestamp": 1, "step": 0} for key, value in metrics.items()]
        post(f"{url}{API}runs/log-batch", {"run_id": run, "metrics": points, "params": [{"key": k, "value": v} for k, v in params.items()]})


def fill_peer(database, experiment, count):
    """The rows that the peer's API would write, as its release 3.17.2 keeps them."""
    connection = sqlite3.connect(database, timeout=60)
    rng, rows = random.Random(7), {table: [] for table in ("runs", "tags", "metrics", "latest_metrics", "params")}
    for name, start, kind, metrics, params in runs_of_search(count):
        run = f"{rng.getrandbits(128):032x}"
        rows["runs"].append((run, name, "", start, "RUNNING", "active", f"mlflow-artifacts:/{experiment}/{run}/artifacts", experiment))
        rows["tags"] += [("kind", kind, run), ("mlflow.runName", name, run)]
        rows["metrics"] += [(key, value, 1, run, 0, 0) for key, value in metrics.items()]
        rows["latest_metrics"] += [(key, value, 1, 0, 0, run) for key, value in metrics.items()]
        rows["params"] += [(key, value, run) for key, value in params.items()]
    columns = {
        "runs": "run_uuid, name, user_id, start_time, status, lifecycle_stage, artifact_uri, experiment_id",
        "tags": "key, value, run_uuid",
        "metrics": "key, value, timestamp, run_uuid, step, is_nan",
        "latest_metrics": "key, value, timestamp, step, is_nan, run_uuid",
        "params": "key, value, run_uuid",
    }
    with connection:
        for table, lines in rows.items():
            places = ", ".join("?" * len(lines[0]))
            connection.executemany(f"INSERT INTO {table} ({columns[table]}) VALUES ({places})", lines)
    connection.close()


SEARCHES = (
    ("first 100", "", [], 100),
    ("metric filter, 100", "metrics.acc > 0.9", [], 100),
    ("metric, param, tag, by metric, 100", "metrics.acc > 0.5 AND params.model = 'Net7' AND tags.kind = 'odd'", ["metrics.loss ASC"], 100),
    ("by metric, 100", "", ["metrics.acc DESC"], 100),
    ("by metric, 1000", "", ["metrics.acc DESC"], 1000),
    ("first 1000", "", [], 1000),
)


def ask(url, pid, fill, options, found):
    """Fills in what wrk finds out."""
    def note(kind, connections, seconds, *arguments, rounds=options.rounds):
        begin = processor_seconds(pid)
        rounds = [wrk(SCRIPT, url, connections, seconds, *arguments) for _ in range(rounds)]
        used = (processor_seconds(pid) - begin) / max(1, sum(answer["requests"] for answer in rounds)) * 1e3
        middle = lambda key: statistics.median(answer[key] for answer in rounds)
        rate = statistics.median((answer["requests"] - answer["failed"]) / answer["seconds"] for answer in rounds)
        failed = sum(answer["failed"] for answer in rounds)
        print(f"{kind:36} {connections:3} connections {rate:10.1f}/s  p50 {middle('p50_ms'):9.3f} ms  p99 {middle('p99_ms'):9.3f} ms  {used:8.3f} ms of processor each  {failed} failed", file=sys.stderr, flush=True)
        return rate, middle("p50_ms"), middle("p99_ms"), used

    def fresh(connections):
        experiment = post(f"{url}{API}experiments/create", {"name": f"load-{time.time_ns()}"})["experiment_id"]
        runs = [post(f"{url}{API}runs/create", {"experiment_id": experiment, "start_time": 1})["run"]["info"]["run_id"] for _ in range(connections)]
        return experiment, runs

    for kind in ("log_metric", "log_batch", "create_run", "get_run"):
        for connections in map(int, options.connections.split(",")):
            experiment, runs = fresh(connections)
            rate, _, _, used = note(kind, connections, options.seconds, kind, experiment, *runs)
            found[f"{kind}, {connections} connections, requests/s"] = rate
            found[f"{kind}, {connections} connections, processor ms a request"] = used
        if options.tail and fill is fill_by_api:
            experiment, runs = fresh(options.tail)
            found[f"{kind}, {options.tail} connections, p99 ms"] = note(kind, options.tail, options.seconds, kind, experiment, *runs)[2]
    experiment = post(f"{url}{API}experiments/create", {"name": f"search-{time.time_ns()}"})["experiment_id"]
    fill(url, experiment, options.runs)
    for name, clauses, order, size in SEARCHES:
        body = {"experiment_ids": [experiment], "filter": clauses, "order_by": order, "max_results": size}
        found[f"search {name}: runs"] = len(post(f"{url}{API}runs/search", body).get("runs", []))
        _, middle, _, used = note(name, 1, options.seconds, "search", experiment, json.dumps(body))
        found[f"search {name}, p50 ms"] = middle
        found[f"search {name}, processor ms a request"] = used


def measure(name, command, port, options, fill, environment=None):
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
        ask(url, server.pid, fill, options, found)
        if options.baselines:
            load(url, options, found)
        found["resident memory after the load, MiB"] = resident_mib(server.pid)
        return found
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def load(url, options, found):
    """The same by the load program in Python, which has no searches of its own here."""
    program = [sys.executable, options.baselines.resolve() / "mlflow_load.py", "--seconds", str(options.seconds), "--runs", "0"]
    done = subprocess.run([*program, url], stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, file=sys.stderr, flush=True)
    for kind, clients, rate in re.findall(r"^(\w+)\s+(\d+) clients\s+([\d.]+) req/s", done.stdout, re.M):
        found[f"{kind} from Python, {clients} clients, requests/s"] = float(rate)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--workers", default="1,4", help="of the peer; empty: only ours")
    parser.add_argument("--connections", default="1,4")
    parser.add_argument("--program", type=pathlib.Path, help="our server, where it has been built elsewhere")
    parser.add_argument("--baselines", type=pathlib.Path)
    for name, default in (("seconds", 5), ("rounds", 3), ("runs", 10_000), ("tail", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    build = ["cargo", "build", "--quiet", "--release", "--no-default-features", "--features", "registry", "--example", "tracking_server"]
    program = options.program
    if program is None:
        subprocess.run(build, check=True, cwd=HERE)
        program = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")) / "release/examples/tracking_server"

    def fresh(name):
        shutil.rmtree(work / name, ignore_errors=True)
        (work / name).mkdir()
        return work / name

    port = free_port()
    figures = {"ours": measure("ours", [program, "--home", fresh("ours"), "--port", str(port)], port, options, fill_by_api)}
    for workers in filter(None, options.workers.split(",")):
        home, port = fresh(f"mlflow-{workers}"), free_port()
        command = [mlflow_of(work), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", workers,
                   "--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", home / "files"]
        fill = lambda _, experiment, count, home=home: fill_peer(home / "mlflow.db", experiment, count)
        environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        figures[f"mlflow, {workers} workers"] = measure("mlflow", command, port, options, fill, environment)
    ours, peers = figures["ours"], [(name, figure) for name, figure in figures.items() if name != "ours"]
    print("| what | ours |" + "".join(f" {name} | ratio |" for name, _ in peers))
    print("|---|---|" + "---|---|" * len(peers))
    for what, value in ours.items():
        better = (lambda theirs: value / theirs) if "requests/s" in what else (lambda theirs: theirs / value)
        cells = "".join(f" {figure[what]:.4g} | {better(figure[what]):.1f} |" if figure.get(what) else " - | - |" for _, figure in peers)
        print(f"| {what} | {value:.4g} |{cells}")


main()
