//! Two classes: metrics, curves, calibration and what happens at the edges.

use mlops_core::Result;
use mlops_metrics::{
    CalibrationBins, ConfusionMatrix, Metric, calibration_curve, d2_log_loss, det_curve, expected_calibration_error,
    maximum_calibration_error, partial_roc_auc, precision_recall_auc, precision_recall_curve, roc_curve,
};
use serde_json::{Map, Value, json};

use crate::inputs::{defined, existing, field, object, optional, part};

pub(crate) fn section(input: &Value) -> Result<Value> {
    let rows = Rows::read(input)?;
    let threshold = optional(input, "threshold")?.unwrap_or(0.5);
    let mut expected = rows.metrics(threshold, None)?;
    expected.extend(rows.curves()?);
    expected.extend(rows.calibration()?);
    let mut out = Map::from_iter([("expected".to_owned(), Value::Object(expected))]);
    if let Some(weights) = optional::<Vec<f64>>(input, "weight")? {
        out.insert("expected_weighted".to_owned(), Value::Object(rows.metrics(threshold, Some(&weights))?));
    }
    let sweep = [0.1, 0.3, 0.5, 0.7, 0.9].map(|threshold| rows.at(threshold));
    out.insert("threshold_sweep".to_owned(), Value::Array(sweep.into_iter().collect::<Result<_>>()?));
    Ok(Value::Object(out))
}

struct Rows {
    labels: Vec<f64>,
    scores: Vec<f64>,
}

impl Rows {
    fn read(input: &Value) -> Result<Self> {
        Ok(Self { labels: field(input, "y")?, scores: field(input, "score")? })
    }

    fn confusion(&self, threshold: f64, weights: Option<&[f64]>) -> Result<ConfusionMatrix> {
        let mut matrix = ConfusionMatrix::new(2)?;
        for (row, (label, score)) in self.labels.iter().zip(&self.scores).enumerate() {
            let weight = weights.map_or(Some(1.0), |weights| weights.get(row).copied()).unwrap_or(0.0);
            matrix.add(usize::from(*label == 1.0), usize::from(*score >= threshold), weight)?;
        }
        Ok(matrix)
    }

    fn metrics(&self, threshold: f64, weights: Option<&[f64]>) -> Result<Map<String, Value>> {
        let matrix = self.confusion(threshold, weights)?;
        let of = |metric: Metric| defined(metric.compute_weighted(&self.labels, &self.scores, weights));
        let mut found = object([
            ("accuracy", matrix.accuracy()),
            ("balanced_accuracy", matrix.balanced_accuracy()),
            ("precision", matrix.precision(1)),
            ("recall", matrix.recall(1)),
            ("f1", matrix.f1(1)),
            ("fbeta_0_5", matrix.f_beta(1, 0.5)),
            ("fbeta_2", matrix.f_beta(1, 2.0)),
            ("jaccard", matrix.jaccard(1)),
            ("mcc", matrix.mcc()),
            ("kappa", matrix.kappa()),
            ("roc_auc", of(Metric::RocAuc)?),
            ("roc_auc_max_fpr_0_2", defined(partial_roc_auc(&self.labels, &self.scores, weights, 0.2))?),
            ("average_precision", of(Metric::AveragePrecision)?),
            ("pr_auc_trapezoid", defined(precision_recall_auc(&self.labels, &self.scores, weights))?),
            ("log_loss", of(Metric::LogLoss)?),
            ("brier", of(Metric::Brier)?),
            ("d2_log_loss", defined(d2_log_loss(&self.labels, &self.scores, weights))?),
        ]);
        let cells = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(label, called)| matrix.cell(label, called));
        found.insert("confusion_tn_fp_fn_tp".to_owned(), json!(cells));
        Ok(found)
    }

    fn curves(&self) -> Result<Map<String, Value>> {
        let (labels, scores) = (&self.labels, &self.scores);
        let roc = existing(roc_curve(labels, scores, None))?.map(|roc| {
            // The first threshold is infinite, which the vectors leave out.
            let finite: Vec<f64> = roc.thresholds.iter().copied().filter(|at| at.is_finite()).collect();
            json!({ "fpr": roc.false_positive_rates, "tpr": roc.true_positive_rates, "thresholds": finite })
        });
        let pr = existing(precision_recall_curve(labels, scores, None))?
            .map(|pr| json!({ "precision": pr.precisions, "recall": pr.recalls, "thresholds": pr.thresholds }));
        let det = existing(det_curve(labels, scores, None))?
            .map(|det| json!([det.false_positive_rates, det.false_negative_rates, det.thresholds]));
        let curves = json!({ "roc_curve": roc, "pr_curve": pr, "det_curve": det });
        Ok(curves.as_object().cloned().unwrap_or_default())
    }

    fn calibration(&self) -> Result<Map<String, Value>> {
        let (labels, scores) = (&self.labels, &self.scores);
        let mut found = object([
            ("ece_10", expected_calibration_error(labels, scores, 10, CalibrationBins::Width)?),
            ("ece_15", expected_calibration_error(labels, scores, 15, CalibrationBins::Width)?),
            ("ece_quantile_10", expected_calibration_error(labels, scores, 10, CalibrationBins::Quantile)?),
            ("mce_10", maximum_calibration_error(labels, scores, 10, CalibrationBins::Width)?),
        ]);
        for (name, kind) in
            [("calibration_uniform", CalibrationBins::Width), ("calibration_quantile", CalibrationBins::Quantile)]
        {
            let curve = calibration_curve(labels, scores, 10, kind)?;
            let shares: Vec<f64> = curve.iter().map(|bin| bin.positives).collect();
            let means: Vec<f64> = curve.iter().map(|bin| bin.probability).collect();
            found.insert(name.to_owned(), json!({ "prob_true": shares, "prob_pred": means }));
        }
        Ok(found)
    }

    fn at(&self, threshold: f64) -> Result<Value> {
        let matrix = self.confusion(threshold, None)?;
        Ok(json!({
            "t": threshold, "f1": matrix.f1(1), "precision": matrix.precision(1), "recall": matrix.recall(1),
        }))
    }
}

/// Rows at the edges; a metric that does not exist is null.
pub(crate) fn edge_section(input: &Value) -> Result<Value> {
    let mut out = Map::new();
    for name in ["constant_score", "perfect", "reversed", "all_negative_y"] {
        if input.get(name).is_none() {
            continue;
        }
        let rows = Rows::read(part(input, name)?)?;
        let of = |metric: Metric| metric.compute(&rows.labels, &rows.scores).ok();
        let mut found = Map::from_iter([("roc_auc".to_owned(), json!(of(Metric::RocAuc)))]);
        if name == "all_negative_y" {
            let matrix = rows.confusion(0.5, None)?;
            found.insert("precision_zero_division_0".to_owned(), json!(matrix.precision(1)));
            found.insert("recall_zero_division_0".to_owned(), json!(matrix.recall(1)));
        } else {
            found.insert("average_precision".to_owned(), json!(of(Metric::AveragePrecision)));
        }
        out.insert(name.to_owned(), Value::Object(found));
    }
    if let Some(constant) = input.get("r2_constant_target") {
        let (labels, exact): (Vec<f64>, Vec<f64>) = (field(constant, "y")?, field(constant, "pred")?);
        let wrong: Vec<f64> = exact.iter().enumerate().map(|(row, value)| value + row as f64 - 1.0).collect();
        let of = |predictions: &[f64]| Metric::R2.compute(&labels, predictions).ok();
        out.insert("r2_constant_target".to_owned(), json!({ "r2": of(&exact), "r2_wrong": of(&wrong) }));
    }
    Ok(Value::Object(out))
}
