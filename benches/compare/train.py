#!/usr/bin/env python3
"""Sets the trainers beside scikit-learn and LightGBM on this machine: CPU seconds of a fit, samples per CPU second, AUC.

usage: train.py WORK_DIR [--rounds 3] [--program PATH]

WORK_DIR keeps the data and a virtual environment. The task is made: 200,000 rows of 30 normal features in single precision,
two classes of log odds X w / 3 + x0 x1 + sin 2 x2, 160,000 rows to learn from and 40,000 to judge by. Every side runs one
thread; ours is `train_table`, built here unless `--program` names it. The peers are fitted in this process, in alternation
with ours, so that a busy machine is busy for all; figures are CPU seconds of the best round, and the mean AUC of all rounds
with the lowest and the highest: each round has a seed of its own, on every side. Ours learn their preprocessing (medians,
scales, bins) within the fit, too. Predictions of `train_table` are compared with the AUC that it reports.
"""
import argparse, json, os, pathlib, subprocess, sys, time

HERE = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["numpy==2.4.6", "scikit-learn==1.9.1", "lightgbm==4.7.0", "pyarrow"]
TRAIN_ROWS, EPOCHS = 160_000, 3
OURS = {
    "mlp 30-256-256-1, 3 epochs": ["mlp", "hidden_layers=2", "hidden_units=256", "batch_rows=1024", f"epochs={EPOCHS}",
                                   "learning_rate=0.001", "early_stopping_epochs=0"],
    "trees, 100 of 31 leaves": ["gbdt", "rounds=100", "learning_rate=0.1", "max_leaves=31", "max_depth=30",
                                "min_child_rows=20", "lambda=0"],
    "logistic regression": ["logistic"],
}

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"


def inside(work):
    """Starts again in the environment that has the packages."""
    venv = work / "venv-train"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PACKAGES], check=True)
        (venv / "ready").touch()
    os.execv(venv / "bin/python", [str(venv / "bin/python"), *sys.argv])


def data(np):
    g = np.random.default_rng(7)
    x = g.standard_normal((200_000, 30)).astype(np.float32)
    w = g.standard_normal(30).astype(np.float32)
    odds = x @ w / 3 + x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2])
    y = (g.random(200_000) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    return x, y


def peers():
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mlp, trees, line = OURS
    return {
        (mlp, "scikit-learn"): lambda seed: MLPClassifier((256, 256), batch_size=1024, max_iter=EPOCHS, alpha=0,
                                                          learning_rate_init=1e-3, random_state=seed),
        (trees, "LightGBM"): lambda seed: LGBMClassifier(n_estimators=100, learning_rate=0.1, num_leaves=31, n_jobs=1,
                                                         verbose=-1, random_state=seed),
        (trees, "scikit-learn"): lambda seed: HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, random_state=seed,
                                                                             max_leaf_nodes=31, early_stopping=False),
        (line, "scikit-learn"): lambda _: LogisticRegression(max_iter=200),
        (line, "and scaler"): lambda _: make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
        (line, "tol 1e-8"): lambda _: make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-8)),
    }


def program(option):
    if option:
        return option
    build = ["cargo", "build", "--quiet", "--release", "-p", "mlops-conformance", "--no-default-features", "--bin", "train_table"]
    subprocess.run(build, check=True, cwd=HERE)
    target = os.environ.get("CARGO_TARGET_DIR") or json.loads(subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=HERE, capture_output=True, check=True).stdout)["target_directory"]
    return pathlib.Path(target) / "release/train_table"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", type=pathlib.Path)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        import lightgbm, numpy as np, pyarrow as pa, pyarrow.parquet as pq, sklearn  # noqa: F401
    except ImportError:
        inside(work)
    import warnings

    from sklearn.metrics import roc_auc_score

    warnings.filterwarnings("ignore")
    x, y = data(np)
    paths = [work / "train.parquet", work / "test.parquet"]
    for path, rows in zip(paths, (slice(None, TRAIN_ROWS), slice(TRAIN_ROWS, None))):
        columns = {f"x{i}": x[rows, i] for i in range(30)}
        pq.write_table(pa.table({**columns, "label": y[rows]}), path)
    binary = program(options.program)

    def ours(arguments, seed):
        model, *params = arguments
        command = [binary, "--train", paths[0], "--test", paths[1], "--label", "label", "--model", model, "--seed", str(seed),
                   "--predictions", work / "predictions.parquet", *(f"--param={param}" for param in params)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        predicted = pq.read_table(work / "predictions.parquet").column("probability").to_numpy()
        assert abs(roc_auc_score(y[TRAIN_ROWS:], predicted) - found["metrics"]["roc_auc"]) < 1e-9
        return found["fit_cpu_seconds"], found["metrics"]["roc_auc"]

    def theirs(make, seed):
        model = make(seed)
        start = time.process_time()
        model.fit(x[:TRAIN_ROWS], y[:TRAIN_ROWS])
        spent = time.process_time() - start
        return spent, roc_auc_score(y[TRAIN_ROWS:], model.predict_proba(x[TRAIN_ROWS:])[:, 1])

    results = {}
    for seed in range(options.rounds):
        for task, arguments in OURS.items():
            results.setdefault((task, "ours"), []).append(ours(arguments, seed))
            for (peer_task, name), make in peers().items():
                if peer_task == task:
                    results.setdefault((task, name), []).append(theirs(make, seed))
    print(f"{'task':28}{'side':14}{'CPU s':>8}{'samples/CPU s':>15}{'AUC':>8}{'from':>8}{'to':>8}{'CPU / ours':>12}")
    for (task, name), runs in results.items():
        spent, areas = min(runs)[0], [area for _, area in runs]
        mine = min(results[(task, "ours")])[0]
        rate = f"{EPOCHS * TRAIN_ROWS / spent:,.0f}" if task.startswith("mlp") else ""
        area = "".join(f"{value:>8.4f}" for value in (sum(areas) / len(areas), min(areas), max(areas)))
        print(f"{task:28}{name:14}{spent:>8.2f}{rate:>15}{area}{spent / mine:>12.2f}")


if __name__ == "__main__":
    main()
