"""Writes vectors like ml_vectors.json with other numbers: inputs by a seed, results by scikit-learn, SciPy and Fairlearn.

ml_vectors.py OUT.json [--seed N]

What the reference vectors define themselves, without a second oracle (ECE, purged folds, DeLong), is left out, as is `explain`.
Needs numpy, scipy and scikit-learn; with fairlearn installed, the section `fairness` too.
"""

import argparse
import json
import math

import numpy as np
from scipy import stats
from sklearn import calibration, isotonic, metrics, model_selection


def lst(values):
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in np.asarray(values).tolist()]


def binary(rng):
    n = int(rng.integers(60, 700))
    y = (rng.random(n) < rng.uniform(0.1, 0.7)).astype(int)
    y[:2] = [0, 1]
    score = np.round(np.clip(0.35 * y + rng.normal(0.35, 0.25, n), 0, 1), int(rng.integers(1, 4)))
    weight = np.round(rng.uniform(0.2, 3.0, n), 3)

    def expected(w):
        call = (score >= 0.5).astype(int)
        kw = dict(sample_weight=w)
        precision, recall, _ = metrics.precision_recall_curve(y, score, **kw)
        out = dict(
            accuracy=metrics.accuracy_score(y, call, **kw), balanced_accuracy=metrics.balanced_accuracy_score(y, call, **kw),
            precision=metrics.precision_score(y, call, zero_division=0, **kw), recall=metrics.recall_score(y, call, **kw),
            f1=metrics.f1_score(y, call, **kw), fbeta_0_5=metrics.fbeta_score(y, call, beta=0.5, **kw),
            fbeta_2=metrics.fbeta_score(y, call, beta=2, **kw), jaccard=metrics.jaccard_score(y, call, **kw),
            mcc=metrics.matthews_corrcoef(y, call, **kw), kappa=metrics.cohen_kappa_score(y, call, **kw),
            roc_auc=metrics.roc_auc_score(y, score, **kw), roc_auc_max_fpr_0_2=metrics.roc_auc_score(y, score, max_fpr=0.2, **kw),
            average_precision=metrics.average_precision_score(y, score, **kw), pr_auc_trapezoid=metrics.auc(recall, precision),
            log_loss=metrics.log_loss(y, score, **kw), brier=metrics.brier_score_loss(y, score, **kw),
            d2_log_loss=metrics.d2_log_loss_score(y, np.column_stack([1 - score, score]), **kw),
            confusion_tn_fp_fn_tp=lst(metrics.confusion_matrix(y, call, **kw).astype(float).ravel()),
        )
        return {k: v if isinstance(v, list) else float(v) for k, v in out.items()}

    plain = expected(None)
    fpr, tpr, thresholds = metrics.roc_curve(y, score, drop_intermediate=False)
    plain["roc_curve"] = dict(fpr=lst(fpr), tpr=lst(tpr), thresholds=lst(thresholds[1:]))
    precision, recall, thresholds = metrics.precision_recall_curve(y, score)
    plain["pr_curve"] = dict(precision=lst(precision), recall=lst(recall), thresholds=lst(thresholds))
    plain["det_curve"] = [lst(part) for part in metrics.det_curve(y, score)]
    for name, strategy in (("calibration_uniform", "uniform"), ("calibration_quantile", "quantile")):
        true, pred = calibration.calibration_curve(y, score, n_bins=10, strategy=strategy)
        plain[name] = dict(prob_true=lst(true), prob_pred=lst(pred))
    return dict(y=lst(y), score=lst(score), weight=lst(weight), threshold=0.5, expected=plain, expected_weighted=expected(weight))


def multiclass(rng):
    n, k = int(rng.integers(80, 500)), int(rng.integers(3, 7))
    y = rng.integers(0, k, n)
    y[:k] = range(k)
    logit = rng.normal(0, 1, (n, k)) + 1.2 * np.eye(k)[y]
    proba = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
    # Binary fractions, so that rows sum to one exactly.
    proba = np.floor(proba * 1024) / 1024
    proba[:, 0] += 1 - proba.sum(1)
    call, labels = proba.argmax(1), range(k)
    out = dict(
        accuracy=metrics.accuracy_score(y, call), kappa=metrics.cohen_kappa_score(y, call),
        kappa_linear=metrics.cohen_kappa_score(y, call, weights="linear"), kappa_quadratic=metrics.cohen_kappa_score(y, call, weights="quadratic"),
        mcc=metrics.matthews_corrcoef(y, call), log_loss=metrics.log_loss(y, proba), balanced_accuracy=metrics.balanced_accuracy_score(y, call),
        top2_accuracy=metrics.top_k_accuracy_score(y, proba, k=2), brier_multiclass_sum=((proba - np.eye(k)[y]) ** 2).sum(1).mean(),
    )
    for average in ("macro", "micro", "weighted"):
        p, r, f, _ = metrics.precision_recall_fscore_support(y, call, average=average, zero_division=0, labels=labels)
        out |= {f"precision_{average}": p, f"recall_{average}": r, f"f1_{average}": f}
    for average in ("macro", "weighted"):
        for way in ("ovr", "ovo"):
            out[f"roc_auc_{way}_{average}"] = metrics.roc_auc_score(y, proba, multi_class=way, average=average)
    out = {key: float(value) for key, value in out.items()}
    out["confusion"] = metrics.confusion_matrix(y, call).tolist()
    out["per_class"] = [lst(part) for part in metrics.precision_recall_fscore_support(y, call, zero_division=0, labels=labels)]
    return dict(y=lst(y), proba=proba.tolist(), expected=out)


def regression(rng):
    n = int(rng.integers(40, 400))
    y = np.round(rng.gamma(2.0, 2.0, n) + 0.1, int(rng.integers(1, 5)))
    pred = np.round(np.maximum(y + rng.normal(0, 1.2, n), 0.1), int(rng.integers(1, 5)))
    q10, q90, weight = np.round(pred - 1.5, 4), np.round(pred + 1.5, 4), np.round(rng.uniform(0.2, 3.0, n), 3)

    def expected(w):
        kw = dict(sample_weight=w)
        mse, msle = metrics.mean_squared_error(y, pred, **kw), metrics.mean_squared_log_error(y, pred, **kw)
        out = dict(
            r2=metrics.r2_score(y, pred, **kw), explained_variance=metrics.explained_variance_score(y, pred, **kw),
            mae=metrics.mean_absolute_error(y, pred, **kw), mse=mse, rmse=mse**0.5, msle=msle, rmsle=msle**0.5,
            mape=metrics.mean_absolute_percentage_error(y, pred, **kw), median_ae=metrics.median_absolute_error(y, pred, **kw),
            pinball_0_1=metrics.mean_pinball_loss(y, q10, alpha=0.1, **kw), pinball_0_9=metrics.mean_pinball_loss(y, q90, alpha=0.9, **kw),
            poisson_dev=metrics.mean_poisson_deviance(y, pred, **kw), gamma_dev=metrics.mean_gamma_deviance(y, pred, **kw),
            tweedie_1_5=metrics.mean_tweedie_deviance(y, pred, power=1.5, **kw), d2_abs=metrics.d2_absolute_error_score(y, pred, **kw),
        )
        return {key: float(value) for key, value in out.items()}

    plain = expected(None)
    error = np.abs(y - pred)
    extra = dict(
        max_error=error.max(), smape=(2 * error / (y + pred)).mean(), wape=error.sum() / y.sum(),
        huber_1=np.where(error <= 1, error**2 / 2, error - 0.5).mean(), mase_lag1=error.mean() / np.abs(np.diff(y)).mean(),
        pearson=stats.pearsonr(y, pred)[0], spearman=stats.spearmanr(y, pred)[0], kendall_b=stats.kendalltau(y, pred)[0],
        coverage_10_90=((q10 <= y) & (y <= q90)).mean(),
    )
    plain |= {key: float(value) for key, value in extra.items()}
    return dict(y=lst(y), pred=lst(pred), q10=lst(q10), q90=lst(q90), weight=lst(weight), expected=plain, expected_weighted=expected(weight))


def ranking(rng):
    lists, items = int(rng.integers(3, 20)), int(rng.integers(6, 15))
    relevance, score = rng.integers(0, 4, (lists, items)), np.round(rng.normal(0, 1, (lists, items)), 1)
    hit = (relevance >= 2).astype(int)
    out = dict(
        ndcg=metrics.ndcg_score(relevance, score), ndcg_at_5=metrics.ndcg_score(relevance, score, k=5),
        dcg_at_5=metrics.dcg_score(relevance, score, k=5), lrap=metrics.label_ranking_average_precision_score(hit, score),
        coverage_error=metrics.coverage_error(hit, score), ranking_loss=metrics.label_ranking_loss(hit, score),
    )
    return dict(relevance=relevance.tolist(), score=score.tolist(), expected={key: float(value) for key, value in out.items()})


def clustering(rng):
    n = int(rng.integers(20, 300))
    a = rng.integers(0, 5, n)
    b = np.where(rng.random(n) < 0.6, a, rng.integers(0, 6, n))
    h, c, v = metrics.homogeneity_completeness_v_measure(a, b)
    out = dict(
        ari=metrics.adjusted_rand_score(a, b), nmi=metrics.normalized_mutual_info_score(a, b), ami=metrics.adjusted_mutual_info_score(a, b),
        homogeneity=h, completeness=c, v=v, fowlkes=metrics.fowlkes_mallows_score(a, b),
    )
    return dict(a=lst(a), b=lst(b), expected={key: float(value) for key, value in out.items()})


def splits(rng):
    n = int(rng.integers(24, 200))
    y = rng.permutation(np.arange(n) % 3)
    groups = np.sort(rng.integers(0, int(rng.integers(6, 20)), n)) * 3 - 5
    groups[:6] = [-50, -40, -30, -20, -10, 0]
    if rng.random() < 0.5:
        groups = rng.permutation(groups)
    fold = np.minimum(np.arange(n) // 8, 2) - 1
    ms = model_selection
    made = dict(
        kfold5=ms.KFold(5), stratified4=ms.StratifiedKFold(4), group4=ms.GroupKFold(4), stratified_group3=ms.StratifiedGroupKFold(3),
        leave_one_group_out=ms.LeaveOneGroupOut(), predefined=ms.PredefinedSplit(fold),
    )
    tests = {name: [lst(np.asarray(test)) for _, test in split.split(np.zeros(n), y, groups)] for name, split in made.items()}
    windows = dict(ts4=ms.TimeSeriesSplit(4), ts3_gap2=ms.TimeSeriesSplit(3, gap=2), ts3_test3_max8=ms.TimeSeriesSplit(3, test_size=3, max_train_size=8))
    ends = lambda rows: [int(rows[0]), int(rows[-1]) + 1]
    ranges = {name: [dict(train=ends(a), test=ends(b)) for a, b in split.split(np.zeros(n))] for name, split in windows.items()}
    # The purged folds are our own definition; they are asked for but not compared.
    purged = dict(t1=lst(np.minimum(np.arange(n) + 2, n - 1)), k=4, embargo=1)
    return dict(n=n, y=lst(y), groups=lst(groups), test_indices=tests, time_series_ranges_end_exclusive=ranges, purged_kfold=purged)


def tests(rng):
    n = int(rng.integers(12, 49))
    a, b = np.round(rng.normal(2, 1.5, n), 4), np.round(rng.normal(2.2, 1.5, n), 4)
    d = a - b
    n01, n10 = int(rng.integers(0, 80)), int(rng.integers(1, 80))
    m, k = n01 + n10, min(n01, n10)
    chi = max(abs(n01 - n10) - 1, 0) ** 2 / m
    cv = np.round(rng.normal(0.01, 0.03, (5, 2)), 4)
    spread = ((cv - cv.mean(1, keepdims=True)) ** 2).sum(1)
    t = cv[0, 0] / math.sqrt(spread.mean())
    f = (cv**2).sum() / (2 * spread.sum())
    folds = np.round(rng.normal(0.01, 0.03, 10), 4)
    ct = folds.mean() / math.sqrt((1 / 10 + 1 / 9) * folds.var(ddof=1))
    table = np.round(rng.random((int(rng.integers(4, 12)), 4)), 1)
    friedman = stats.friedmanchisquare(*table.T)
    total = int(rng.integers(5, 500))
    hits = int(rng.integers(0, total + 1))
    interval = {way: lst(stats.binomtest(hits, total).proportion_ci(method=way)) for way in ("wilson", "exact")}
    p = np.round(rng.random(int(rng.integers(1, 40))) ** 2, 3)
    order = p.argsort(kind="stable")
    holm = np.empty_like(p)
    holm[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1)
    two = lambda test: [float(test.statistic), float(test.pvalue)]
    t_test = stats.ttest_rel(a, b)
    return dict(
        mcnemar=dict(n01=n01, n10=n10, exact_p=float(min(1, 2 * stats.binom.cdf(k, m, 0.5))), chi2_cc=chi, p_cc=float(stats.chi2.sf(chi, 1)),
                     midp=float(min(1, 2 * stats.binom.cdf(k, m, 0.5) - stats.binom.pmf(k, m, 0.5)))),
        paired=dict(a=lst(a), b=lst(b), t=float(t_test.statistic), t_p=float(t_test.pvalue), wilcoxon=two(stats.wilcoxon(a, b)),
                    wilcoxon_pratt_approx=two(stats.wilcoxon(a, b, zero_method="pratt", method="approx", correction=True)),
                    sign_p=float(stats.binomtest(int((d > 0).sum()), int((d != 0).sum())).pvalue), welch=two(stats.ttest_ind(a, b, equal_var=False)),
                    mannwhitney=two(stats.mannwhitneyu(a, b, method="asymptotic")), cohen_d_paired=float(d.mean() / d.std(ddof=1)),
                    permutation_p=float(stats.permutation_test((a, b), lambda x, y: (x - y).mean(), permutation_type="samples", n_resamples=20000, random_state=1).pvalue)),
        cv5x2=dict(diffs=cv.tolist(), t=t, t_p=float(2 * stats.t.sf(abs(t), 5)), F=f, F_p=float(stats.f.sf(f, 10, 5))),
        corrected_resampled_t=dict(diffs=lst(folds), test_over_train=1 / 9, t=ct, p=float(2 * stats.t.sf(abs(ct), 9))),
        friedman=dict(scores=table.tolist(), chi2=float(friedman.statistic), p=float(friedman.pvalue), ranks_mean=lst(stats.rankdata(-table, axis=1).mean(0))),
        proportion_ci=dict(k=hits, n=total, wilson=interval["wilson"], clopper_pearson=interval["exact"]),
        multiple=dict(p=lst(p), bh=lst(stats.false_discovery_control(p)), holm=lst(holm)),
        bootstrap_mean={name: lst(stats.bootstrap((a,), np.mean, n_resamples=50000, method=way, random_state=1).confidence_interval)
                        for name, way in (("bca", "BCa"), ("percentile", "percentile"), ("basic", "basic"))},
    )


def calibration_fit(rng):
    n = int(rng.integers(60, 300))
    logit = np.round(rng.normal(0, 2, n), 2)
    y = (rng.random(n) < 1 / (1 + np.exp(-logit / 2 - 0.3))).astype(int)
    fit = isotonic.IsotonicRegression(out_of_bounds="clip").fit(logit, y)
    return dict(logit=lst(logit), y=lst(y), isotonic=dict(x=lst(fit.X_thresholds_), y=lst(fit.y_thresholds_)))


def fairness(rng):
    from fairlearn import metrics as fair
    from fairlearn.metrics import MetricFrame

    n = int(rng.integers(300, 900))
    group, other = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2]), rng.choice(["x", "y"], n)
    y = (rng.random(n) < np.select([group == "a", group == "b"], [0.55, 0.4], 0.3)).astype(int)
    score = np.round(np.clip(0.3 * y + 0.1 * (group == "a") + rng.random(n) * 0.65, 0, 1), 3)
    call = (score >= 0.5).astype(int)
    of = dict(count=fair.count, accuracy=metrics.accuracy_score, selection_rate=fair.selection_rate, tpr=fair.true_positive_rate,
              fpr=fair.false_positive_rate, fnr=fair.false_negative_rate, precision=metrics.precision_score, base_rate=lambda y, p: float(np.mean(y)))
    frame = MetricFrame(metrics=of, y_true=y, y_pred=call, sensitive_features=group)
    numbers = lambda series: {key: float(value) for key, value in series.items()}
    out = dict(
        by_group={name: numbers(frame.by_group[name]) for name in of}, overall=numbers(frame.overall), difference=numbers(frame.difference()),
        ratio=numbers(frame.ratio()), difference_to_overall=numbers(frame.difference(method="to_overall")),
    )
    kw = dict(sensitive_features=group)
    for name in ("demographic_parity_difference", "demographic_parity_ratio", "equalized_odds_difference", "equalized_odds_ratio",
                 "equal_opportunity_difference", "equal_opportunity_ratio"):
        out[name] = float(getattr(fair, name)(y, call, **kw))
    crossed = MetricFrame(metrics=fair.selection_rate, y_true=y, y_pred=call, sensitive_features=np.char.add(np.char.add(group, "|"), other))
    out["intersectional_selection_rate"] = numbers(crossed.by_group)
    return dict(y=lst(y), score=lst(score), threshold=0.5, A=lst(group), B=lst(other), expected=out)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sections = [binary, multiclass, regression, ranking, clustering, splits, tests, calibration_fit]
    try:
        import fairlearn  # noqa: F401

        sections.append(fairness)
    except ImportError:
        print("fairlearn is not installed: no section fairness")
    vectors = {section.__name__: section(np.random.default_rng([options.seed, index])) for index, section in enumerate(sections)}
    with open(options.out, "w") as file:
        json.dump(vectors, file)


main()
