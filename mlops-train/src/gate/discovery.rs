//! Where a model is worse than elsewhere: slices of the data, found and tested.
//!
//! Every value of a text column, every quarter of a numeric one and, if wanted, every pair of such
//! is a candidate. Losses within are compared with those of the other rows by Welch's test, and all
//! p-values are corrected together, so that looking at many slices does not find one by chance.

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};
use mlops_metrics::{distribution::student_two_sided, stats::Correction};
use serde::{Deserialize, Serialize};

use super::judge::Slice;
use crate::data::{Column, values};

/// How slices are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoverySettings {
    /// Rows that a slice, and the rest, must have; at least 2. Default 30.
    pub rows_min: usize,
    /// Values of a text column that are candidates, the most frequent ones. Default 50.
    pub values_max: usize,
    /// Whether pairs of columns are looked at too. Default false.
    pub pairs: bool,
    /// Adjusted p-value up to which a slice is worse, between 0 and 1. Default 0.05.
    pub p_max: f64,
    /// How p-values are corrected. Default Benjamini and Hochberg's.
    pub correction: Correction,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self { rows_min: 30, values_max: 50, pairs: false, p_max: 0.05, correction: Correction::BenjaminiHochberg }
    }
}

impl DiscoverySettings {
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.rows_min < 2 || self.values_max == 0 {
            Some("needs slices of at least 2 rows and at least one value a column")
        } else if !(self.p_max > 0.0 && self.p_max < 1.0) {
            Some("needs a p-value between 0 and 1")
        } else {
            None
        }
    }
}

/// A slice that was tested.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscoveredSlice {
    /// Its condition and rows.
    pub slice: Slice,
    /// Mean loss within.
    pub loss: f64,
    /// Mean loss of the other rows.
    pub loss_elsewhere: f64,
    /// Two-sided p-value of the difference, corrected for all slices.
    pub p_adjusted: f64,
    /// Whether it is worse beyond chance.
    pub worse: bool,
}

/// Candidates at most, so that pairs of wide tables stay payable.
const CANDIDATES_MAX: usize = 20_000;

/// Tests all candidates; those with the largest excess of loss first.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, RecordBatch, StringArray};
/// use mlops_train::gate::{DiscoverySettings, discover_slices};
///
/// let region: Vec<&str> = (0..300).map(|row| ["north", "south", "east"][row % 3]).collect();
/// let losses: Vec<f64> = (0..300).map(|row| if row % 3 == 1 { 1.0 } else { 0.2 } + (row % 7) as f64 / 10.0).collect();
/// let batch = RecordBatch::try_from_iter([("region", Arc::new(StringArray::from(region)) as ArrayRef)])?;
/// let slices = discover_slices(&batch, &losses, &DiscoverySettings::default())?;
/// assert!(slices[0].worse && slices[0].slice.name == "region = south");
/// assert!(!slices[1].worse);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when there are not as many finite losses as rows, a setting is out of range or
/// a column has no feature type; `ResourceExhausted` when pairs make more than 20,000 candidates.
pub fn discover_slices(
    batch: &RecordBatch,
    losses: &[f64],
    settings: &DiscoverySettings,
) -> Result<Vec<DiscoveredSlice>> {
    if let Some(fault) = settings.fault() {
        return Err(Error::invalid_argument(format!("slice discovery {fault}")));
    }
    if losses.len() != batch.num_rows() || !losses.iter().all(|loss| loss.is_finite()) {
        return Err(Error::invalid_argument(format!(
            "slice discovery needs a finite loss for each of the {} rows, found {}",
            batch.num_rows(),
            losses.len()
        )));
    }
    let mut by_column = Vec::new();
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        by_column.push(candidates(field.name(), values(field.name(), array)?, settings));
    }
    let mut slices: Vec<Slice> = by_column.iter().flatten().cloned().collect();
    if settings.pairs {
        add_pairs(&mut slices, &by_column, settings.rows_min)?;
    }
    let total = Moments::of(losses.iter().copied());
    let tested = |slice: Slice| {
        let within = Moments::of(slice.rows.iter().filter_map(|row| losses.get(*row).copied()));
        let elsewhere = total.without(&within);
        (elsewhere.n >= settings.rows_min as f64).then(|| (slice, within, elsewhere, within.welch(&elsewhere)))
    };
    let found: Vec<_> = slices.into_iter().filter_map(tested).collect();
    let p_values: Vec<f64> = found.iter().map(|(.., p)| *p).collect();
    let adjusted = settings.correction.adjust(&p_values)?;
    let mut found: Vec<DiscoveredSlice> = found
        .into_iter()
        .zip(adjusted)
        .map(|((slice, within, elsewhere, _), p_adjusted)| {
            let worse = p_adjusted <= settings.p_max && within.mean > elsewhere.mean;
            DiscoveredSlice { slice, loss: within.mean, loss_elsewhere: elsewhere.mean, p_adjusted, worse }
        })
        .collect();
    let excess = |slice: &DiscoveredSlice| slice.loss - slice.loss_elsewhere;
    found.sort_by(|a, b| b.worse.cmp(&a.worse).then(excess(b).total_cmp(&excess(a))));
    Ok(found)
}

/// The slices of one column: its values, or quarters of its numbers, and where it is missing.
fn candidates(name: &str, values: Column<'_>, settings: &DiscoverySettings) -> Vec<Slice> {
    let mut named: Vec<(String, Vec<usize>)> = match values {
        Column::Categories(values) => {
            let mut rows: std::collections::BTreeMap<Option<&str>, Vec<usize>> = std::collections::BTreeMap::new();
            for (row, value) in values.into_iter().enumerate() {
                rows.entry(value).or_default().push(row);
            }
            let shown =
                |value: Option<&str>| value.map_or_else(|| format!("{name} is missing"), |v| format!("{name} = {v}"));
            rows.into_iter().map(|(value, rows)| (shown(value), rows)).collect()
        }
        Column::Numbers(values) => quarters(name, &values),
    };
    named.retain(|(_, rows)| rows.len() >= settings.rows_min);
    named.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    named.truncate(settings.values_max);
    named.into_iter().map(|(name, rows)| Slice { name, rows }).collect()
}

fn quarters(name: &str, values: &[f64]) -> Vec<(String, Vec<usize>)> {
    let mut known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    known.sort_by(f64::total_cmp);
    let mut edges: Vec<f64> = (1..4).filter_map(|i| known.get(known.len() * i / 4).copied()).collect();
    edges.dedup();
    let shown = |bin: usize| match (bin.checked_sub(1).and_then(|below| edges.get(below)), edges.get(bin)) {
        (Some(low), Some(high)) => format!("{low} <= {name} < {high}"),
        (Some(low), None) => format!("{name} >= {low}"),
        (None, Some(high)) => format!("{name} < {high}"),
        (None, None) => format!("{name} is known"),
    };
    let mut bins: Vec<(String, Vec<usize>)> = (0..=edges.len()).map(|bin| (shown(bin), Vec::new())).collect();
    let mut missing = Vec::new();
    for (row, value) in values.iter().enumerate() {
        if value.is_nan() {
            missing.push(row);
        } else if let Some((_, rows)) = bins.get_mut(edges.partition_point(|edge| edge <= value)) {
            rows.push(row);
        }
    }
    bins.push((format!("{name} is missing"), missing));
    bins
}

fn add_pairs(slices: &mut Vec<Slice>, by_column: &[Vec<Slice>], rows_min: usize) -> Result<()> {
    for (index, first) in by_column.iter().enumerate() {
        for (a, b) in first.iter().flat_map(|a| by_column.iter().skip(index + 1).flatten().map(move |b| (a, b))) {
            let rows = common(&a.rows, &b.rows);
            if rows.len() < rows_min {
                continue;
            }
            if slices.len() >= CANDIDATES_MAX {
                return Err(Error::resource_exhausted(format!(
                    "more than {CANDIDATES_MAX} slices; look at fewer columns or values, or larger slices"
                )));
            }
            slices.push(Slice { name: format!("{} and {}", a.name, b.name), rows });
        }
    }
    Ok(())
}

/// Rows in both of two ascending lists.
fn common(a: &[usize], b: &[usize]) -> Vec<usize> {
    let mut rest = b;
    let mut both = Vec::new();
    for row in a {
        rest = rest.get(rest.partition_point(|other| other < row)..).unwrap_or_default();
        if rest.first() == Some(row) {
            both.push(*row);
        }
    }
    both
}

/// Count, mean and sum of squared deviations.
#[derive(Clone, Copy)]
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut moments = Self { n: 0.0, mean: 0.0, squares: 0.0 };
        for value in values {
            moments.n += 1.0;
            let step = value - moments.mean;
            moments.mean += step / moments.n;
            moments.squares += step * (value - moments.mean);
        }
        moments
    }

    /// The rows that are not in a part (Chan, Golub and LeVeque 1979, turned round).
    fn without(&self, part: &Self) -> Self {
        let n = self.n - part.n;
        if n <= 0.0 {
            return Self { n: 0.0, mean: 0.0, squares: 0.0 };
        }
        let mean = (self.n * self.mean - part.n * part.mean) / n;
        let between = (part.mean - mean).powi(2) * part.n * n / self.n;
        Self { n, mean, squares: (self.squares - part.squares - between).max(0.0) }
    }

    /// Two-sided p-value of equal means; one when neither side varies.
    fn welch(&self, other: &Self) -> f64 {
        let share = |side: &Self| side.squares / (side.n - 1.0) / side.n;
        let (a, b) = (share(self), share(other));
        let error = (a + b).sqrt();
        let gap = (self.mean - other.mean).abs();
        if error.is_nan() || error <= 0.0 {
            return if gap > 0.0 && error == 0.0 { 0.0 } else { 1.0 };
        }
        let df = (a + b).powi(2) / (a * a / (self.n - 1.0) + b * b / (other.n - 1.0));
        student_two_sided(gap / error, df)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, StringArray};

    use super::*;
    use crate::rng::SeededRng;

    fn table(rows: usize) -> RecordBatch {
        let mut rng = SeededRng::new(2, 0);
        let x: ArrayRef =
            Arc::new((0..rows).map(|_| (rng.uniform() > 0.1).then(|| rng.uniform())).collect::<Float64Array>());
        let color: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| ["r", "g", "b"][row % 3])));
        let size: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| ["s", "l"][row / 3 % 2])));
        RecordBatch::try_from_iter_with_nullable([("x", x, true), ("color", color, true), ("size", size, true)])
            .unwrap()
    }

    #[test]
    fn chance_finds_nothing() {
        let batch = table(900);
        let settings = DiscoverySettings { pairs: true, ..DiscoverySettings::default() };
        let mut found = 0;
        for seed in 0..40 {
            let mut rng = SeededRng::new(seed, 1);
            let losses: Vec<f64> = (0..900).map(|_| rng.uniform()).collect();
            found += usize::from(discover_slices(&batch, &losses, &settings).unwrap().iter().any(|slice| slice.worse));
        }
        assert!(found <= 6, "{found} of 40 tables without a worse slice have one");
    }

    #[test]
    fn a_worse_pair_is_found_by_its_name() {
        let batch = table(900);
        let mut rng = SeededRng::new(5, 1);
        let losses: Vec<f64> =
            (0..900).map(|row| rng.uniform() + if row % 3 == 1 && row / 3 % 2 == 0 { 1.0 } else { 0.0 }).collect();
        let settings = DiscoverySettings { pairs: true, ..DiscoverySettings::default() };
        let slices = discover_slices(&batch, &losses, &settings).unwrap();
        assert_eq!(slices[0].slice.name, "color = g and size = s");
        assert!(slices[0].worse && slices[0].loss > 1.3);
        let single = discover_slices(&batch, &losses, &DiscoverySettings::default()).unwrap();
        assert_eq!(single[0].slice.name, "color = g");
        assert!(single.iter().any(|slice| slice.slice.name == "x is missing"));
    }

    #[test]
    fn rows_outside_are_those_of_a_sum() {
        let all: Vec<f64> = (0..40).map(|i| f64::from(i * i % 23)).collect();
        let (part, rest) = all.split_at(13);
        let derived = Moments::of(all.iter().copied()).without(&Moments::of(part.iter().copied()));
        let direct = Moments::of(rest.iter().copied());
        assert!((derived.mean - direct.mean).abs() < 1e-12 && (derived.squares - direct.squares).abs() < 1e-9);
        assert!(discover_slices(&table(9), &[0.0], &DiscoverySettings::default()).is_err());
    }
}
