#!/usr/bin/env python3
"""Exports a matrix of models to ONNX and compares this workspace's evaluator with onnxruntime on each.

usage: onnx_matrix.py ONNX_RUN WORK_DIR [--only PATTERN] [--golden DIR]

ONNX_RUN is the program of `cargo build -p mlops-onnx --example onnx_run`. Needs numpy, scikit-learn, skl2onnx, onnx,
onnxruntime, xgboost, lightgbm, onnxmltools. Every output must be within 1e-5 of onnxruntime's (absolutely, or relatively
above one), labels must be equal. Models that the exporter or onnxruntime refuses are listed, not counted. With --golden
the small models of the list GOLDEN are written to DIR with their inputs and reference outputs, for cargo test.
"""
import argparse, json, pathlib, re, subprocess, sys, warnings

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from onnx_matrix_models import GOLDEN, cases  # noqa: E402

warnings.filterwarnings("ignore")
NAMES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "bool": "BOOL"}
TOLERANCE = 1e-5
# What is refused when it is loaded, by name: graphs that hold graphs.
CONTROL_FLOW = re.compile(r"^Unimplemented: node .* \((Scan|Loop|If)\): operator ")


def number(value):
    if isinstance(value, float):
        if np.isnan(value):
            return None
        if np.isinf(value):
            return "INF" if value > 0 else "-INF"
    return value


def tensor(name, array):
    array = np.asarray(array)
    kind = NAMES.get(str(array.dtype), "BYTES")
    data = [str(v) for v in array.ravel()] if kind == "BYTES" else [number(v) for v in array.ravel().tolist()]
    return {"name": name, "datatype": kind, "shape": list(array.shape), "data": data}


def as_arrays(outputs):
    """Maps from class to score become one column a class, as the evaluator answers them."""
    for value in outputs:
        if isinstance(value, list):
            value = np.array([[row[key] for key in row] for row in value], dtype=np.float32)
        yield np.asarray(value)


def differ(name, ours, reference):
    if ours["datatype"] != reference["datatype"] or ours["shape"] != reference["shape"]:
        return f"{name}: {ours['datatype']}{ours['shape']} instead of {reference['datatype']}{reference['shape']}", 0.0
    if ours["datatype"] not in ("FP32", "FP64"):
        wrong = sum(a != b for a, b in zip(ours["data"], reference["data"]))
        return (f"{name}: {wrong} of {len(ours['data'])} values differ", 0.0) if wrong else (None, 0.0)
    to = lambda data: np.array([np.nan if v is None else float(str(v).lower()) for v in data], dtype=np.float64)
    a, b = to(ours["data"]), to(reference["data"])
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(b)))
    error = np.where(np.isnan(error), np.inf, error)
    worst = float(error.max()) if error.size else 0.0
    return (f"{name}: off by {worst:.2e}", worst) if worst > TOLERANCE else (None, worst)


def main():
    import onnx
    import onnxruntime as ort

    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--golden", type=pathlib.Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    passed, failed, control, refused, exact, worst_of_all = 0, [], [], [], 0, 0.0
    for name, make in cases():
        if options.only and not re.search(options.only, name):
            continue
        try:
            model, feeds = make()
            settings = ort.SessionOptions()
            settings.intra_op_num_threads, settings.log_severity_level = 1, 4
            session = ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
            reference = list(as_arrays(session.run(None, feeds)))
            if re.fullmatch(r"tree5_agg._post[12]", name):  # onnxruntime exchanges the two numbers of the standard.
                other = onnx.ModelProto.FromString(model.SerializeToString())
                for attribute in other.graph.node[0].attribute:
                    if attribute.name == "post_transform":
                        attribute.i = 3 - attribute.i
                reference = ort.InferenceSession(other.SerializeToString(), settings).run(None, feeds)
        except Exception as error:  # What cannot be made is not ours to judge.
            refused.append((name, f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"))
            continue
        wanted = [tensor(output.name, value) for output, value in zip(session.get_outputs(), reference)]
        path = options.work / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        inputs = json.dumps([tensor(key, value) for key, value in feeds.items()])
        path.with_suffix(".json").write_text(inputs)
        if options.golden and name in GOLDEN:
            options.golden.mkdir(parents=True, exist_ok=True)
            (options.golden / f"{name}.onnx").write_bytes(model.SerializeToString())
            both = {"inputs": json.loads(inputs), "outputs": wanted}
            (options.golden / f"{name}.json").write_text(json.dumps(both) + "\n")
        # Exported models answer row by row (QDA is exported with a label that does not).
        rows = ["--rows"] if re.match("(skl|xgb|lgbm)_(?!QDA)", name) else []
        done = subprocess.run([options.program, path, path.with_suffix(".json"), *rows], capture_output=True, text=True)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1][:240] if done.stderr else "no message"
            (control if CONTROL_FLOW.search(reason) else failed).append((name, reason))
            continue
        ours = json.loads(done.stdout)
        found = [differ(b["name"], a, b) for a, b in zip(ours, wanted)]
        wrong = [text for text, _ in found if text]
        if wrong:
            failed.append((name, "; ".join(wrong)))
            continue
        worst = max((worst for _, worst in found), default=0.0)
        passed, exact, worst_of_all = passed + 1, exact + (worst == 0.0), max(worst_of_all, worst)
    for name, reason in refused:
        print(f"refused  {name}: {reason}")
    for name, reason in control:
        print(f"not ours {name}: {reason}")
    for name, reason in failed:
        print(f"FAILED   {name}: {reason}")
    print(f"{passed} passed ({exact} bit-equal, worst {worst_of_all:.1e}), {len(failed)} failed, {len(control)} with control flow, {len(refused)} refused by exporter or reference")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
