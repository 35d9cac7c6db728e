"""Compares what metrics_eval computed from the inputs with the reference vectors, and names each difference.

compare_ml.py VECTORS.json OUT.json [--without SECTION]...      (ml_vectors.py writes fresh vectors, without explanations)

Every number of the vectors that is no input must be there. Metrics agree to 1e-9 relative, SHAP values to 1e-8, what is drawn
at random to 2e-2, folds and labels exactly. A section may be left out by name only.
"""

import argparse
import fnmatch
import json
import math
import sys

# Inputs, notes and settings, which are not computed.
INPUTS = [
    "versions*", "conventions*", "*.note", "*.form",
    "binary.y", "binary.score", "binary.weight", "binary.threshold",
    "binary_edge.*.y", "binary_edge.*.score", "binary_edge.*.pred",
    "multiclass.y", "multiclass.proba",
    "regression.y", "regression.pred", "regression.q10", "regression.q90", "regression.weight",
    "ranking.relevance", "ranking.score", "clustering.a", "clustering.b",
    "splits.n", "splits.y", "splits.groups", "splits.purged_kfold.t1", "splits.purged_kfold.k", "splits.purged_kfold.embargo",
    "fairness.y", "fairness.score", "fairness.threshold", "fairness.A", "fairness.B",
    "tests.delong.y", "tests.delong.s1", "tests.delong.s2", "tests.mcnemar.n01", "tests.mcnemar.n10",
    "tests.paired.a", "tests.paired.b", "tests.paired.permutation_tolerance", "tests.cv5x2.diffs",
    "tests.corrected_resampled_t.diffs", "tests.corrected_resampled_t.test_over_train", "tests.friedman.scores",
    "tests.proportion_ci.k", "tests.proportion_ci.n", "tests.multiple.p",
    "tests.bootstrap_mean.n_resamples", "tests.bootstrap_mean.tolerance", "tests.bootstrap_mean.data",
    "active.committee_proba", "active.coreset.X", "active.coreset.initial", "active.coreset.k",
    "calibration_fit.logit", "calibration_fit.y", "quantization.x",
    "explain.X", "explain.y", "explain.background_rows", "explain.rows", "explain.*_fn*",
    "explain.tree.*", "explain.forest.*", "explain.exact_shapley.agrees_with_shap_exact_max_abs",
    "explain.kernel_shap_2000.tolerance", "explain.permutation_importance_r2.tolerance",
    "explain.integrated_gradients.baseline", "explain.integrated_gradients.steps_midpoint",
]
# (path, relative, absolute), the first that matches. Absolute ones keep numbers near zero comparable: vectors have 12 digits.
TOLERANCES = [
    ("splits.*", 0, 0),
    ("quantization.*.q", 0, 0),
    ("active.coreset.k_center_greedy*", 0, 0),
    ("tests.bootstrap_mean.*", 2e-2, 0),
    ("tests.paired.permutation_p", 0, 2e-2),
    ("fairness.*.threshold_optimizer_demographic_parity.p1_mean_by_group.*", 0, 5e-3),
    ("fairness.*.threshold_optimizer_demographic_parity.expected_accuracy", 0, 5e-3),
    # Written with six digits, found by an optimizer that stops at a gradient of 1e-6.
    ("calibration_fit.platt.*", 1e-5, 0),
    ("calibration_fit.temperature", 1e-5, 0),
    ("explain.permutation_importance*", 2e-2, 2e-2),
    # shap weighs these paths in single precision: its own contributions miss the predictions by up to 1.1e-7, ours do not.
    ("explain.tree_shap_interventional.phi.*", 0, 1.5e-7),
    ("explain.*", 1e-8, 1e-8),
    ("*", 1e-9, 1e-12),
]


# numpy sorts unstably, with other instructions on other processors, and scikit-learn takes the order of ties from it. Any
# order of the ties is right, so the value must lie between those of the worst and the best order.
OF_UNSTABLE_SORT = "ranking.expected.ndcg_at_5_ignore_ties"


def ndcg_at_5_range(section):
    def gain(order):
        return sum(relevance / math.log2(rank + 2) for rank, (_, relevance) in enumerate(order[:5]))

    def mean(sign):
        values = []
        for scores, relevances in zip(section["score"], section["relevance"]):
            shown = sorted(zip(scores, relevances), key=lambda item: (-item[0], sign * item[1]))
            values.append(gain(shown) / gain(sorted(zip(scores, relevances), key=lambda item: -item[1])))
        return sum(values) / len(values)

    return mean(1), mean(-1)


def leaves(tree, path):
    """Paths and values of everything that is no object; lists of numbers stay whole until they are compared."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, list) and any(isinstance(item, (dict, list)) for item in tree):
        for index, item in enumerate(tree):
            yield from leaves(item, f"{path}.{index}")
    else:
        yield path, tree


def is_input(path):
    return any(fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern + ".*") for pattern in INPUTS)


def tolerance(path):
    return next((rel, absolute) for pattern, rel, absolute in TOLERANCES if fnmatch.fnmatchcase(path, pattern))


def differences(path, expected, found):
    """What differs, as sentences, and how many values were compared."""
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return [f"{path}: {len(found) if isinstance(found, list) else found!r} values, expected {len(expected)}"], 1
        parts = [differences(f"{path}[{i}]", e, f) for i, (e, f) in enumerate(zip(expected, found))]
        return [line for lines, _ in parts for line in lines], sum(count for _, count in parts)
    if isinstance(expected, (bool, str)) or expected is None or isinstance(found, (bool, str, dict, list)) or found is None:
        return ([] if type(expected) is type(found) and expected == found else [f"{path}: {found!r}, expected {expected!r}"]), 1
    rel, absolute = tolerance(path.split("[")[0])
    if math.isclose(expected, found, rel_tol=rel, abs_tol=absolute):
        return [], 1
    return [f"{path}: {found!r}, expected {expected!r} (off by {abs(expected - found):.3g})"], 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vectors")
    parser.add_argument("out")
    parser.add_argument("--without", action="append", default=[], metavar="SECTION")
    options = parser.parse_args()
    vectors, computed = json.load(open(options.vectors)), json.load(open(options.out))
    found = dict(leaves(computed, ""))
    compared, failures = {}, []
    for section, reference in vectors.items():
        if section in options.without:
            continue
        for path, expected in leaves(reference, section):
            if is_input(path):
                continue
            if path not in found:
                failures.append(f"{path} is missing")
                continue
            if path == OF_UNSTABLE_SORT:
                low, high = ndcg_at_5_range(reference)
                if not low - 1e-12 <= found[path] <= high + 1e-12:
                    failures.append(f"{path}: {found[path]!r} is no order of the ties ({low} to {high})")
                continue
            lines, count = differences(path, expected, found[path])
            failures += lines
            compared[section] = compared.get(section, 0) + count
    print("\n".join(failure[:200] for failure in failures))
    shown = ", ".join(f"{section} {count}" for section, count in compared.items())
    print(f"ml vectors: {sum(compared.values())} values compared ({shown}), {len(failures)} differences")
    sys.exit(bool(failures) or not compared)


main()
