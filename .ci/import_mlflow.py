"""Fills stores of the real MLflow, imports them, and reads them back through our server with MLflow's client.

usage: import_mlflow.py TRACKING_IMPORT TRACKING_SERVER   (package: mlflow; the two are programs of the examples, built
with the feature `remote`)

Each of a file store, an SQLite database and a running server is imported twice in full, and once with the import killed
again and again; every experiment, run, param, tag, metric history, dataset, file, model, version and alias must match, and of
the server every logged model with its files and every trace with its spans and judgements.
"""
import json, math, os, pathlib, random, signal, socket, subprocess, sys, tempfile, time, urllib.request

os.environ.update(MLFLOW_ENABLE_FILE_STORE="true", MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_HTTP_REQUEST_TIMEOUT="60",
                  MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true")
import mlflow
import numpy
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils as tracking_utils

IMPORT, SERVER = sys.argv[1:3]
OURS = ("mlops.imported.", "mlops.mlflow.stage")


def fill(uri, seed, runs=40):
    chance = random.Random(seed)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = MlflowClient(uri, uri)
    tags = {"team": "risk: #1", "note": "it's \"quoted\"\nline", "ünï": "ß 'x'"}
    fraud = client.create_experiment("fraud: #1", tags=tags)
    gone = client.create_experiment("gone: yes")
    for index in range(runs):
        name = ["plain", "it's: #odd", "ünï 'q' \"d\"", "- x", "null", "12"][index % 6]
        with mlflow.start_run(experiment_id=fraud if index % 9 else gone, run_name=name) as run:
            values = [Metric("loss", chance.random(), 1_700_000_000_000 + step, step) for step in range(900)]
            values += [Metric("odd", value, 1_700_000_000_000, step) for step, value in
                       enumerate([math.nan, math.inf, -math.inf, 1e308, -0.0, 5e-324])]
            params = [Param("lr", str(chance.random())), Param("a/b", "x\ny"), Param("empty", ""), Param("long", "y" * 6000)]
            client.log_batch(run.info.run_id, values, params, [RunTag("k: v", "t\nu"), RunTag("multi", "a\n\nb  c\t")])
            # Two values of one step and time, and a step that goes back.
            for value, step in [(1.0, 7), (2.0, 7), (3.0, 3)]:
                client.log_metric(run.info.run_id, "val/auc", value, 1_700_000_000_000, step)
            mlflow.log_text(f"hello {index}", "d/e e.txt")
            if index % 4 == 0:
                mlflow.log_input(mlflow.data.from_numpy(numpy.arange(4 + index), name="nums"), context="training")
            with mlflow.start_run(experiment_id=run.info.experiment_id, nested=True, run_name="child"):
                mlflow.log_metric("z", index)
        if index % 10 == 3:
            client.delete_run(run.info.run_id)
        if index % 10 == 5:
            client.update_run(run.info.run_id, status="FAILED")
        if index < 4:
            model = f"m {index} x"
            client.create_registered_model(model, tags={"a": "b"}, description="d\nd2")
            for _ in range(3):
                client.create_model_version(model, run.info.artifact_uri + "/d", run.info.run_id, {"q": "w"}, description="v")
            client.delete_model_version(model, "1")
            client.set_registered_model_alias(model, "champion", "3")
            client.set_registered_model_alias(model, "old", "2")
    client.delete_experiment(gone)
    client.create_run(fraud, run_name="still open")
    return client


def number(value):
    # MLflow keeps infinities of a database as the largest number; the import undoes that.
    return "nan" if math.isnan(value) else math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def state(client, ours):
    """All that a client can read, with ids replaced by what they mean."""
    theirs = lambda tags: {k: v for k, v in tags.items() if not k.startswith(OURS)}
    found, experiments = {}, client.search_experiments(view_type=ViewType.ALL)
    for experiment in experiments:
        found[f"experiment {experiment.name}"] = (experiment.lifecycle_stage, theirs(experiment.tags))
    runs, token = [], None
    while True:
        page = client.search_runs([e.experiment_id for e in experiments], run_view_type=ViewType.ALL, page_token=token)
        runs, token = runs + list(page), page.token
        if not token:
            break
    was = {r.info.run_id: r.data.tags["mlops.imported.from"].split("#")[-1] if ours else r.info.run_id for r in runs}
    assert len(set(was.values())) == len(was), "a run was imported twice"
    names = {e.experiment_id: e.name for e in experiments}
    for run in runs:
        info, tags = run.info, theirs(run.data.tags)
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = was[tags["mlflow.parentRunId"]]
        key = f"run {was[info.run_id]}"
        found[key] = (names[info.experiment_id], info.run_name, info.status, info.start_time, info.end_time,
                      info.lifecycle_stage, info.user_id, run.data.params, tags)
        found[key + " latest"] = {k: number(v) for k, v in run.data.metrics.items()}
        for metric in run.data.metrics:
            points = client.get_metric_history(info.run_id, metric)
            found[f"{key} {metric}"] = sorted((p.step, p.timestamp, str(number(p.value))) for p in points)
        inputs = run.inputs.dataset_inputs
        found[key + " inputs"] = sorted((i.dataset.name, i.dataset.digest, i.dataset.source, i.dataset.schema,
                                         i.dataset.profile, str([(t.key, t.value) for t in i.tags])) for i in inputs)
        if info.lifecycle_stage == "active":
            files = client.list_artifacts(info.run_id, "d")
            found[key + " files"] = [(f.path, f.file_size) for f in files]
    for model in client.search_registered_models(max_results=1000):
        found[f"model {model.name}"] = (model.description, theirs(model.tags), {a: str(v) for a, v in model.aliases.items()})
    for version in client.search_model_versions(max_results=10000):
        uri = version.source.split("/artifacts")[-1]
        run = was.get(version.run_id)
        found[f"version {version.name} {version.version}"] = (version.description, theirs(version.tags), run, uri)
    return found


def log_models_and_traces(uri):
    """What only a server can be asked for."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri, uri)
    experiment = mlflow.set_experiment("logged and traced").experiment_id
    for index in range(3):
        with mlflow.start_run(run_name=f"maker {index}") as run:
            model = client.create_logged_model(experiment, name=f"net-{index}", source_run_id=run.info.run_id, tags={"t: 1": "ü"},
                                               params={"depth": str(index)}, model_type="classifier")
            with tempfile.TemporaryDirectory() as folder:
                (pathlib.Path(folder) / "d e").mkdir()
                (pathlib.Path(folder) / "MLmodel").write_text("flavors: {}")
                (pathlib.Path(folder) / "d e/a.bin").write_bytes(bytes(range(256)) * index)
                client.log_model_artifacts(model.model_id, folder)
            if index:
                client.finalize_logged_model(model.model_id, "READY" if index == 1 else "FAILED")
            for step in range(3):
                mlflow.log_metric("auc", 0.5 + step / 10, step=step, model_id=model.model_id)
            traced(index)
    mlflow.flush_trace_async_logging()
    last = mlflow.get_last_active_trace_id()
    source = mlflow.entities.AssessmentSource(source_type="HUMAN", source_id="ann")
    mlflow.log_feedback(trace_id=last, name="good", value={"a": 1}, rationale="it adds up", source=source, metadata={"k": "v"})
    mlflow.log_expectation(trace_id=last, name="answer", value=["x", 2], source=source)
    return client


@mlflow.trace(span_type="CHAIN", attributes={"ü": [1, "two"]})
def traced(x):
    return inner(x) * 2


@mlflow.trace
def inner(x):
    with mlflow.start_span("again") as span:
        span.add_event(mlflow.entities.SpanEvent("happened", attributes={"n": 1}))
    return x + 1


def logged_state(client):
    """Logged models and traces, with ids of runs replaced by names."""
    mlflow.set_tracking_uri(client.tracking_uri)  # `models:/` is looked for there, whatever the download is told.
    tracking_utils._artifact_repos_cache.clear()  # By id alone, and the same id is on two servers here.
    found = {}
    theirs = lambda tags: {k: v for k, v in tags.items() if not k.startswith(OURS)}
    name_of = lambda run: client.get_run(run).info.run_name if run else None
    for experiment in client.search_experiments(view_type=ViewType.ACTIVE_ONLY):
        for model in client.search_logged_models(experiment_ids=[experiment.experiment_id]):
            points = sorted((m.key, m.value, m.step, name_of(m.run_id)) for m in model.metrics or [])
            files = {}
            with tempfile.TemporaryDirectory() as folder:
                if client.list_logged_model_artifacts(model.model_id):
                    local = mlflow.artifacts.download_artifacts(f"models:/{model.model_id}", dst_path=folder)
                    files = {str(p.relative_to(local)): p.read_bytes() for p in sorted(pathlib.Path(local).rglob("*")) if p.is_file()}
            found[f"logged {model.name}"] = (model.model_type, str(model.status), model.params, theirs(model.tags), name_of(model.source_run_id),
                                            points, files)
        for trace in client.search_traces(locations=[experiment.experiment_id]):
            info, spans = trace.info, {span.span_id: span for span in trace.data.spans}
            run = info.trace_metadata.get("mlflow.sourceRun")
            tree = sorted((s.name, spans[s.parent_id].name if s.parent_id else "", s.start_time_ns, s.end_time_ns, str(s.status),
                           json.dumps(s.attributes, sort_keys=True, default=str), str([(e.name, e.attributes) for e in s.events]))
                          for s in spans.values())
            said = sorted((a.name, str(a.value), str(a.source), a.rationale or "", str(a.metadata)) for a in info.assessments)
            found[f"trace {info.trace_id}"] = (str(info.state), info.execution_duration, info.request_time, info.request_preview,
                                              info.response_preview, name_of(run), tree, said)
    return found


class Server:
    def __init__(self, home):
        command = [SERVER, "--home", str(home), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def __enter__(self):
        return MlflowClient(self.url, self.url)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class MlflowServer:
    """The real one."""

    def __init__(self, work):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        store, files = f"sqlite:///{work}/server.db", f"{work}/served"
        command = [sys.executable, "-m", "mlflow", "server", "--port", port, "--workers", "1", "--backend-store-uri", store]
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(work / "server.log", "w")
        self.process = subprocess.Popen([*command, "--artifacts-destination", files], stdout=self.log, stderr=self.log,
                                        start_new_session=True)

    def __enter__(self):
        for _ in range(240):
            try:
                urllib.request.urlopen(self.url + "/health").read()
                return self.url
            except OSError:
                time.sleep(0.5)
        raise TimeoutError("mlflow server does not start")

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


def differences(want, got):
    return [f"{key}:\n  want {want.get(key)}\n  got  {got.get(key)}" for key in sorted(want.keys() | got.keys())
            if want.get(key) != got.get(key)]


def read(home):
    with Server(home) as client:
        return state(client, True) | logged_state(client)


def check(label, want, source, work):
    home = work / f"home {label}"
    command = [IMPORT, "--home", str(home), *source]
    started = time.monotonic()
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    took = time.monotonic() - started
    wrong = differences(want, read(home))
    assert not wrong, f"{label}: {len(wrong)} differences\n" + "\n".join(wrong[:8])
    again = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["counts"]
    assert again["runs"] == again["runs_open"] == 1 and again["versions"] == 0 and again["experiments"] == 0, again
    assert not differences(want, read(home)), f"{label}: a second import changed something"

    kills, chance = 0, random.Random(7)
    command[2] = str(work / f"killed {label}")
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert process.wait(took * chance.uniform(0.05, 0.4) if kills < 12 else 600) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    wrong = differences(want, read(command[2]))
    assert not wrong, f"{label} after {kills} kills: {len(wrong)} differences\n" + "\n".join(wrong[:8])
    counts, notes = report["counts"], report["notes"]
    print(f"{label}: {len(want)} records match, also after {kills} kills; {counts['runs']} runs and {counts['points']} "
          f"points in {took:.2f} s; {len(notes)} notes", *sorted({note["reason"][:90] for note in notes}), sep="\n  ")


def main():
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        want = state(fill(f"file://{work}/mlruns", 1), False)
        check("file store", want, ["--mlflow-files", str(work / "mlruns")], work)
        os.chdir(work)  # Where MLflow puts the files of a database's runs.
        want = state(fill(f"sqlite:///{work}/mlflow.db", 2), False)
        check("SQLite", want, ["--mlflow-sqlite", str(work / "mlflow.db"), "--files", str(work / "mlruns")], work)
        with MlflowServer(work) as url:
            # Its answers say infinities are the largest numbers, too.
            client = fill(url, 3, 8)
            log_models_and_traces(url)
            want = state(client, False) | logged_state(client)
            check("server", want, ["--mlflow-server", url], work)


if __name__ == "__main__":
    main()
