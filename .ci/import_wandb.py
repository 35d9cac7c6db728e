"""Logs runs with the real wandb client, offline, imports them and reads them back with MLflow's client.

usage: import_wandb.py TRACKING_IMPORT TRACKING_SERVER WORK   (packages: wandb, mlflow-skinny)
"""
import json, math, os, pathlib, subprocess, sys

IMPORT, SERVER = sys.argv[1:3]
work = pathlib.Path(sys.argv[3])
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DIR=str(work), MLFLOW_HTTP_REQUEST_TIMEOUT="60")
import wandb
from mlflow.tracking import MlflowClient

STEPS = 3000
value = lambda run, step: {5: math.nan, 6: math.inf, 7: -math.inf}.get(step, run + 1 / (step + 1))


def log(index):
    config = {"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}, "none": None, "flag": True}
    about = dict(name=["plain", "it's: #odd é"][index], group="g", tags=["a", "b"], notes="note\nline")
    with wandb.init(project="fraud", config=config, **about) as run:
        for step in range(STEPS):
            row = {"loss": value(index, step), "nested": {"a": float(step)}}
            if step % 10 == 0:
                row["val/acc"] = step / STEPS
            if step == 3:
                row |= {"text": "hello", "hist": wandb.Histogram([1, 2, 3])}
            run.log(row)
        run.summary["best"] = 0.5
        run.config.update({"late": "x" * 40_000})
        pathlib.Path(run.dir, "own.txt").write_text("hello")
        return run.id, about


def check(client, run, index, about):
    assert run.info.status == "FINISHED" and run.info.run_name == about["name"], run.info
    assert run.info.end_time >= run.info.start_time > 1_600_000_000_000
    params, tags = run.data.params, run.data.tags
    assert params["opt.name"] == "adam" and json.loads(params["opt.betas"]) == [0.9, 0.99], params
    assert params["lr"] == "0.1" and params["flag"] == "true" and params["late"].startswith("xxx"), params
    assert tags["mlflow.note.content"] == about["notes"] and json.loads(tags["wandb.tags"]) == about["tags"]
    assert tags["wandb.group"] == "g", tags
    same = lambda a, b: a == b or (math.isnan(a) and math.isnan(b))
    for key, want in [("loss", lambda step: value(index, step)), ("nested.a", float)]:
        points = sorted(client.get_metric_history(run.info.run_id, key), key=lambda point: point.step)
        assert [point.step for point in points] == list(range(STEPS)), (key, len(points))
        assert all(same(point.value, want(point.step)) for point in points), key
    accuracy = client.get_metric_history(run.info.run_id, "val/acc")
    assert sorted((p.step, p.value) for p in accuracy) == [(s, s / STEPS) for s in range(0, STEPS, 10)]
    assert run.data.metrics["best"] == 0.5 and not {"hist", "text", "_step"} & set(run.data.metrics)
    assert "own.txt" in [file.path for file in client.list_artifacts(run.info.run_id)]


def imported():
    command = [IMPORT, "--home", str(work / "home"), "--wandb", str(work / "wandb")]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


logged = {run: (index, about) for index in range(2) for run, about in [log(index)]}
report = imported()
assert report["counts"]["runs"] == 2 and imported()["counts"]["runs_present"] == 2, report
server = subprocess.Popen([SERVER, "--home", str(work / "home"), "--port", "0"], stdout=subprocess.PIPE, text=True)
try:
    client = MlflowClient(server.stdout.readline().strip())
    experiment = client.get_experiment_by_name("fraud")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 2, runs
    for run in runs:
        check(client, run, *logged[run.data.tags["mlops.imported.from"].split("#")[-1]])
finally:
    server.terminate()
    server.wait()
print(f"wandb {wandb.__version__}: 2 runs with {report['counts']['points']} points match; left out:")
print(*sorted({"  " + note["reason"] for note in report["notes"]}), sep="\n")
