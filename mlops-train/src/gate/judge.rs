//! A gate applied to labelled rows.

use std::time::Duration;

use arrow_array::RecordBatch;
use mlops_core::{Error, Model, Result};
use mlops_metrics::{Direction, Metric};

use super::{
    builder::Gate,
    champion::{Paired, compare},
    checks,
    requirement::Requirement,
    verdict::{CheckResult, Verdict},
};
use crate::data::TableDataset;

/// Rows of one group, such as a region or an age band.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its name, such as `region = north`.
    pub name: String,
    /// Indices of its rows.
    pub rows: Vec<usize>,
}

/// What a gate judges by.
#[derive(Debug, Clone, Default)]
pub struct GateInput<'a> {
    /// What was right, by row.
    pub labels: &'a [f64],
    /// What the model to be judged says.
    pub challenger_scores: &'a [f64],
    /// What the model in service says on the same rows; none when nothing is in service.
    pub champion_scores: Option<&'a [f64]>,
    /// Groups of rows.
    pub slices: &'a [Slice],
    /// Measured time per row, see [`super::latency_per_row`].
    pub latency_per_row: Option<Duration>,
    /// The group of each row, for fairness.
    pub groups: Option<&'a [String]>,
    /// Rows count as called positive from this score on, one half when there is none.
    pub threshold: Option<f64>,
    /// Bytes of the model's package.
    pub model_bytes: Option<u64>,
    /// The model to be judged and the features of the rows, for checks that ask it again.
    pub model: Option<(&'a dyn Model, &'a RecordBatch)>,
    /// The rows it was trained on and those it is judged by.
    pub datasets: Option<(&'a TableDataset, &'a TableDataset)>,
}

impl<'a> GateInput<'a> {
    /// Labels and scores of the model to be judged.
    #[must_use]
    pub fn new(labels: &'a [f64], challenger_scores: &'a [f64]) -> Self {
        Self { labels, challenger_scores, ..Self::default() }
    }

    /// Adds the scores of the model in service.
    #[must_use]
    pub fn with_champion(mut self, scores: &'a [f64]) -> Self {
        self.champion_scores = Some(scores);
        self
    }

    /// Adds groups of rows.
    #[must_use]
    pub fn with_slices(mut self, slices: &'a [Slice]) -> Self {
        self.slices = slices;
        self
    }

    /// Adds the group of each row.
    #[must_use]
    pub fn with_groups(mut self, groups: &'a [String]) -> Self {
        self.groups = Some(groups);
        self
    }

    /// Calls rows positive from this score on.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = Some(threshold);
        self
    }

    /// Adds the size of the model's package in bytes.
    #[must_use]
    pub fn with_model_bytes(mut self, bytes: u64) -> Self {
        self.model_bytes = Some(bytes);
        self
    }

    /// Adds the model and the features of the rows.
    #[must_use]
    pub fn with_model(mut self, model: &'a dyn Model, features: &'a RecordBatch) -> Self {
        self.model = Some((model, features));
        self
    }

    /// Adds the rows of training and of judging, for the search for leaks.
    #[must_use]
    pub fn with_training(mut self, train: &'a TableDataset, judged: &'a TableDataset) -> Self {
        self.datasets = Some((train, judged));
        self
    }

    /// Adds the measured time per row.
    #[must_use]
    pub fn with_latency_per_row(mut self, latency: Duration) -> Self {
        self.latency_per_row = Some(latency);
        self
    }
}

/// Whether a check passed, and why.
pub(super) type Outcome = (bool, String);

impl Gate {
    /// Judges. What cannot be computed does not pass, and its detail says why.
    #[must_use]
    pub fn judge(&self, input: &GateInput<'_>) -> Verdict {
        let check = |requirement: &Requirement| {
            let (passed, detail) =
                self.check(requirement, input).unwrap_or_else(|error| (false, format!("not computed: {error}")));
            CheckResult { name: requirement.name(), passed, detail }
        };
        let checks: Vec<CheckResult> = self.requirements.iter().map(check).collect();
        Verdict { passed: checks.iter().all(|check| check.passed), rows: input.labels.len(), checks }
    }

    fn check(&self, requirement: &Requirement, input: &GateInput<'_>) -> Result<Outcome> {
        match requirement {
            Requirement::Bound { metric, bound } => {
                let value = metric.compute(input.labels, input.challenger_scores)?;
                Ok((keeps(*metric, value, *bound), format!("{value:.4}, {} {bound}", needed(*metric))))
            }
            Requirement::Champion { metric, margin, confidence } => self.beats(*metric, *margin, *confidence, input),
            Requirement::Slices { metric, bound, rows_min } => on_slices(*metric, *bound, *rows_min, input),
            Requirement::WorstSlices { loss_excess_max, settings } => {
                checks::worst_slices(*loss_excess_max, settings, input)
            }
            Requirement::Fairness { metric, bound, rows_min } => checks::fairness(*metric, *bound, *rows_min, input),
            Requirement::Latency { per_row_max } => match input.latency_per_row {
                Some(found) => Ok((found <= *per_row_max, format!("{found:?}, needs at most {per_row_max:?}"))),
                None => Err(Error::failed_precondition("no latency was measured")),
            },
            Requirement::Size { bytes_max } => match input.model_bytes {
                Some(found) => Ok((found <= *bytes_max, format!("{found} bytes, needs at most {bytes_max}"))),
                None => Err(Error::failed_precondition("no size was given")),
            },
            Requirement::Leakage { duplicate_share_max, feature_auc_max } => {
                checks::no_leakage(*duplicate_share_max, *feature_auc_max, input)
            }
            Requirement::Behavior { change, expectation, share_min, .. } => {
                checks::behavior(change, *expectation, *share_min, input)
            }
            Requirement::Scenario { scenario } => checks::scenario(scenario, input),
            Requirement::Robustness { metric, disturbance, worse_max } => {
                checks::robust(*metric, disturbance, *worse_max, self.seed, input)
            }
        }
    }

    fn beats(&self, metric: Metric, margin: f64, confidence: f64, input: &GateInput<'_>) -> Result<Outcome> {
        let Some(champion) = input.champion_scores else {
            return Ok((true, "no champion to beat".to_owned()));
        };
        let rows = Paired {
            labels: input.labels,
            challenger: input.challenger_scores,
            champion,
            resamples: self.resamples,
            seed: self.seed,
        };
        let found = compare(metric, margin, &rows)?;
        let [challenger, champion] = found.values;
        let detail = format!(
            "{challenger:.4} against {champion:.4}, better by {margin} with confidence {:.4} ({}), needs {confidence}",
            found.confidence, found.method
        );
        Ok((found.confidence >= confidence, detail))
    }
}

fn on_slices(metric: Metric, bound: f64, rows_min: usize, input: &GateInput<'_>) -> Result<Outcome> {
    let mut passed = true;
    let mut details = Vec::new();
    for slice in input.slices {
        if slice.rows.len() < rows_min {
            details.push(format!("{}: {} rows, too few to judge", slice.name, slice.rows.len()));
            continue;
        }
        let pick = |values: &[f64]| -> Result<Vec<f64>> {
            let picked: Option<Vec<f64>> = slice.rows.iter().map(|&row| values.get(row).copied()).collect();
            picked.ok_or_else(|| Error::invalid_argument(format!("slice {:?} has rows beyond the labels", slice.name)))
        };
        let value = metric.compute(&pick(input.labels)?, &pick(input.challenger_scores)?);
        match value {
            Ok(value) => {
                passed &= keeps(metric, value, bound);
                details.push(format!("{}: {value:.4} of {} rows", slice.name, slice.rows.len()));
            }
            Err(error) => {
                passed = false;
                details.push(format!("{}: not computed: {error}", slice.name));
            }
        }
    }
    if details.is_empty() {
        return Err(Error::failed_precondition("no slices were given"));
    }
    Ok((passed, format!("{}; {} {bound}", details.join(", "), needed(metric))))
}

fn keeps(metric: Metric, value: f64, bound: f64) -> bool {
    match metric.direction() {
        Direction::Maximize => value >= bound,
        Direction::Minimize => value <= bound,
    }
}

fn needed(metric: Metric) -> &'static str {
    match metric.direction() {
        Direction::Maximize => "needs at least",
        Direction::Minimize => "needs at most",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    /// Labels, a good score and a useless score.
    fn rows(n: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let mut rng = SeededRng::new(1, 0);
        let labels: Vec<f64> = (0..n).map(|_| f64::from(u8::from(rng.uniform() < 0.4))).collect();
        let good = labels.iter().map(|label| 0.5 * label + 0.5 * rng.uniform()).collect();
        let noise = labels.iter().map(|_| rng.uniform()).collect();
        (labels, good, noise)
    }

    fn passes(gate: &Gate, input: &GateInput<'_>, expected: bool) {
        let verdict = gate.judge(input);
        assert_eq!(verdict.passed, expected, "{}", verdict.to_markdown());
    }

    #[test]
    fn a_better_model_passes_and_a_worse_one_does_not() {
        let (labels, good, noise) = rows(400);
        for metric in [Metric::RocAuc, Metric::Accuracy, Metric::Brier, Metric::AveragePrecision] {
            let gate = Gate::builder().beat_champion(metric, 0.0, 0.95).with_resamples(300).build().unwrap();
            passes(&gate, &GateInput::new(&labels, &good).with_champion(&noise), true);
            passes(&gate, &GateInput::new(&labels, &noise).with_champion(&good), false);
            passes(&gate, &GateInput::new(&labels, &good).with_champion(&good), false);
            passes(&gate, &GateInput::new(&labels, &good), true);
            let lenient = Gate::builder().beat_champion(metric, -0.01, 0.95).with_resamples(300).build().unwrap();
            passes(&lenient, &GateInput::new(&labels, &good).with_champion(&good), true);
        }
    }

    #[test]
    fn bounds_follow_the_direction() {
        let (labels, good, noise) = rows(300);
        let gate = Gate::builder().require(Metric::RocAuc, 0.8).require(Metric::LogLoss, 0.7).build().unwrap();
        passes(&gate, &GateInput::new(&labels, &good), true);
        passes(&gate, &GateInput::new(&labels, &noise), false);
    }

    #[test]
    fn the_worst_slice_decides() {
        let (labels, good, noise) = rows(300);
        let mixed: Vec<f64> =
            good.iter().zip(&noise).enumerate().map(|(i, (g, n))| if i < 200 { *g } else { *n }).collect();
        let slice = |name: &str, rows: std::ops::Range<usize>| Slice { name: name.to_owned(), rows: rows.collect() };
        let gate = Gate::builder().require_on_slices(Metric::RocAuc, 0.8, 30).build().unwrap();
        let check =
            |slices: &[Slice], expected| passes(&gate, &GateInput::new(&labels, &mixed).with_slices(slices), expected);
        check(&[slice("a", 0..100), slice("b", 100..200)], true);
        check(&[slice("a", 0..100), slice("c", 200..300)], false);
        check(&[slice("a", 0..100), slice("tiny", 200..210)], true);
        check(&[slice("beyond", 290..400)], false);
        check(&[], false);
    }

    #[test]
    fn what_cannot_be_computed_does_not_pass() {
        let gate = Gate::builder().require(Metric::RocAuc, 0.1).latency_max(Duration::from_micros(5)).build().unwrap();
        let verdict = gate.judge(&GateInput::new(&[1.0, 1.0], &[0.5, 0.6]));
        assert!(!verdict.passed && verdict.checks.iter().all(|check| check.detail.starts_with("not computed")));
        let input = GateInput::new(&[0.0, 1.0], &[0.5, 0.6]).with_latency_per_row(Duration::from_micros(4));
        assert!(gate.judge(&input).passed);
    }

    #[test]
    fn gates_are_plain_data_and_senseless_ones_are_refused() {
        let gate = Gate::builder().require(Metric::R2, 0.5).beat_champion(Metric::R2, 0.0, 0.9).build().unwrap();
        let json = serde_json::to_string(&gate).unwrap();
        assert_eq!(serde_json::from_str::<Gate>(&json).unwrap(), gate);
        assert!(serde_json::from_str::<Gate>(&json.replace("0.9", "1.9")).is_err());
        assert!(Gate::builder().build().is_err());
        let bad = Gate::builder().require(Metric::R2, f64::NAN).beat_champion(Metric::R2, 0.0, 0.3).build();
        let error = bad.unwrap_err();
        assert!(error.message().contains("r2 bound") && error.message().contains("r2 against champion"), "{error}");
    }
}
