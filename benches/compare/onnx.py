#!/usr/bin/env python3
"""Sets the ONNX evaluator beside onnxruntime on this machine: microseconds of one run, and their ratio.

usage: onnx.py WORK_DIR [--seconds 1.0]

WORK_DIR keeps models and a virtual environment. Models are exported by scikit-learn; both sides run one thread, on the
same rows, in alternation, so that a busy machine is busy for both; figures are the medians of the runs of the best of
three rounds. onnxruntime is called from Python (`run_with_ort_values`, about 2 us of call included); what that costs is
measured on an identity graph and printed. Ours is measured inside `onnx_run --repeat`, call to answer.
"""
import argparse, json, os, pathlib, subprocess, sys, time

HERE = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["numpy==2.4.6", "scikit-learn==1.9.1", "skl2onnx==1.20.0", "onnx==1.23.2", "onnxruntime==1.32.0"]


def inside(work):
    """Starts again in the environment that has the packages."""
    venv = work / "venv-onnx"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PACKAGES], check=True)
        (venv / "ready").touch()
    os.execv(venv / "bin/python", [str(venv / "bin/python"), *sys.argv])


def models(np):
    from sklearn import ensemble, linear_model, neural_network, pipeline, preprocessing

    r = np.random.default_rng(0)
    x = r.normal(size=(2000, 20)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * r.normal(size=2000) > 0).astype(int)
    fit = {
        "linear": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        "boosting_100x3": ensemble.GradientBoostingClassifier(n_estimators=100, max_depth=3),
        "boosting_100x6": ensemble.GradientBoostingClassifier(n_estimators=100, max_depth=6),
        "forest_100x8": ensemble.RandomForestClassifier(100, max_depth=8, random_state=0),
        "forest_100_full": ensemble.RandomForestClassifier(100, random_state=0),
        "mlp_64_64": neural_network.MLPClassifier((64, 64), max_iter=20, random_state=0),
    }
    from skl2onnx import to_onnx

    for name, model in fit.items():
        model.fit(x, y)
        yield name, to_onnx(model, x[:1], options={id(model): {"zipmap": False}}), x


def median_us(run, seconds):
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return sorted(times)[len(times) // 2] / 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        import numpy as np, onnxruntime as ort, skl2onnx  # noqa: F401
    except ImportError:
        inside(work)
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "mlops-onnx", "--example", "onnx_run"], check=True, cwd=HERE)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or json.loads(subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=HERE, capture_output=True, check=True).stdout)["target_directory"])
    program = target / "release/examples/onnx_run"
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1

    def session_of(model, x):
        session = ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        feeds = {session.get_inputs()[0].name: ort.OrtValue.ortvalue_from_numpy(x)}
        return lambda: session.run_with_ort_values(names, feeds)

    from onnx import TensorProto, helper
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 20]) for name in ("X", "Y")]
    graph = helper.make_graph([helper.make_node("Identity", ["X"], ["Y"])], "g", info[:1], info[1:])
    nothing = session_of(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), np.zeros((1, 20), np.float32))
    print(f"a call of onnxruntime that computes nothing: {median_us(nothing, options.seconds):.1f} us")
    print(f"{'model':18}{'rows':>6}{'ours us':>10}{'ort us':>10}{'ratio':>8}")
    for name, model, x in models(np):
        path = work / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        for rows in (1, 256):
            part = np.ascontiguousarray(x[:rows])
            feeds = path.with_suffix(f".{rows}.json")
            feeds.write_text(json.dumps([{"name": "X", "datatype": "FP32", "shape": list(part.shape), "data": part.ravel().tolist()}]))
            theirs, ours = [], []
            run = session_of(model, part)
            for _ in range(3):
                theirs.append(median_us(run, options.seconds))
                count = max(20, int(options.seconds * 1e6 / theirs[-1]))
                done = subprocess.run([program, path, feeds, "--repeat", str(count)], capture_output=True, text=True, check=True)
                ours.append(json.loads(done.stdout)["microseconds"])
            a, b = min(ours), min(theirs)
            print(f"{name:18}{rows:>6}{a:>10.1f}{b:>10.1f}{b / a:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
