#!/usr/bin/env python3
"""Loads the model server and its peers on this machine and prints what a request costs each, with ratios.

usage: serve.py BASELINES_DIR WORK_DIR [--seconds 3] [--repeat 3] [--skip mlserver]

BASELINES_DIR has the programs that make the models (serving_make_models.py) and the bodies (serving_body.py), that load
a server and read its processor time (serving_cpu.py), and that set the peer up (serving_mlserver_setup.py). WORK_DIR
keeps models and one virtual environment per peer. `wrk` must be installed.

Every server answers alone; ours and the echo in alternation. Ours validates, counts and logs every prediction, as in
service. The echo is a bare axum handler that gives the same body back: what HTTP itself costs. Figures are medians of
the repetitions; processor time is that of the whole process tree, so it holds on a busy machine too.
"""
import argparse, os, pathlib, re, shutil, signal, subprocess, sys, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parents[2]
MODELS = ["numpy==2.4.6", "scikit-learn==1.9.1", "skl2onnx==1.20.0", "onnx==1.23.2", "joblib"]
PEER = ["mlserver==1.7.1", "mlserver-sklearn==1.7.1", "onnxruntime", "skl2onnx", "setuptools<81"]
BODIES = {"JSON": "oip_json", "binary": "oip_bin"}


def python_of(work, name, packages):
    venv = work / f"venv-{name}"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *packages], check=True)
        (venv / "ready").touch()
    return venv / "bin/python"


class Served:
    """A server for as long as the block lasts."""

    def __init__(self, command, ready=None, cwd=None, environment=None):
        self.command, self.ready, self.cwd, self.environment = command, ready, cwd, environment

    def __enter__(self):
        print("+", " ".join(map(str, self.command)), file=sys.stderr, flush=True)
        own = self.ready is None
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE if own else subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        text=True, cwd=self.cwd, env=os.environ | (self.environment or {}), start_new_session=True)
        if own:
            self.url = self.process.stdout.readline().strip()
            return self
        self.url, end = self.ready.split("/v2")[0], time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(self.ready, timeout=5).read()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{self.command[0]} did not start")
                time.sleep(0.2)

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def load(options, server, url, body, clients):
    """Microseconds of processor time a request, and milliseconds at the 99th percentile."""
    command = [sys.executable, options.baselines / "serving_cpu.py", "x", str(server.process.pid), url, options.work / f"{body}.lua",
               str(clients), str(options.seconds), str(options.repeat)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(done.strip(), file=sys.stderr, flush=True)
    found = re.search(r"cpu (\d+) us/req \| (\d+) rps .* p99 ([\d.]+) ms .* errors (\d+)", done)
    if not found or int(found[4]):
        raise RuntimeError(f"{url} failed under load: {done}")
    return {"cpu": float(found[1]), "rps": float(found[2]), "p99": float(found[3])}


def measure(options, server, path):
    return {(name, clients): load(options, server, server.url + path, body, clients)
            for name, body in BODIES.items() for clients in (16, 64)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("baselines", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--skip", default="")
    options = parser.parse_args()
    options.baselines, options.work = options.baselines.resolve(), options.work.resolve()
    work, skipped = options.work, set(options.skip.split(","))
    work.mkdir(parents=True, exist_ok=True)
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt-get install wrk")
    python = python_of(work, "models", MODELS)
    if not (work / "mlp.onnx").exists():
        subprocess.run([python, options.baselines / "serving_make_models.py", work], check=True)
    subprocess.run([python, options.baselines / "serving_body.py", work / "X.npy", work], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "mlops-bench-peers", "--bin", "serve"], check=True, cwd=HERE)
    program = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")) / "release/serve"

    figures = {}
    for model in ("mlp", "gbdt"):
        with Served([program, "echo"]) as server:
            figures["echo", model] = measure(options, server, "/")
        log = work / f"log-{model}"
        shutil.rmtree(log, ignore_errors=True)
        with Served([program, "model", "--file", work / f"{model}.onnx", "--name", model, "--log", log]) as server:
            figures["ours", model] = measure(options, server, f"/v2/models/{model}/infer")
    peers = []
    if "mlserver" not in skipped:
        peers.append("mlserver")
        python = python_of(work, "mlserver", PEER)
        subprocess.run([python, options.baselines / "serving_mlserver_setup.py", work, work / "mlserver"], check=True)
        command = [python.parent / "mlserver", "start", "."]
        with Served(command, "http://127.0.0.1:8090/v2/health/ready", work / "mlserver", {"PYTHONPATH": "."}) as server:
            for model in ("mlp", "gbdt"):
                figures["mlserver", model] = {("JSON", clients): load(options, server, f"{server.url}/v2/models/{model}/infer", "oip_json", clients)
                                              for clients in (16, 64)}
    print("| model, body, clients | ours, us | echo, us | ours/echo | p99 ours, ms | p99 echo, ms |" + "".join(f" {peer}, us | {peer}/ours |" for peer in peers))
    print("|---|---|---|---|---|---|" + "---|---|" * len(peers))
    for model in ("mlp", "gbdt"):
        for key, ours in figures["ours", model].items():
            echo = figures["echo", model][key]
            cells = [f"{model}, {key[0]}, {key[1]}", f"{ours['cpu']:.0f}", f"{echo['cpu']:.0f}", f"{ours['cpu'] / echo['cpu']:.2f}",
                     f"{ours['p99']:.2f}", f"{echo['p99']:.2f}"]
            for peer in peers:
                theirs = figures[peer, model].get(key)
                cells += [f"{theirs['cpu']:.0f}", f"{theirs['cpu'] / ours['cpu']:.1f}"] if theirs else ["-", "-"]
            print("| " + " | ".join(cells) + " |")


main()
