//! The value of one window, its return on what it cost, and what is lost a day.
//!
//! Invariant: labeled rows stand for all predictions of the window: totals are the mean of valued
//! rows times predictions, which holds when late labels are worth as much as early ones. Read it
//! with the maturity of the report.

use mlops_metrics::{Estimate, EstimateOptions, Evidence, Interval, student_mean};
use serde::{Deserialize, Serialize};

use super::{
    business::{BusinessSettings, ValuedRow},
    uplift::{Uplift, uplift},
};
use crate::stats::{float, moments};

/// What a window was worth. Amounts are in `currency`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BusinessReport {
    /// The currency.
    pub currency: String,
    /// Labeled rows with a value.
    pub valued: u64,
    /// Mean value of a row.
    pub value_per_row: Option<f64>,
    /// Student's interval of it.
    pub value_interval: Option<Interval>,
    /// Value of all predictions of the window.
    pub value_total: Option<f64>,
    /// What the baseline policy would have been worth.
    pub baseline_total: Option<f64>,
    /// What the window cost.
    pub run_cost: f64,
    /// `(value_total - baseline_total - run_cost) / run_cost`; none when nothing was spent.
    pub roi: Option<f64>,
    /// Percentile bootstrap interval of it over rows.
    pub roi_interval: Option<Interval>,
    /// What is lost a day against the reference: `(reference value a row - value a row) *
    /// predictions a day`; negative when more is earned.
    pub loss_per_day: Option<f64>,
    /// Where the true loss lies.
    pub loss_interval: Option<Interval>,
    /// What the model adds against the holdout, when there is one.
    pub uplift: Option<Uplift>,
}

/// What a report on value needs to know of its window.
pub(crate) struct Volume {
    pub(crate) predictions: u64,
    pub(crate) labels: u64,
    pub(crate) days: f64,
    /// Predictions assigned to the model and to the holdout.
    pub(crate) assigned: (u64, u64),
}

/// The mean value of rows as an estimate; `None` without rows.
pub(crate) fn mean_value(rows: &[ValuedRow], level: f64) -> Option<Estimate> {
    let values: Vec<f64> = rows.iter().map(|row| row.value).collect();
    let moments = moments(&values)?;
    let (n, mean, variance) = (moments.n, moments.mean, moments.variance);
    let evidence = if n > 1 { Evidence::Mean { n, mean, variance } } else { Evidence::Unknown };
    Some(Estimate { value: mean, n, interval: student_mean(n, mean, variance, level), evidence })
}

/// The report of valued rows.
pub(crate) fn report(
    settings: &BusinessSettings,
    rows: &[ValuedRow],
    volume: &Volume,
    reference: Option<&Estimate>,
    options: &EstimateOptions,
) -> BusinessReport {
    let mean = mean_value(rows, options.level);
    let predictions = float(volume.predictions);
    let run_cost = settings.cost.of(predictions, float(volume.labels), volume.days);
    let baselines: Vec<f64> = rows.iter().map(|row| row.baseline).collect();
    let baseline = moments(&baselines).map(|moments| moments.mean);
    let returns = (run_cost > 0.0).then(|| roi(rows, predictions, run_cost, options)).flatten();
    let per_day = (volume.days > 0.0).then(|| predictions / volume.days);
    let loss = mean.as_ref().zip(reference).zip(per_day).map(|((mean, reference), per_day)| {
        let interval = reference.difference(mean).map(|interval| interval.map(|end| end * per_day));
        ((reference.value - mean.value) * per_day, interval)
    });
    BusinessReport {
        currency: settings.currency.clone(),
        valued: crate::stats::count_of(rows.len()),
        value_per_row: mean.as_ref().map(|mean| mean.value),
        value_interval: mean.as_ref().and_then(|mean| mean.interval),
        value_total: mean.as_ref().map(|mean| mean.value * predictions),
        baseline_total: baseline.map(|baseline| baseline * predictions),
        run_cost,
        roi: returns.map(|returns| returns.0),
        roi_interval: returns.and_then(|returns| returns.1),
        loss_per_day: loss.map(|loss| loss.0),
        loss_interval: loss.and_then(|loss| loss.1),
        uplift: settings.holdout.as_ref().and_then(|holdout| uplift(rows, volume.assigned, holdout, options.level)),
    }
}

/// The return and its interval; rows are resampled, cost and volume are known.
fn roi(rows: &[ValuedRow], predictions: f64, cost: f64, options: &EstimateOptions) -> Option<(f64, Option<Interval>)> {
    let gains: Vec<f64> = rows.iter().map(|row| row.value - row.baseline).collect();
    let of = |mean: f64| (mean * predictions - cost) / cost;
    let value = of(moments(&gains)?.mean);
    let mean = |chosen: &[usize]| {
        let sum: f64 = chosen.iter().filter_map(|&row| gains.get(row)).sum();
        (!chosen.is_empty()).then(|| of(sum / float(crate::stats::count_of(chosen.len()))))
    };
    Some((value, options.bootstrap(gains.len()).run(gains.len(), mean).ok().map(|resampled| resampled.interval)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::performance::{BaselinePolicy, HoldoutSettings, RunCost, ValueSource};

    fn settings() -> BusinessSettings {
        BusinessSettings::new(ValueSource::Column("v".into()), BaselinePolicy::ValuePerRow(1.0))
            .with_cost(RunCost { per_prediction: 0.5, per_label: 0.0, per_day: 50.0 })
            .with_holdout(HoldoutSettings { variant: "holdout".into(), share: 0.5 })
    }

    fn rows(seed: u64, mean: f64, held_out: bool) -> Vec<ValuedRow> {
        let noise = mlops_core::testing::SplitMix64::new(seed).bell(100);
        noise.into_iter().map(|noise| ValuedRow { value: mean + noise, baseline: 1.0, held_out }).collect()
    }

    #[test]
    fn money_adds_up() {
        let rows: Vec<ValuedRow> =
            [1.0, 3.0, 5.0].map(|value| ValuedRow { value, baseline: 1.0, held_out: false }).into();
        let volume = Volume { predictions: 300, labels: 3, days: 2.0, assigned: (300, 0) };
        let report = report(&settings(), &rows, &volume, None, &EstimateOptions::default());
        assert_eq!((report.value_total, report.baseline_total, report.run_cost), (Some(900.0), Some(300.0), 250.0));
        assert_eq!(report.roi, Some((900.0 - 300.0 - 250.0) / 250.0));
        let interval = report.roi_interval.unwrap();
        assert!(interval.low >= (300.0 - 300.0 - 250.0) / 250.0 && interval.high <= (1500.0 - 550.0) / 250.0);
        assert!(report.uplift.is_none() && report.loss_per_day.is_none());
    }

    #[test]
    fn loss_is_what_the_reference_earned_more() {
        let reference = mean_value(&rows(1, 5.0, false), 0.95).unwrap();
        let volume = Volume { predictions: 1_000, labels: 100, days: 0.5, assigned: (1, 1) };
        let report = report(&settings(), &rows(2, 4.0, false), &volume, Some(&reference), &EstimateOptions::default());
        let loss = report.loss_per_day.unwrap();
        assert!((1_500.0..2_500.0).contains(&loss), "{loss}");
        assert!(report.loss_interval.unwrap().contains(2_000.0));
    }

    #[test]
    fn roi_intervals_cover() {
        let volume = Volume { predictions: 1_000, labels: 100, days: 0.0, assigned: (1, 1) };
        let truth = ((3.0 - 1.0) * 1_000.0 - 500.0) / 500.0;
        let covered = (0..300).filter(|seed| {
            let options = EstimateOptions { resamples: 200, ..EstimateOptions::default() };
            let report = report(&settings(), &rows(seed + 1, 3.0, false), &volume, None, &options);
            report.roi_interval.unwrap().contains(truth)
        });
        let share = covered.count() as f64 / 300.0;
        assert!((0.9..=0.99).contains(&share), "{share}");
    }

    #[test]
    fn uplift_needs_matching_shares() {
        let all: Vec<ValuedRow> = [rows(1, 2.0, false), rows(2, 1.0, true)].concat();
        let report = |assigned| {
            let volume = Volume { predictions: 200, labels: 200, days: 1.0, assigned };
            report(&settings(), &all, &volume, None, &EstimateOptions::default()).uplift.unwrap()
        };
        let fair = report((1_000, 1_010));
        assert!(fair.trusted && fair.p < 1e-6 && fair.interval.unwrap().contains(1.0), "{fair:?}");
        assert!(!report((1_000, 1_400)).trusted);
    }
}
