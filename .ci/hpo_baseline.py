"""Quality and speed of the search, driven through `study_stdio` and compared with Optuna 5.0's medians.

Functions and reference numbers: ../shared/baselines/hpo_baseline.{py,json} (20 seeds each). A sampler fails when the median of
its best values after 200 trials is worse than Optuna's upper quartile, the gaussian process when it is not better than our TPE
on the smooth functions, and any of them when ask and tell take 1 ms or more a trial after 10,000 trials.
With fewer seeds than 20 the bound is Optuna's worse quartile plus the width between its quartiles.

usage: hpo_baseline.py STUDY_STDIO BASELINE.json [--seeds N] [--samplers tpe,cmaes,gp] [--problems branin,...] [--speed N]
"""
import argparse, json, math, statistics, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor

PI = math.pi
A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
P = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
     [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]
CATS = {"a": -8.0, "b": 16.0, "c": 0.0, "d": -24.0, "e": 24.0, "f": 8.0, "g": -16.0}
MARKS = (50, 100, 200)


def branin(p):
    x, y = p["x"], p["y"]
    return (y - 5.1 / (4 * PI**2) * x * x + 5 / PI * x - 6) ** 2 + 10 * (1 - 1 / (8 * PI)) * math.cos(x) + 10


def hartmann6(p):
    inner = (sum(a * (p[f"x{j}"] - 1e-4 * c) ** 2 for j, (a, c) in enumerate(zip(ra, rc))) for ra, rc in zip(A, P))
    return -sum(w * math.exp(-s) for w, s in zip([1.0, 1.2, 3.0, 3.2], inner))


def rosen5(p):
    x = [p[f"x{i}"] for i in range(5)]
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:]))


def ackley_mix(p):
    x = [p[f"x{i}"] for i in range(5)] + [float(p[f"k{i}"]) for i in range(3)] + [CATS[p[f"c{i}"]] for i in range(2)]
    mean = lambda f: sum(map(f, x)) / len(x)
    return -20 * math.exp(-0.2 * math.sqrt(mean(lambda v: v * v))) - math.exp(mean(lambda v: math.cos(2 * PI * v))) + 20 + math.e


def svm_like(p):
    v = (math.log10(p["C"]) - 1.0) ** 2
    if p["kernel"] == "rbf":
        return v + (math.log10(p["gamma"]) + 3) ** 2
    if p["kernel"] == "poly":
        return 0.5 + v + 0.2 * (p["degree"] - 3) ** 2 + 0.1 * (p["coef0"] - 1) ** 2
    return 1.0 + v


def real(low, high, **more):
    return {"type": "float", "low": low, "high": high, **more}


def when(kernel):
    return {"param": "kernel", "is": [kernel]}


SPACES = {
    "branin": (branin, {"x": real(-5, 10), "y": real(0, 15)}),
    "hartmann6": (hartmann6, {f"x{i}": real(0, 1) for i in range(6)}),
    "rosen5": (rosen5, {f"x{i}": real(-5, 10) for i in range(5)}),
    "ackley_mix": (ackley_mix, {**{f"x{i}": real(-32.768, 32.768) for i in range(5)},
                                **{f"k{i}": {"type": "int", "low": -32, "high": 32} for i in range(3)},
                                **{f"c{i}": {"type": "categorical", "choices": list(CATS)} for i in range(2)}}),
    "svm_like": (svm_like, {"kernel": {"type": "categorical", "choices": ["linear", "poly", "rbf"]},
                            "C": real(1e-3, 1e3, log=True), "gamma": real(1e-6, 10, log=True, when=when("rbf")),
                            "degree": {"type": "int", "low": 2, "high": 7, "when": when("poly")},
                            "coef0": real(-5, 5, when=when("poly"))}),
}
SMOOTH = ("branin", "hartmann6", "rosen5")


class Study:
    def __init__(self, program, problem, sampler, seed):
        self.function, space = SPACES[problem]
        self.child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.call(op="create", direction="minimize", sampler=sampler, seed=seed, space=space, storage=None)

    def call(self, **operation):
        self.child.stdin.write(json.dumps(operation) + "\n")
        self.child.stdin.flush()
        answer = json.loads(self.child.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer

    def trial(self):
        trial = self.call(op="ask")
        value = self.function(trial["params"])
        self.call(op="tell", trial=trial["trial"], value=value)
        return value

    def close(self):
        self.child.stdin.close()
        assert self.child.wait() == 0


def best_values(program, problem, sampler, seed, trials=200):
    study, best, marks = Study(program, problem, sampler, seed), math.inf, {}
    for number in range(1, trials + 1):
        best = min(best, study.trial())
        if number in MARKS:
            marks[number] = best
    study.close()
    return marks


def speed(program, problem, sampler, trials):
    """Milliseconds of the program's processor time a trial, over the last 500 of `trials`."""
    study = Study(program, problem, sampler, 0)
    clock = lambda: sum(int(v) for v in open(f"/proc/{study.child.pid}/stat").read().rsplit(")", 1)[1].split()[11:13])
    for _ in range(trials - 500):
        study.trial()
    before, began = clock(), time.perf_counter()
    for _ in range(500):
        study.trial()
    wall, ticks = time.perf_counter() - began, clock() - before
    study.close()
    return ticks * 10 / 500, wall * 1000 / 500


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("program")
    arguments.add_argument("baseline")
    arguments.add_argument("--seeds", type=int, default=20)
    arguments.add_argument("--samplers", default="tpe,cmaes,gp")
    arguments.add_argument("--problems", default=",".join(SPACES))
    arguments.add_argument("--speed", type=int, default=10_000)
    arguments.add_argument("--jobs", type=int, default=2)
    options = arguments.parse_args()
    reference = json.load(open(options.baseline))["problems"]
    faults, medians = [], {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for sampler in options.samplers.split(","):
            for problem in options.problems.split(","):
                began = time.perf_counter()
                seeds = range(options.seeds)
                rows = list(pool.map(lambda seed: best_values(options.program, problem, sampler, seed), seeds))
                mine = {mark: statistics.median(row[mark] for row in rows) for mark in MARKS}
                medians[sampler, problem] = mine[200]
                theirs = reference[problem].get(sampler)
                line = f"{sampler:6} {problem:10} " + " ".join(f"{mine[mark]:.5g}" for mark in MARKS)
                if theirs:
                    line += "   optuna " + " ".join(f"{theirs[str(mark)]['median']:.5g}" for mark in MARKS)
                    bound = theirs["200"]["q75"] + 5e-6
                    if options.seeds < 20:
                        bound += theirs["200"]["q75"] - theirs["200"]["q25"]
                    if mine[200] > bound:
                        faults.append(f"{sampler} on {problem}: median {mine[200]:.5g} is worse than {bound:.5g}")
                print(line, f"  {time.perf_counter() - began:.1f} s", flush=True)
    for problem in SMOOTH:
        gp, tpe = medians.get(("gp", problem)), medians.get(("tpe", problem))
        if gp is not None and tpe is not None and gp > tpe:
            faults.append(f"gp on {problem}: median {gp:.5g} is worse than that of tpe, {tpe:.5g}")
    if options.speed:
        for sampler in [s for s in options.samplers.split(",") if s != "gp"]:
            for problem in ("branin", "ackley_mix"):
                cpu, wall = speed(options.program, problem, sampler, options.speed)
                print(f"{sampler:6} {problem:10} {cpu:.3f} ms of processor time and {wall:.3f} ms a trial "
                      f"after {options.speed} trials", flush=True)
                if cpu >= 1.0:
                    faults.append(f"{sampler} on {problem}: {cpu:.3f} ms a trial after {options.speed} trials")
    for fault in faults:
        print("FAULT:", fault)
    sys.exit(1 if faults else 0)


main()
