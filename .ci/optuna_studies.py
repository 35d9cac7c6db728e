"""Studies go to Optuna and back: the real Optuna opens what `study_stdio` exports, goes on with it, and is read again.

usage: optuna_studies.py STUDY_STDIO WORK_DIR      (python with optuna==5.0.0)
"""
import json, math, os, subprocess, sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
PROGRAM, WORK = sys.argv[1], sys.argv[2]
SPACE = {"kernel": {"type": "categorical", "choices": ["linear", "rbf", 3, True]},
         "gamma": {"type": "float", "low": 1e-3, "high": 1, "log": True, "when": {"param": "kernel", "is": ["rbf"]}},
         "s": {"type": "float", "low": 0, "high": 1, "step": 0.25},
         "n": {"type": "int", "low": 1, "high": 99, "step": 7}, "k": {"type": "int", "low": 1, "high": 64, "log": True}}


class Session:
    def __init__(self):
        self.child = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __call__(self, op, **more):
        self.child.stdin.write(json.dumps({"op": op, **more}) + "\n")
        answer = json.loads(self.child.stdout.readline())
        assert "error" not in answer, answer
        return answer


def same(ours, theirs):
    """One trial of ours and one of Optuna's."""
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "running": "RUNNING"}
    assert ours["number"] == theirs.number and states[ours["state"]] == theirs.state.name, (ours, theirs)
    if ours["state"] == "failed":
        return
    assert set(ours["params"]) == set(theirs.params), (ours, theirs)
    for name, value in ours["params"].items():
        assert value == theirs.params[name] and type(value) is type(theirs.params[name]), (name, value, theirs.params)
    if ours["state"] == "complete":
        assert ours["values"] == theirs.values
        assert sorted(ours.get("constraints", [])) == sorted(theirs.constraints.values())
    assert ours.get("user_attributes", {}) == theirs.user_attrs, (ours, theirs)
    reports = {int(step): value for step, value in ours.get("reports", {}).items()}
    assert reports == {s: v for s, v in theirs.intermediate_values.items() if math.isfinite(v)}


def main():
    path = os.path.join(WORK, "studies.db")
    if os.path.exists(path):
        os.remove(path)
    ours = Session()
    ours("create", name="ours", directions=["maximize"], seed=3, space=SPACE)
    for number in range(40):
        trial = ours("ask")
        ours("report", trial=number, step=1, value=number / 3)
        if number % 3 == 0:
            ours("note", trial=number, name="größe", value={"trees": number, "of": [1.5, None, "x"]})
        if number % 7 == 3:
            ours("tell", trial=number, state="pruned")
        elif number % 7 == 5:
            ours("tell", trial=number, state="fail")
        else:
            ours("tell", trial=number, value=trial["params"]["s"] + number / 7, constraints=[-0.5, number / 10 - 2])
    ours("export", optuna=path)
    exported = ours("trials")["trials"]

    storage = f"sqlite:///{path}"
    theirs = optuna.load_study(study_name="ours", storage=storage)
    assert theirs.direction.name == "MAXIMIZE" and len(theirs.trials) == 40
    for mine, other in zip(exported, theirs.trials):
        same(mine, other)

    def objective(trial):
        kernel = trial.suggest_categorical("kernel", ["linear", "rbf", 3, True])
        value = math.log10(trial.suggest_float("gamma", 1e-3, 1, log=True)) if kernel == "rbf" else 0.0
        value += trial.suggest_float("s", 0, 1, step=0.25) + trial.suggest_int("n", 1, 99, step=7) / 99
        value += trial.suggest_int("k", 1, 64, log=True) / 64
        trial.report(value, 2)
        trial.set_constraint("c", value - 1)
        trial.set_user_attr("run", {"id": trial.number, "tags": ["a", None]})
        if trial.number % 9 == 4:
            raise optuna.TrialPruned()
        return float("inf") if trial.number % 11 == 7 else value

    theirs.optimize(objective, n_trials=20)
    fresh = optuna.create_study(study_name="theirs", storage=storage, direction="minimize")
    fresh.optimize(objective, n_trials=40)
    for name in ("ours", "theirs"):
        back = Session()
        back("import", optuna=path, name=name)
        trials = back("trials")["trials"]
        expected = optuna.load_study(study_name=name, storage=storage).trials
        assert len(trials) == len(expected)
        for mine, other in zip(trials, expected):
            if other.values and not math.isfinite(other.values[0]):
                assert mine["state"] == "failed"
            else:
                same(mine, other)
        params = back("ask")["params"]
        assert ("gamma" in params) == (params["kernel"] == "rbf"), params
    print("optuna", optuna.__version__, "opens our studies and we open its: 40 + 60 + 40 trials alike")


main()
