//! One column of a window, reduced to what drift tests need: sorted numbers or counted levels.
//!
//! Invariant: numbers are finite and ascending; nulls, NaN and infinities are counted apart and
//! never lost. A sample knows nothing of Arrow; `extract` makes one from a column.

use std::{borrow::Cow, collections::BTreeMap};

use mlops_core::Digest;
use serde::{Deserialize, Serialize};

use crate::{
    profile::Runs,
    stats::{bin_counts, count_of, float, quantile, quantile_edges, sort},
};

/// Bytes of a level's name; of longer ones the start and a digest are kept.
const LEVEL_BYTES_MAX: usize = 1024;
/// Values that stand for a sketched column where weights are of no use.
const REPRESENTATIVES: usize = 10_000;

/// The name under which a level is counted.
pub(crate) fn bounded_level(level: &str) -> Cow<'_, str> {
    if level.len() <= LEVEL_BYTES_MAX {
        return Cow::Borrowed(level);
    }
    let start = level.get(..level.floor_char_boundary(LEVEL_BYTES_MAX / 2)).unwrap_or_default();
    Cow::Owned(format!("{start}\u{2026}{}", Digest::of(level.as_bytes())))
}

/// How the values of a column are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// By order: integers, floats, decimals.
    Numeric,
    /// By equality: text, booleans, integers with few distinct values.
    Categorical,
    /// Only by presence: identifiers, free text, times, nested values.
    Opaque,
}

impl ColumnKind {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Categorical => "categorical",
            Self::Opaque => "opaque",
        }
    }
}

/// How far shares of a sketched column may be off, at 99 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct RankError {
    /// The share of values up to a point.
    pub(crate) rank: f64,
    /// The share of values between two points.
    pub(crate) share: f64,
}

/// Ascending distinct values, each with the number of values up to and with it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weighted {
    pub(crate) values: Vec<f64>,
    pub(crate) upto: Vec<u64>,
    pub(crate) error: RankError,
}

/// Finite numbers in ascending order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NumericSample {
    values: Vec<f64>,
    nans: u64,
    infinities: u64,
    weighted: Option<Weighted>,
}

impl NumericSample {
    /// Sorts the finite values; counts NaN and infinities apart.
    ///
    /// ```
    /// use mlops_monitor::NumericSample;
    ///
    /// let sample = NumericSample::new(vec![2.0, f64::NAN, -1.0, f64::INFINITY]);
    /// assert_eq!(sample.values(), [-1.0, 2.0]);
    /// assert_eq!((sample.nans(), sample.infinities()), (1, 1));
    /// ```
    #[must_use]
    pub fn new(mut values: Vec<f64>) -> Self {
        let (mut nans, mut infinities) = (0, 0);
        values.retain(|value| {
            nans += u64::from(value.is_nan());
            infinities += u64::from(value.is_infinite());
            value.is_finite()
        });
        sort(&mut values);
        Self { values, nans, infinities, weighted: None }
    }

    /// From values with counts. Few and exact ones become a plain sample.
    pub(crate) fn weighted(runs: &Runs, error: RankError) -> Self {
        let total = runs.total();
        let plain = error == RankError::default() && total <= count_of(REPRESENTATIVES);
        let mut upto = 0_u64;
        let (values, upto): (Vec<f64>, Vec<u64>) = runs
            .iter()
            .map(|(value, count)| {
                upto = upto.saturating_add(count);
                (value, upto)
            })
            .unzip();
        let weighted = Weighted { values, upto, error };
        let most = count_of(REPRESENTATIVES).min(total);
        let rank = |i: u64| u64::try_from((2 * u128::from(i) + 1) * u128::from(total) / (2 * u128::from(most)));
        let ranks = (0..most).filter_map(|i| weighted.at(rank(i).ok()?)).collect();
        Self { values: ranks, weighted: (!plain).then_some(weighted), ..Self::default() }
    }

    /// How many finite values it stands for.
    pub(crate) fn len(&self) -> u64 {
        self.weighted.as_ref().map_or_else(|| count_of(self.values.len()), Weighted::total)
    }

    /// The values with their weights, where a plain sample would be too long or not exact.
    pub(crate) fn weights(&self) -> Option<&Weighted> {
        self.weighted.as_ref()
    }

    /// Each distinct value with the number of values up to and with it.
    pub(crate) fn steps(&self) -> Vec<(f64, u64)> {
        if let Some(weighted) = &self.weighted {
            return weighted.values.iter().copied().zip(weighted.upto.iter().copied()).collect();
        }
        let mut upto = 0;
        let step = |(value, count)| {
            upto += count;
            (value, upto)
        };
        Runs::of_sorted(&self.values).iter().map(step).collect()
    }

    /// Each distinct value with its count.
    pub(crate) fn runs(&self) -> Runs {
        let mut before = 0;
        let run = |(value, upto)| (value, upto - std::mem::replace(&mut before, upto));
        Runs::of_weighted(self.steps().into_iter().map(run).collect())
    }

    /// How far shares may be off.
    pub(crate) fn error(&self) -> RankError {
        self.weighted.as_ref().map_or_else(RankError::default, |weighted| weighted.error)
    }

    /// Counts up to each edge and beyond, as [`bin_counts`].
    pub(crate) fn bin_counts(&self, edges: &[f64]) -> Vec<u64> {
        let Some(weighted) = &self.weighted else { return bin_counts(&self.values, edges) };
        let mut before = 0;
        let upto = edges.iter().map(|edge| weighted.count_upto(*edge)).chain([weighted.total()]);
        upto.map(|end| {
            let count = end.saturating_sub(before);
            before = before.max(end);
            count
        })
        .collect()
    }

    /// One quantile, type 7.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let Some(weighted) = &self.weighted else { return quantile(&self.values, q) };
        let position = float(weighted.total().checked_sub(1)?) * q;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= position <= n - 1")]
        let rank = position.floor() as u64;
        let low = weighted.at(rank)?;
        let high = weighted.at(rank + 1).unwrap_or(low);
        quantile(&[low, high], position - position.floor())
    }

    /// The distinct inner quantiles 1/bins, 2/bins, ...
    pub(crate) fn quantile_edges(&self, bins: u32) -> Vec<f64> {
        if self.weighted.is_none() {
            return quantile_edges(&self.values, bins);
        }
        let at = |i| self.quantile(f64::from(i) / f64::from(bins));
        let mut edges: Vec<f64> = (1..bins).filter_map(at).collect();
        edges.dedup();
        edges
    }

    /// The same values out of a column that also had these.
    pub(crate) fn with_counts(self, nans: u64, infinities: u64) -> Self {
        Self { nans, infinities, ..self }
    }

    /// The finite values, ascending. Of a sketched column, 10,000 at evenly spaced ranks.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many values were not a number.
    #[must_use]
    pub fn nans(&self) -> u64 {
        self.nans
    }

    /// How many values were infinite.
    #[must_use]
    pub fn infinities(&self) -> u64 {
        self.infinities
    }

    /// At most `limit` values at evenly spaced ranks, `floor((2i + 1) n / (2 limit))`: the same
    /// for every order of rows, and within 1 / (2 limit) of the full distribution everywhere.
    #[must_use]
    pub fn thinned(&self, limit: usize) -> Self {
        let (n, limit) = (self.values.len() as u128, limit.max(1) as u128);
        if n <= limit {
            return self.clone();
        }
        let rank = |i: u128| usize::try_from((2 * i + 1) * n / (2 * limit)).unwrap_or(usize::MAX);
        let values = (0..limit).filter_map(|i| self.values.get(rank(i)).copied()).collect();
        Self { values, ..self.clone() }
    }
}

impl Weighted {
    pub(crate) fn total(&self) -> u64 {
        self.upto.last().copied().unwrap_or(0)
    }

    fn count_upto(&self, value: f64) -> u64 {
        let index = self.values.partition_point(|other| *other <= value);
        index.checked_sub(1).and_then(|last| self.upto.get(last)).copied().unwrap_or(0)
    }

    /// The value of a rank from 0.
    fn at(&self, rank: u64) -> Option<f64> {
        self.values.get(self.upto.partition_point(|upto| *upto <= rank)).copied()
    }
}

/// How often each level occurs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CategoricalSample {
    levels: BTreeMap<String, u64>,
    other: u64,
    level_error: u64,
}

impl CategoricalSample {
    /// From counts; levels with a count of zero are kept out.
    ///
    /// ```
    /// use mlops_monitor::CategoricalSample;
    ///
    /// let sample = CategoricalSample::new([("web", 3), ("app", 5), ("fax", 0)]);
    /// assert_eq!(sample.count("app"), 5);
    /// assert_eq!(sample.levels().count(), 2);
    /// ```
    #[must_use]
    pub fn new<L: Into<String>>(counts: impl IntoIterator<Item = (L, u64)>) -> Self {
        let mut levels = BTreeMap::<String, u64>::new();
        for (level, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let total = levels.entry(level.into()).or_default();
            *total = total.saturating_add(count);
        }
        Self { levels, other: 0, level_error: 0 }
    }

    /// Adds values whose levels are not kept apart.
    #[must_use]
    pub fn with_other(mut self, count: u64) -> Self {
        self.other = self.other.saturating_add(count);
        self
    }

    /// Says that each level, named or not, may occur so many times more often than is counted here; those values are
    /// among the others.
    #[must_use]
    pub(crate) fn with_level_error(mut self, error: u64) -> Self {
        self.level_error = error;
        self
    }

    /// How many more values each level may have.
    #[must_use]
    pub fn level_error(&self) -> u64 {
        self.level_error
    }

    /// Counts levels with very long names under a shorter one, as profiles do; `None` when there are none.
    fn bounded(&self) -> Option<Self> {
        if self.levels.keys().all(|level| level.len() <= LEVEL_BYTES_MAX) {
            return None;
        }
        let levels = self.levels().map(|(level, count)| (bounded_level(level).into_owned(), count));
        Some(Self { other: self.other, level_error: self.level_error, ..Self::new(levels) })
    }

    /// The levels in order of name, with their counts.
    pub fn levels(&self) -> impl Iterator<Item = (&str, u64)> {
        self.levels.iter().map(|(level, count)| (level.as_str(), *count))
    }

    /// The count of one level, zero when it does not occur.
    #[must_use]
    pub fn count(&self, level: &str) -> u64 {
        self.levels.get(level).copied().unwrap_or(0)
    }

    /// Values whose levels are pooled.
    #[must_use]
    pub fn other(&self) -> u64 {
        self.other
    }

    /// All values.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.levels.values().fold(self.other, |sum, count| sum.saturating_add(*count))
    }

    /// The `limit` most frequent levels (ties by name); the rest joins `other`.
    #[must_use]
    pub fn pooled(&self, limit: usize) -> Self {
        if self.levels.len() <= limit {
            return self.clone();
        }
        let mut order: Vec<(&str, u64)> = self.levels().collect();
        order.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let rest = order.iter().skip(limit).map(|(_, count)| count).sum::<u64>();
        Self::new(order.into_iter().take(limit)).with_other(self.other.saturating_add(rest))
    }
}

/// The values of a column, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Numbers.
    Numeric(NumericSample),
    /// Levels.
    Categorical(CategoricalSample),
    /// Nothing but their number is known.
    Opaque,
}

/// One column of the reference or of the current window.
///
/// ```
/// use mlops_monitor::{ColumnSample, NumericSample};
///
/// let sample = ColumnSample::numeric(NumericSample::new(vec![1.0, 2.0])).with_nulls(1);
/// assert_eq!((sample.len(), sample.rows(), sample.nulls()), (2, 3, 1));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSample {
    values: Values,
    rows: u64,
    nulls: u64,
}

impl ColumnSample {
    /// A column of numbers without nulls.
    #[must_use]
    pub fn numeric(sample: NumericSample) -> Self {
        let rows = sample.len() + sample.nans + sample.infinities;
        Self { values: Values::Numeric(sample), rows, nulls: 0 }
    }

    /// A column of levels without nulls.
    #[must_use]
    pub fn categorical(sample: CategoricalSample) -> Self {
        let rows = sample.total();
        Self { values: Values::Categorical(sample), rows, nulls: 0 }
    }

    /// A column of which only the number of values is known.
    #[must_use]
    pub fn opaque(rows: u64) -> Self {
        Self { values: Values::Opaque, rows, nulls: 0 }
    }

    /// Adds rows without a value.
    #[must_use]
    pub fn with_nulls(mut self, nulls: u64) -> Self {
        self.nulls = self.nulls.saturating_add(nulls);
        self.rows = self.rows.saturating_add(nulls);
        self
    }

    /// Says that the values were thinned out from a column of `rows` rows.
    #[must_use]
    pub(crate) fn out_of(mut self, rows: u64) -> Self {
        self.rows = rows;
        self
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// How they are compared.
    #[must_use]
    pub fn kind(&self) -> ColumnKind {
        match self.values {
            Values::Numeric(_) => ColumnKind::Numeric,
            Values::Categorical(_) => ColumnKind::Categorical,
            Values::Opaque => ColumnKind::Opaque,
        }
    }

    /// Usable values: finite numbers or levels. Fewer than rows when thinned.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.values {
            Values::Numeric(sample) => sample.len(),
            Values::Categorical(sample) => sample.total(),
            Values::Opaque => self.rows.saturating_sub(self.nulls),
        }
    }

    /// Whether the values come from sketches, so that tests of them have an error.
    #[must_use]
    pub fn is_sketched(&self) -> bool {
        match &self.values {
            Values::Numeric(sample) => sample.error() != RankError::default(),
            Values::Categorical(sample) => sample.level_error > 0,
            Values::Opaque => false,
        }
    }

    /// Counts levels with very long names under a shorter one, as profiles do.
    pub(crate) fn with_bounded_levels(&self) -> Cow<'_, Self> {
        match &self.values {
            Values::Categorical(sample) => sample.bounded().map_or(Cow::Borrowed(self), |bounded| {
                Cow::Owned(Self { values: Values::Categorical(bounded), ..*self })
            }),
            _ => Cow::Borrowed(self),
        }
    }

    /// Whether there is no usable value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of the column, with and without value.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows without a value; NaN is a value.
    #[must_use]
    pub fn nulls(&self) -> u64 {
        self.nulls
    }

    /// Rows without a usable value: nulls, NaN and infinities.
    #[must_use]
    pub fn missing(&self) -> u64 {
        match &self.values {
            Values::Numeric(sample) => self.nulls + sample.nans + sample.infinities,
            _ => self.nulls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_shape() {
        let full = NumericSample::new((0..1000).map(f64::from).collect());
        let thin = full.thinned(10);
        assert_eq!(thin.values(), [50.0, 150.0, 250.0, 350.0, 450.0, 550.0, 650.0, 750.0, 850.0, 950.0]);
        assert_eq!(full.thinned(1000), full);
    }

    #[test]
    fn pooling_keeps_the_frequent_and_loses_no_row() {
        let sample = CategoricalSample::new([("a", 5), ("b", 1), ("c", 5), ("d", 2)]).pooled(2);
        assert_eq!(sample.levels().collect::<Vec<_>>(), [("a", 5), ("c", 5)]);
        assert_eq!((sample.other(), sample.total()), (3, 13));
    }
}
