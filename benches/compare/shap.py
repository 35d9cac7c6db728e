#!/usr/bin/env python3
"""Runs TreeSHAP of the shap package and ours on the same forests and rows on one core, and prints what each costs.

usage: shap.py WORK_DIR PROGRAM [--rows 1000]

PROGRAM is `shap` of bench-peers (cargo build --release -p mlops-bench-peers --no-default-features --features train --bin
shap). WORK_DIR keeps data and the peer's virtual environment. Figures are processor seconds, medians of five repetitions,
peer and ours in turn; making the explainer counts for both. Values are compared before any figure is printed.

shap hands LightGBM's models to LightGBM's own code for values by covers; for scikit-learn's forests, and against a
background, it uses its compiled extension.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, time

PACKAGES = ["shap==0.51.0", "lightgbm==4.7.0", "scikit-learn==1.9.1"]
REPETITIONS = 5
BACKGROUND = 100


def outer(options):
    venv = options.work / "venv-shap"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PACKAGES], check=True)
        (venv / "ready").touch()
    one = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    command = [venv / "bin/python", __file__, options.work, options.program, "--rows", str(options.rows)]
    subprocess.run(command, check=True, env=os.environ | one | {"SHAP_INNER": "1"})


def median_cpu(task):
    task()
    times = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return statistics.median(times)


def arrays_of_lightgbm(tree):
    """LightGBM's nested dump as parallel arrays."""
    out = {key: [] for key in ("left", "right", "feature", "threshold", "value", "cover", "missing_left")}

    def visit(node):
        place = len(out["left"])
        leaf = "leaf_value" in node
        out["left"].append(-1)
        out["right"].append(-1)
        out["feature"].append(-1 if leaf else node["split_feature"])
        out["threshold"].append(0.0 if leaf else node["threshold"])
        out["value"].append(node["leaf_value"] if leaf else 0.0)
        out["cover"].append(node.get("leaf_count", 1) if leaf else node["internal_count"])
        out["missing_left"].append(False if leaf else node["default_left"])
        if not leaf:
            out["left"][place] = visit(node["left_child"])
            out["right"][place] = visit(node["right_child"])
        return place

    visit(tree["tree_structure"])
    return out


def arrays_of_sklearn(tree):
    return {
        "left": tree.children_left.tolist(), "right": tree.children_right.tolist(), "feature": tree.feature.tolist(),
        "threshold": tree.threshold.tolist(), "value": tree.value.ravel().tolist(),
        "cover": tree.weighted_n_node_samples.tolist(),
    }


def inner(options):
    # This file has the package's name, and its folder comes first in the path.
    sys.path.remove(str(pathlib.Path(__file__).resolve().parent))
    import lightgbm, numpy as np, shap
    from sklearn.ensemble import RandomForestRegressor

    random = np.random.default_rng(7)
    # Single precision, which scikit-learn's trees compare in, so that all take the same turns.
    x = random.standard_normal((20_000, 30)).astype(np.float32).astype(np.float64)
    y = x @ random.standard_normal(30) / 3 + x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2])
    rows, background = x[: options.rows], x[-BACKGROUND:]
    few = rows[: max(1, options.rows // 10)]
    settings = {"objective": "regression", "num_leaves": 31, "learning_rate": 0.1, "num_threads": 1, "verbose": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y), 100)
    boosted = [arrays_of_lightgbm(tree) for tree in booster.dump_model()["tree_info"]]
    forest = RandomForestRegressor(100, max_depth=8, random_state=0, n_jobs=1).fit(x, y)
    deep = RandomForestRegressor(20, random_state=0, n_jobs=1).fit(x[:5_000], y[:5_000])
    grown = lambda model: [arrays_of_sklearn(tree.tree_) for tree in model.estimators_]

    def by_covers(model, rows):
        return lambda: shap.TreeExplainer(model).shap_values(rows, check_additivity=False)

    def by_background(model, rows):
        explain = lambda: shap.TreeExplainer(model, data=background, feature_perturbation="interventional")
        return lambda: explain().shap_values(rows, check_additivity=False)

    tasks = [
        ("LightGBM 100 x 31 leaves, covers", booster, boosted, False, rows, None),
        ("forest 100 x depth 8, covers", forest, grown(forest), True, few, None),
        ("forest 20 x full depth, covers", deep, grown(deep), True, few, None),
        (f"LightGBM 100 x 31 leaves, {BACKGROUND} background rows", booster, boosted, False, few, background),
        (f"forest 100 x depth 8, {BACKGROUND} background rows", forest, grown(forest), True, few, background),
    ]
    print("| task | rows | shap, CPU s | ours, CPU s | ratio | largest difference |\n|---|---|---|---|---|---|")
    for name, model, trees, mean, some, others in tasks:
        peer = by_covers(model, some) if others is None else by_background(model, some)
        values = np.asarray(peer())
        theirs = median_cpu(peer)
        task = {
            "name": name, "repetitions": REPETITIONS, "features": x.shape[1], "mean": mean, "base": 0.0, "trees": trees,
            "rows": some.tolist(), "background": None if others is None else others.tolist(),
        }
        (options.work / "shap_in.json").write_text(json.dumps(task))
        command = [options.program, options.work / "shap_in.json", options.work / "shap_out.json"]
        line = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        found = np.asarray(json.loads((options.work / "shap_out.json").read_text())["phi"])
        difference = np.abs(found - values).max() / np.abs(values).max()
        # shap's extension sums in double precision, but reads a forest's values through single precision.
        assert difference < 1e-5, (name, difference)
        print(f"| {name} | {len(some)} | {theirs:.3g} | {line['cpu_s']:.3g} | {theirs / line['cpu_s']:.1f} | {difference:.1e} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=1_000)
    options = parser.parse_args()
    inner(options) if os.environ.get("SHAP_INNER") else outer(options)


if __name__ == "__main__":
    main()
