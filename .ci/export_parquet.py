"""Reads the Parquet files of an export with pyarrow and compares them with what MLflow's client reads from our server.

usage: export_parquet.py TRACKING_EXPORT TRACKING_SERVER HOME   (packages: pyarrow, mlflow-skinny; HOME holds runs)
"""
import math, os, subprocess, sys, tempfile

import pyarrow.parquet as pq
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "60"
export, serve, home = sys.argv[1:4]
with tempfile.TemporaryDirectory() as work:
    files = [f"{work}/runs.parquet", f"{work}/points.parquet"]
    subprocess.run([export, "--home", home, "--runs", files[0], "--history", files[1]], check=True)
    runs, points = (pq.read_table(file) for file in files)
plain = lambda value: "nan" if isinstance(value, float) and math.isnan(value) else value
server = subprocess.Popen([serve, "--home", home, "--port", "0"], stdout=subprocess.PIPE, text=True)
try:
    client = MlflowClient(server.stdout.readline().strip())
    experiments = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ALL)]
    found = {r.info.run_id: r for r in client.search_runs(experiments, run_view_type=ViewType.ALL, max_results=50_000)}
    assert found and len(found) == runs.num_rows, (len(found), runs.num_rows)
    for row in runs.to_pylist():
        run = found[row["run_id"]]
        millis = lambda time: None if time is None else round(time.timestamp() * 1000)
        assert (row["run_name"], row["status"], millis(row["start_time"]), millis(row["end_time"]) or run.info.end_time) == (
            run.info.run_name, run.info.status, run.info.start_time, run.info.end_time), row
        for kind, want in [("metrics", run.data.metrics), ("params", run.data.params), ("tags", run.data.tags)]:
            got = {name.split(".", 1)[1]: value for name, value in row.items()
                   if name.startswith(kind + ".") and value is not None}
            assert {k: plain(v) for k, v in got.items()} == {k: plain(v) for k, v in want.items()}, (kind, got, want)
    histories = {}
    for row in points.to_pylist():
        point = (row["step"], millis(row["timestamp"]), str(row["value"]))
        histories.setdefault((row["run_id"], row["key"]), []).append(point)
    for run_id, run in found.items():
        for key in run.data.metrics:
            want = [(p.step, p.timestamp, str(p.value)) for p in client.get_metric_history(run_id, key)]
            assert sorted(histories.pop((run_id, key))) == sorted(want), (run_id, key)
    assert not histories, histories.keys()
finally:
    server.terminate()
    server.wait()
print(f"pyarrow reads {runs.num_rows} runs in {runs.num_columns} columns and {points.num_rows} points as the server has them")
