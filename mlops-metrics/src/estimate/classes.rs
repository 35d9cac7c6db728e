//! Estimates of metrics of several classes.

use mlops_core::{Error, Result};

use super::{Estimate, EstimateOptions, Evidence, chosen, same};
use crate::{
    class_metric::{ClassMetric, ClassRows},
    confusion::{Average, ConfusionMatrix},
    metric::{Metric, undefined},
    probability::class_log_loss_of,
};

pub(super) fn score_of_classes(metric: Metric, rows: &ClassRows<'_>, options: &EstimateOptions) -> Result<Estimate> {
    let (matrix, n) = (rows.confusion()?, rows.labels.len());
    match metric {
        Metric::Accuracy => Ok(Estimate::proportion(matrix.correct(), matrix.total(), n, options.level, same)),
        Metric::BalancedAccuracy => {
            let parts = with_rows(&matrix, ConfusionMatrix::support);
            Ok(Estimate::mean_proportion(matrix.balanced_accuracy(), &parts, n, options.level))
        }
        Metric::Mcc => resampled_matrix(rows, options, &ConfusionMatrix::mcc),
        Metric::LogLoss => {
            let own = rows.own_probabilities();
            let own = own.ok_or_else(|| undefined(metric, "it needs probabilities of every class"))?;
            let values: Vec<f64> = own.into_iter().map(class_log_loss_of).collect();
            Ok(Estimate::mean(&values, options.level, same))
        }
        _ => Err(Error::invalid_argument(format!("metric {metric} is not one of several classes"))),
    }
}

pub(super) fn classes(metric: ClassMetric, rows: &ClassRows<'_>, options: &EstimateOptions) -> Result<Estimate> {
    let (matrix, n) = (rows.confusion()?, rows.labels.len());
    match metric {
        ClassMetric::Precision(Average::Micro)
        | ClassMetric::Recall(Average::Micro | Average::Weighted)
        | ClassMetric::F1(Average::Micro) => score_of_classes(Metric::Accuracy, rows, options),
        ClassMetric::Precision(Average::Macro) => Ok(macro_mean(
            matrix.averaged_precision(Average::Macro),
            &matrix,
            ConfusionMatrix::called,
            (n, options.level),
        )),
        ClassMetric::Recall(Average::Macro) => Ok(macro_mean(
            matrix.averaged_recall(Average::Macro),
            &matrix,
            ConfusionMatrix::support,
            (n, options.level),
        )),
        ClassMetric::Precision(Average::Weighted) => {
            resampled_matrix(rows, options, &|matrix| matrix.averaged_precision(Average::Weighted))
        }
        ClassMetric::F1(average) => resampled_matrix(rows, options, &|matrix| matrix.averaged_f1(average)),
        ClassMetric::Kappa => resampled_matrix(rows, options, &ConfusionMatrix::kappa),
        ClassMetric::RocAucOvr(_) => Estimate::resampled(metric.compute(rows)?, n, options, |chosen_rows| {
            let (labels, probabilities) = (chosen(rows.labels, chosen_rows), rows.probabilities?);
            let of_row = |&row: &usize| probabilities.get(row * rows.classes..(row + 1) * rows.classes);
            let probabilities = chosen_rows.iter().filter_map(of_row).collect::<Vec<_>>().concat();
            metric.compute(&ClassRows::from_probabilities(rows.classes, &labels, &probabilities).ok()?).ok()
        }),
    }
}

/// Right rows and all rows of every class that has any.
fn with_rows(matrix: &ConfusionMatrix, all: fn(&ConfusionMatrix, usize) -> f64) -> Vec<(f64, f64)> {
    let parts = (0..matrix.classes()).map(|class| (matrix.cell(class, class), all(matrix, class)));
    parts.filter(|(_, all)| *all > 0.0).collect()
}

/// Classes that occur on one side only add a zero without a spread to the mean.
fn macro_mean(
    value: f64,
    matrix: &ConfusionMatrix,
    all: fn(&ConfusionMatrix, usize) -> f64,
    (n, level): (usize, f64),
) -> Estimate {
    let parts = with_rows(matrix, all);
    let occurring = (0..matrix.classes()).filter(|&class| matrix.support(class) + matrix.called(class) > 0.0).count();
    let scale = parts.len() as f64 / occurring as f64;
    let estimate = Estimate::mean_proportion(value, &parts, n, level);
    let evidence = match estimate.evidence {
        Evidence::Normal { center, standard_error } => {
            Evidence::Normal { center, standard_error: standard_error * scale }
        }
        other => other,
    };
    let interval = estimate.interval.map(|interval| interval.map(|end| end * scale));
    Estimate { interval, evidence, ..estimate }
}

fn resampled_matrix(
    rows: &ClassRows<'_>,
    options: &EstimateOptions,
    of: &dyn Fn(&ConfusionMatrix) -> f64,
) -> Result<Estimate> {
    let value = of(&rows.confusion()?);
    Estimate::resampled(value, rows.labels.len(), options, |chosen_rows| {
        let (labels, predicted) = (chosen(rows.labels, chosen_rows), chosen(&rows.predicted, chosen_rows));
        Some(of(&ConfusionMatrix::from_classes(rows.classes, &labels, &predicted).ok()?))
    })
}
