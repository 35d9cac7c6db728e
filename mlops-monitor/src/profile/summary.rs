//! What a profile says: numbers with their errors, column by column.
//!
//! Invariant: every number that comes from a sketch is an interval; where all was kept, its ends coincide.

use mlops_core::Result;

use super::{
    column::{Class, Column, Header, State},
    numbers::{Numbers, Quantiles},
    runs::Runs,
    stream::Part,
};
use crate::{
    sample::{CategoricalSample, ColumnKind, ColumnSample, NumericSample, RankError},
    stats::{count_of, float},
};

/// An estimate and where the true number lies: for certain for counts, at 99 % for quantiles, at three standard
/// deviations for distinct values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The best single number.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    fn exact(value: f64) -> Self {
        Self { estimate: value, low: value, high: value }
    }
}

/// A level that occurs often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrequentLevel {
    /// Its name; whole numbers in decimal.
    pub level: String,
    /// It occurred at least so often.
    pub low: u64,
    /// And at most so often.
    pub high: u64,
}

/// Exact statistics of the finite values of a numeric column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumericSummary {
    /// Finite values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Sample variance, with n - 1; NaN for fewer than two values.
    pub variance: f64,
    /// Third standardized moment m3 / m2^(3/2) of the population; NaN when all are equal.
    pub skewness: f64,
    /// Fourth standardized moment less 3; NaN when all are equal.
    pub excess_kurtosis: f64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
}

/// The sketches of a column in Apache DataSketches' layout, for its libraries in other languages.
///
/// Columns that are still exact give sketches without error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketches {
    /// KLL of doubles: `kll_doubles_sketch` in Python.
    pub kll: Option<Vec<u8>>,
    /// HLL of 2^12 registers: `hll_sketch` in Python. Floats are hashed as doubles, integers as 64 bits, text as UTF-8.
    pub hll: Option<Vec<u8>>,
    /// Frequent items: `frequent_items_sketch` in Python, of text, or of 64-bit integers for integer columns.
    pub frequent: Option<Vec<u8>>,
}

/// All that a profile says.
#[derive(Debug, Clone)]
pub struct ProfileSummary {
    rows: u64,
    columns: Vec<ColumnSummary>,
}

impl ProfileSummary {
    pub(super) fn new(headers: Vec<Header>, part: Part) -> Self {
        let rows = part.rows;
        let columns = headers.into_iter().zip(part.columns);
        let columns = columns.map(|(header, column)| ColumnSummary { header, column, rows }).collect();
        Self { rows, columns }
    }

    /// Rows observed.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The columns, in the order of the first batch.
    #[must_use]
    pub fn columns(&self) -> &[ColumnSummary] {
        &self.columns
    }

    /// One column by name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnSummary> {
        self.columns.iter().find(|column| column.name() == name)
    }
}

/// Levels with lower counts, how many more each may have, and the number of all values.
type Counts = (Vec<(String, u64)>, u64, u64);

/// What a profile says of one column.
#[derive(Debug, Clone)]
pub struct ColumnSummary {
    header: Header,
    column: Column,
    rows: u64,
}

impl ColumnSummary {
    /// The column's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.header.name
    }

    /// The name of its type; the layouts of text (large, view, dictionary) share one.
    #[must_use]
    pub fn data_type(&self) -> &str {
        &self.header.data_type
    }

    /// Rows, with and without value.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows without a value.
    #[must_use]
    pub fn nulls(&self) -> u64 {
        self.column.nulls
    }

    fn numbers(&self) -> Option<&Numbers> {
        match &self.column.state {
            State::Numbers(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// Values that are not a number.
    #[must_use]
    pub fn nans(&self) -> u64 {
        self.numbers().map_or(0, |numbers| numbers.nans)
    }

    /// Infinite values.
    #[must_use]
    pub fn infinities(&self) -> u64 {
        self.numbers().map_or(0, |numbers| numbers.infinities)
    }

    /// Statistics of a numeric column with at least one finite value.
    #[must_use]
    pub fn numeric(&self) -> Option<NumericSummary> {
        let moments = &self.numbers()?.moments;
        let n = float(moments.count);
        (moments.count > 0).then(|| NumericSummary {
            count: moments.count,
            mean: moments.mean,
            variance: if moments.count > 1 { moments.m2 / (n - 1.0) } else { f64::NAN },
            skewness: (moments.m3 / n) / (moments.m2 / n).powf(1.5),
            excess_kurtosis: (moments.m4 / n) / (moments.m2 / n).powi(2) - 3.0,
            min: moments.min,
            max: moments.max,
        })
    }

    /// Values with their counts, and how far their ranks may be off.
    fn runs(&self) -> Option<(Runs, RankError)> {
        Some(match &self.numbers()?.quantiles {
            Quantiles::Exact(runs) => (runs.clone(), RankError::default()),
            Quantiles::Sketch { kll, .. } => {
                (kll.weighted(), RankError { rank: kll.rank_error(), share: kll.share_error() })
            }
        })
    }

    /// How far the share of values up to any point may be off, at 99 %; zero while the column is exact.
    #[must_use]
    pub fn rank_error(&self) -> f64 {
        match self.numbers().map(|numbers| &numbers.quantiles) {
            Some(Quantiles::Sketch { kll, .. }) => kll.rank_error(),
            _ => 0.0,
        }
    }

    /// A quantile of a numeric column, interpolated linearly (Hyndman and Fan's type 7, numpy's default) while exact;
    /// then between the quantiles that are a rank error below and above. `q` from 0 to 1.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Interval> {
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        let (runs, error) = self.runs()?;
        let moments = &self.numbers()?.moments;
        let sample = NumericSample::weighted(&runs, error);
        let at = |q: f64| match q {
            q if q <= 0.0 => Some(moments.min),
            q if q >= 1.0 => Some(moments.max),
            q => sample.quantile(q),
        };
        let (estimate, low, high) = (at(q)?, at(q - error.rank)?, at(q + error.rank)?);
        Some(Interval { estimate, low, high })
    }

    /// How many distinct values there are; `None` where values have no comparison.
    ///
    /// # Errors
    /// `Internal` when a sketch cannot be made.
    pub fn distinct(&self) -> Result<Option<Interval>> {
        let sketched = |(estimate, low, high): (f64, f64, f64)| Interval { estimate, low, high };
        Ok(match &self.column.state {
            State::Opaque => None,
            State::Numbers(numbers) => Some(match &numbers.quantiles {
                Quantiles::Exact(runs) => Interval::exact(float(count_of(runs.len()))),
                Quantiles::Sketch { distinct, .. } => sketched(distinct.estimate()),
            }),
            State::Levels(levels) if levels.frequent.is_exact() => {
                Some(Interval::exact(float(count_of(levels.frequent.len()))))
            }
            State::Levels(levels) => Some(sketched(levels.distinct()?.estimate())),
        })
    }

    /// The levels of text, booleans and whole numbers, most frequent first (ties by name), at most `limit`. Floats
    /// have none.
    #[must_use]
    pub fn frequent(&self, limit: usize) -> Vec<FrequentLevel> {
        let Some((levels, offset, _)) = self.levels() else { return Vec::new() };
        let mut levels: Vec<FrequentLevel> =
            levels.into_iter().map(|(level, low)| FrequentLevel { level, low, high: low + offset }).collect();
        levels.sort_by(|a, b| b.low.cmp(&a.low).then_with(|| a.level.cmp(&b.level)));
        levels.truncate(limit);
        levels
    }

    /// Levels with lower counts, the error of each, and the sum of all.
    fn levels(&self) -> Option<Counts> {
        match &self.column.state {
            State::Levels(levels) => {
                let items = levels.frequent.items().into_iter().map(|(level, count)| (level.clone(), count));
                Some((items.collect(), levels.frequent.offset(), levels.frequent.total()))
            }
            State::Numbers(numbers) if self.header.class == Class::Integers => match &numbers.quantiles {
                Quantiles::Exact(runs) => {
                    let items = runs.iter().map(|(value, count)| (format!("{value:.0}"), count)).collect();
                    Some((items, 0, runs.total()))
                }
                Quantiles::Sketch { .. } => numbers.frequent.as_ref().map(|frequent| {
                    let items = frequent.items().into_iter().map(|(value, count)| (value.to_string(), count));
                    (items.collect(), frequent.offset(), frequent.total())
                }),
            },
            _ => None,
        }
    }

    /// The column's sketches for other languages.
    ///
    /// # Errors
    /// `Internal` when a sketch cannot be made.
    pub fn sketches(&self) -> Result<Sketches> {
        Ok(match &self.column.state {
            State::Opaque => Sketches::default(),
            State::Numbers(numbers) => {
                let (kll, distinct, frequent) = numbers.sketches()?;
                let frequent = frequent.map(|mut frequent| {
                    frequent.prune();
                    frequent.to_bytes()
                });
                Sketches { kll: Some(kll.to_bytes()), hll: Some(distinct.to_bytes()), frequent }
            }
            State::Levels(levels) => Sketches {
                kll: None,
                hll: Some(levels.distinct()?.to_bytes()),
                frequent: Some(levels.frequent.to_bytes()),
            },
        })
    }

    /// Whether levels come back, at least twice each on average, and are few enough to be named.
    fn repeats(&self, levels_max: usize) -> bool {
        match &self.column.state {
            State::Levels(levels) => {
                let distinct = self.distinct().ok().flatten().map_or(0.0, |distinct| distinct.estimate);
                distinct * 2.0 <= float(levels.frequent.total())
            }
            State::Numbers(numbers) if self.header.class == Class::Integers => match &numbers.quantiles {
                Quantiles::Exact(runs) => {
                    runs.len() <= levels_max && runs.whole() && count_of(runs.len()).saturating_mul(2) <= runs.total()
                }
                Quantiles::Sketch { .. } => false,
            },
            _ => false,
        }
    }

    /// How the column is compared, by the same rules as [`super::ReferenceProfile::from_batches`].
    pub(crate) fn kind(&self, integer_levels_max: usize, identifier_rows_min: u64) -> ColumnKind {
        match &self.column.state {
            State::Opaque => ColumnKind::Opaque,
            State::Numbers(_) if self.repeats(integer_levels_max) => ColumnKind::Categorical,
            State::Numbers(_) => ColumnKind::Numeric,
            State::Levels(levels) => {
                let text = self.header.data_type == "String";
                let identifiers = text && levels.frequent.total() >= identifier_rows_min && !self.repeats(0);
                if identifiers { ColumnKind::Opaque } else { ColumnKind::Categorical }
            }
        }
    }

    /// The column as a sample of that kind; opaque when its values have no such comparison.
    pub(crate) fn sample(&self, kind: ColumnKind) -> ColumnSample {
        let nulls = self.nulls();
        let sample = match kind {
            ColumnKind::Numeric => self.runs().map(|(runs, error)| {
                let sample = NumericSample::weighted(&runs, error).with_counts(self.nans(), self.infinities());
                ColumnSample::numeric(sample)
            }),
            ColumnKind::Categorical => self.levels().map(|(levels, error, total)| {
                let sample = CategoricalSample::new(levels);
                let rest = total.saturating_sub(sample.total());
                ColumnSample::categorical(sample.with_other(rest).with_level_error(error))
            }),
            ColumnKind::Opaque => None,
        };
        sample.unwrap_or_else(|| ColumnSample::opaque(self.rows - nulls)).with_nulls(nulls)
    }
}
