#!/usr/bin/env python3
"""Asks our server of features and `feast serve` for the same 15 features of 3 views over HTTP and prints what each gives, with ratios.

usage: features_http.py WORK_DIR [--program PATH] [--entities 20000] [--rows 1,100] [--connections 1,16] [--seconds 5] [--rounds 3]
                        [--workers 1,2] [--store sqlite|redis]

WORK_DIR keeps the peer's virtual environment and both stores. Both are filled with the same rows (3 doubles, an integer and a text a view) and
asked by wrk (apt-get install wrk) with features_http.lua; before that, 200 answers of both must be equal but for their time. The servers run
round by round one after another, never at the same time; figures are medians of the rounds. Ours keeps its values in its embedded store on
disk, the peer in SQLite on disk or in a Redis server of its own, whose processor's time counts with the peer's. --workers are processes of
the peer. Besides requests per second and latencies, which a busy machine disturbs, there is the processor's time that the server took for a
request, which it disturbs least. PATH is a built benchmark `http`; without it, it is built here: cargo bench -p mlops-features --bench http.
"""
import argparse, json, os, pathlib, random, shutil, signal, statistics, subprocess, sys, time, urllib.error

from servers import free_port, post, processor_seconds, resident_mib, wrk

HERE = pathlib.Path(__file__).resolve().parents[2]
PEER = ["feast[redis]==0.67.0"]
VIEWS, LETTERS = (1, 2, 3), "abcde"
ROWS_PER_WRITE = 5_000


def python_of(work):
    venv = work / "venv-feast"
    if not (venv / "bin/feast").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PEER], check=True)
    return venv / "bin/python"


def values_of(view, entities):
    """Column by column what both stores are filled with."""
    rng = random.Random(view)
    columns = {"driver_id": list(range(entities))}
    columns |= {f"fv{view}_{letter}": [rng.gauss(0, 1) for _ in range(entities)] for letter in "abc"}
    columns[f"fv{view}_d"] = [rng.randrange(1 << 40) for _ in range(entities)]
    columns[f"fv{view}_e"] = [f"category-{rng.randrange(50)}" for _ in range(entities)]
    return columns


def question(keys):
    return {"features": [f"fv{k}:fv{k}_{letter}" for k in VIEWS for letter in LETTERS], "entities": {"driver_id": keys}}


class Server:
    """One that is asked; the processes in `pids` are it."""

    def started(self, command, **options):
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, start_new_session=True, **options)
        self.pids = [self.process.pid]

    def wait(self):
        for _ in range(600):
            try:
                post(self.url + "/get-online-features", question([1]))
                return
            except (OSError, urllib.error.HTTPError):
                time.sleep(0.1)
        sys.exit(f"{self.name} does not answer")

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=60)


class Ours(Server):
    name = "ours"

    def __init__(self, program, home):
        self.program, self.home = program, home

    def start(self):
        port = free_port()
        self.started([self.program, "--home", self.home, "--port", port], stdout=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}"
        self.wait()

    def fill(self, entities):
        self.start()
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for view in VIEWS:
            columns = values_of(view, entities)
            columns["event_timestamp"] = [at] * entities
            for begin in range(0, entities, ROWS_PER_WRITE):
                rows = {name: column[begin:begin + ROWS_PER_WRITE] for name, column in columns.items()}
                post(self.url + "/write-to-online-store", {"feature_view_name": f"fv{view}", "df": rows})
        self.stop()


class Feast(Server):
    def __init__(self, python, repo, store, workers):
        self.python, self.repo, self.store, self.workers = python, repo, store, workers
        self.name = f"feast serve, {store}, {workers} worker{'s' if workers > 1 else ''}"

    def start(self):
        redis = self.redis()
        port = free_port()
        # By default a worker is replaced after 1,000 requests, and then one fails.
        options = ["-w", self.workers, "-r", 600, "--max-requests", 0, "--no-access-log"]
        command = [self.python.parent / "feast", "-c", self.repo, "serve", "-h", "127.0.0.1", "-p", port, *options]
        self.started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pids += redis
        self.url = f"http://127.0.0.1:{port}"
        self.wait()

    def redis(self):
        """The server of the store, which lives as long as this program."""
        if self.store != "redis":
            return []
        if not hasattr(Feast, "redis_process"):
            Feast.redis_process = subprocess.Popen(["redis-server", "--port", "6399", "--save", "", "--dir", str(self.repo)], stdout=subprocess.DEVNULL)
            time.sleep(1)
        return [Feast.redis_process.pid]

    def fill(self, entities):
        import pandas
        from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
        from feast.types import Float64, Int64, String

        self.redis()
        shutil.rmtree(self.repo, ignore_errors=True)
        self.repo.mkdir(parents=True)
        online = {"sqlite": f"{{type: sqlite, path: {self.repo}/online.db}}", "redis": '{type: redis, connection_string: "localhost:6399"}'}
        (self.repo / "feature_store.yaml").write_text(f"""project: bench
registry: {{path: {self.repo}/registry.db, cache_ttl_seconds: 3600}}
provider: local
offline_store: {{type: file}}
online_store: {online[self.store]}
entity_key_serialization_version: 3
""")
        store, driver = FeatureStore(repo_path=self.repo), Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
        now = pandas.Timestamp.now(tz="UTC")
        frames, views = {}, []
        for k in VIEWS:
            frames[k] = pandas.DataFrame(values_of(k, entities)).assign(event_timestamp=now)
            frames[k].head(10).to_parquet(self.repo / f"fv{k}.parquet")
            types = dict(zip(LETTERS, [Float64, Float64, Float64, Int64, String]))
            fields = [Field(name="driver_id", dtype=Int64), *(Field(name=f"fv{k}_{letter}", dtype=types[letter]) for letter in LETTERS)]
            source = FileSource(name=f"source{k}", path=str(self.repo / f"fv{k}.parquet"), timestamp_field="event_timestamp")
            views.append(FeatureView(name=f"fv{k}", entities=[driver], schema=fields, source=source, online=True))
        store.apply([driver, *views])
        for k in VIEWS:
            store.write_to_online_store(f"fv{k}", frames[k])


def answers(server, entities):
    """Names, values and statuses of some answers, without their times."""
    rng, found = random.Random(5), []
    for _ in range(200):
        keys = [rng.randrange(entities) for _ in range(rng.choice([1, 3]))]
        answer = post(server.url + "/get-online-features", question(keys))
        names = answer["metadata"]["feature_names"]
        found.append(sorted((name, result["values"], result["statuses"]) for name, result in zip(names, answer["results"])))
    return found


def asked(server, rows, connections, seconds, entities):
    """One run of wrk."""
    before = sum(map(processor_seconds, server.pids))
    found = wrk(pathlib.Path(__file__).with_suffix(".lua"), server.url, connections, seconds, rows, entities)
    used = sum(map(processor_seconds, server.pids)) - before
    if found["failed"] or not found["requests"]:
        sys.exit(f"{server.name}: {found}")
    return {"per_second": found["requests"] / found["seconds"], "cpu_us": used / found["requests"] * 1e6, "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"]}


def main():
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path)
    parser.add_argument("--entities", type=int, default=20_000)
    parser.add_argument("--rows", type=numbers, default=[1, 100])
    parser.add_argument("--connections", type=numbers, default=[1, 16])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=numbers, default=[1, 2])
    parser.add_argument("--store", choices=["sqlite", "redis"], default="sqlite")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    python = python_of(work)
    if pathlib.Path(sys.prefix) != python.parent.parent:
        os.execv(python, [str(python), *sys.argv])
    program = options.program
    if program is None:
        build = ["cargo", "bench", "-p", "mlops-features", "--bench", "http", "--no-run", "--message-format", "json"]
        built = subprocess.run(build, check=True, cwd=HERE, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        program = [path for path in (json.loads(line).get("executable") for line in built) if path][-1]

    home, repo = work / "home-http", work / f"feast-{options.store}"
    shutil.rmtree(home, ignore_errors=True)
    servers = [Ours(program, home), *(Feast(python, repo, options.store, workers) for workers in options.workers)]
    for server in servers[:2]:
        server.fill(options.entities)
    found, resident, said = {}, {}, {}
    for round in range(options.rounds):
        for server in servers:
            server.start()
            try:
                said.setdefault(server.name, answers(server, options.entities))
                for rows in options.rows:
                    asked(server, rows, 4, 1, options.entities)
                    for connections in options.connections:
                        run = asked(server, rows, connections, options.seconds, options.entities)
                        found.setdefault((rows, connections, server.name), []).append(run)
                        print(round, server.name, rows, connections, run, file=sys.stderr, flush=True)
                resident[server.name] = sum(map(resident_mib, server.pids))
            finally:
                server.stop()
    if hasattr(Feast, "redis_process"):
        Feast.redis_process.terminate()
    if any(answer != said["ours"] for answer in said.values()):
        sys.exit("the answers differ")

    middle = lambda runs, key: statistics.median(run[key] for run in runs)
    print("| entities a question, connections | server | answers/s | ours to it | CPU us an answer | it to ours | p50 ms | p99 ms | resident MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (rows, connections, name), runs in sorted(found.items(), key=lambda one: one[0][:2]):
        ours = found[rows, connections, "ours"]
        faster = middle(ours, "per_second") / middle(runs, "per_second")
        cheaper = middle(runs, "cpu_us") / middle(ours, "cpu_us")
        print(f"| {rows}, {connections} | {name} | {middle(runs, 'per_second'):.0f} | {faster:.1f} | {middle(runs, 'cpu_us'):.0f} | {cheaper:.1f} "
              f"| {middle(runs, 'p50_ms'):.2f} | {middle(runs, 'p99_ms'):.2f} | {resident[name]:.0f} |")
    print(f"\n{options.rounds} rounds of {options.seconds} s; {options.entities} entities; {os.cpu_count()} cores, which wrk shares; answers are equal")


main()
