//! Checks that need more than labels and scores: groups, features, the model itself.

use arrow_array::RecordBatch;
use mlops_core::{Error, Model, Result};
use mlops_metrics::{FairnessMetric, GroupOutcomes, Metric};

use super::{
    behavior::{self, Change, Expectation, Scenario},
    discovery::{DiscoverySettings, discover_slices},
    judge::{GateInput, Outcome},
    leakage::leakage,
    robustness::Disturbance,
};
use crate::trainer::scores;

/// Confidence of the intervals that fairness is reported with.
const LEVEL: f64 = 0.95;
/// Slices and features that a detail names.
const NAMED_MAX: usize = 5;

fn model<'a>(input: &GateInput<'a>) -> Result<(&'a dyn Model, &'a RecordBatch)> {
    let (model, batch) = input.model.ok_or_else(|| Error::failed_precondition("no model and features were given"))?;
    if batch.num_rows() != input.labels.len() {
        return Err(Error::invalid_argument(format!(
            "features have {} rows, labels {}",
            batch.num_rows(),
            input.labels.len()
        )));
    }
    Ok((model, batch))
}

pub(super) fn fairness(metric: FairnessMetric, bound: f64, rows_min: u64, input: &GateInput<'_>) -> Result<Outcome> {
    let groups = input.groups.ok_or_else(|| Error::failed_precondition("no groups were given"))?;
    if groups.len() != input.labels.len() || groups.len() != input.challenger_scores.len() {
        return Err(Error::invalid_argument("fairness needs as many groups and scores as labels"));
    }
    let threshold = input.threshold.unwrap_or(0.5);
    let mut outcomes = GroupOutcomes::default();
    for ((group, label), score) in groups.iter().zip(input.labels).zip(input.challenger_scores) {
        if *label != 0.0 && *label != 1.0 {
            return Err(Error::invalid_argument("fairness needs labels 0 and 1"));
        }
        outcomes.add(group, *label == 1.0, *score >= threshold)?;
    }
    let few = |matrix: &mlops_metrics::ConfusionMatrix| matrix.total() < rows_min as f64;
    let small: Vec<&str> = outcomes.groups().filter(|(_, matrix)| few(matrix)).map(|(name, _)| name).collect();
    let aside = if small.is_empty() { String::new() } else { format!("; too few rows: {}", small.join(", ")) };
    let gap = outcomes.clone().with_rows_min(rows_min).gap(metric, LEVEL)?;
    let (passed, needed) =
        if metric.is_ratio() { (gap.value >= bound, "at least") } else { (gap.value <= bound, "at most") };
    let within = gap.interval.map(|i| format!(" ({:.4} to {:.4})", i.low, i.high)).unwrap_or_default();
    let detail =
        format!("{:.4}{within} between {} and {}, needs {needed} {bound}{aside}", gap.value, gap.highest, gap.lowest);
    Ok((passed, detail))
}

pub(super) fn worst_slices(excess_max: f64, settings: &DiscoverySettings, input: &GateInput<'_>) -> Result<Outcome> {
    let (_, batch) = model(input)?;
    let pairs = input.labels.iter().zip(input.challenger_scores);
    let losses: Vec<f64> = pairs.map(|(label, score)| (label - score).powi(2)).collect();
    let slices = discover_slices(batch, &losses, settings)?;
    let bad: Vec<String> = slices
        .iter()
        .filter(|slice| slice.worse && slice.loss - slice.loss_elsewhere > excess_max)
        .map(|slice| {
            let rows = slice.slice.rows.len();
            format!(
                "{} ({rows} rows): {:.4} against {:.4}, p {:.2e}",
                slice.slice.name, slice.loss, slice.loss_elsewhere, slice.p_adjusted
            )
        })
        .collect();
    if bad.is_empty() {
        return Ok((true, format!("none of {} slices is worse by more than {excess_max}", slices.len())));
    }
    let named = bad.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    Ok((false, format!("{} of {} slices are worse by more than {excess_max}: {named}", bad.len(), slices.len())))
}

pub(super) fn no_leakage(duplicates_max: f64, auc_max: f64, input: &GateInput<'_>) -> Result<Outcome> {
    let (train, judged) = input.datasets.ok_or_else(|| Error::failed_precondition("no training rows were given"))?;
    let found = leakage(train, judged)?;
    let telling: Vec<String> = found
        .telling_features
        .iter()
        .take_while(|(_, area)| *area > auc_max)
        .take(NAMED_MAX)
        .map(|(name, area)| format!("{name} tells the label ({area:.4})"))
        .collect();
    let early = found.early_share.unwrap_or(0.0);
    let passed = found.duplicate_share <= duplicates_max && early <= duplicates_max && telling.is_empty();
    let mut detail = format!("{:.4} of rows are copies of training rows", found.duplicate_share);
    if let Some(early) = found.early_share {
        detail.push_str(&format!(", {early:.4} are not later than all of them"));
    }
    for telling in telling {
        detail.push_str(", ");
        detail.push_str(&telling);
    }
    Ok((passed, format!("{detail}; needs at most {duplicates_max}, areas at most {auc_max}")))
}

pub(super) fn behavior(
    change: &Change,
    expectation: Expectation,
    share_min: f64,
    input: &GateInput<'_>,
) -> Result<Outcome> {
    let (model, batch) = model(input)?;
    let share = behavior::share_as_expected(model, batch, change, expectation)?;
    Ok((share >= share_min, format!("{share:.4} of rows as expected, needs at least {share_min}")))
}

pub(super) fn scenario(scenario: &Scenario, input: &GateInput<'_>) -> Result<Outcome> {
    let (model, batch) = model(input)?;
    let (score, within) = scenario.judge(model, batch.schema_ref())?;
    let bound = |word: &str, bound: Option<f64>| bound.map(|bound| format!("{word} {bound}"));
    let needed: Vec<String> =
        [bound("at least", scenario.score_min), bound("at most", scenario.score_max)].into_iter().flatten().collect();
    Ok((within, format!("score {score:.4}, needs {}", needed.join(" and "))))
}

pub(super) fn robust(
    metric: Metric,
    disturbance: &Disturbance,
    worse_max: f64,
    seed: u64,
    input: &GateInput<'_>,
) -> Result<Outcome> {
    let (model, batch) = model(input)?;
    let clean = metric.compute(input.labels, &scores(model, batch)?)?;
    let disturbed = metric.compute(input.labels, &scores(model, &disturbance.apply(batch, seed)?)?)?;
    let worse = metric.direction().loss(disturbed) - metric.direction().loss(clean);
    Ok((worse <= worse_max, format!("{disturbed:.4} after {clean:.4}, worse by {worse:.4}, needs at most {worse_max}")))
}
