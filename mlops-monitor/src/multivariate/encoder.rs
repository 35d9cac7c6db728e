//! Mixed columns as rows of numbers, learnt from a reference.
//!
//! Invariant: every row of every batch becomes as many finite numbers, in units that one wild value cannot set.
//!
//! A number is its distance from the median of the reference in deviations (interquartile range / 1.349, or the standard
//! deviation where half of the values are one value), cut off at `clip`; infinities lie at the cut. A missing number is
//! at the median. A level is a one in the place of its name; levels that are not among the most frequent share a place.
//! Every column has one more place that is one where the value is missing.

use std::{collections::HashMap, ops::Range};

use arrow_array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow_select::take::take_record_batch;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Faults, matrix::Matrix};
use crate::{
    extract::{self, Level},
    random::Draws,
    sample::{CategoricalSample, ColumnKind, NumericSample},
    stats::{count_of, moments, quantile},
};

/// Standard deviations in the interquartile range of a normal law.
const NORMAL_IQR: f64 = 1.348_979_500_392_163_6;

/// How mixed columns become numbers.
///
/// ```
/// use mlops_monitor::multivariate::EncoderSettings;
///
/// let settings: EncoderSettings = serde_json::from_str(r#"{"levels_max": 5}"#)?;
/// assert_eq!((settings.levels_max, settings.features_max), (5, 256));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderSettings {
    /// Levels of a column that have a place of their own, the most frequent of the reference; 1 to 1,000. Default 20.
    pub levels_max: usize,
    /// Most numbers a row may become; 1 to 1,024. Default 256.
    pub features_max: usize,
    /// Deviations at which numbers are cut off, above 0. Default 10.
    pub clip: f64,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self { levels_max: 20, features_max: 256, clip: 10.0 }
    }
}

impl EncoderSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.check((1..=1_000).contains(&self.levels_max), "encoder.levels_max", "1 to 1000", &self.levels_max);
        faults.check((1..=1_024).contains(&self.features_max), "encoder.features_max", "1 to 1024", &self.features_max);
        let clip = self.clip;
        faults.check(clip.is_finite() && clip > 0.0, "encoder.clip", "finite and above 0", &clip);
    }
}

/// What was learnt of a reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Encoder {
    columns: Vec<EncodedColumn>,
    skipped: Vec<String>,
    clip: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct EncodedColumn {
    name: String,
    encoding: Encoding,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    Number { center: f64, scale: f64 },
    Levels(Vec<String>),
}

impl Encoding {
    fn width(&self) -> usize {
        match self {
            Self::Number { .. } => 2,
            Self::Levels(levels) => levels.len() + 2,
        }
    }
}

impl Encoder {
    pub(super) fn fit(reference: &RecordBatch, settings: &EncoderSettings) -> Result<Self> {
        let (mut columns, mut skipped) = (Vec::new(), Vec::new());
        for (field, values) in reference.schema().fields().iter().zip(reference.columns()) {
            let name = field.name().clone();
            match fit_column(values, settings) {
                Some(encoding) => columns.push(EncodedColumn { name, encoding }),
                None => skipped.push(name),
            }
        }
        let encoder = Self { columns, skipped, clip: settings.clip };
        let (width, limit) = (encoder.width(), settings.features_max);
        if width == 0 || width > limit {
            return Err(Error::invalid_argument(format!(
                "the {} comparable columns of the reference make {width} features; expected 1 to {limit}: pass fewer \
                 columns, lower levels_max or raise features_max",
                encoder.columns.len(),
            )));
        }
        Ok(encoder)
    }

    /// Numbers per row.
    pub(super) fn width(&self) -> usize {
        self.columns.iter().map(|column| column.encoding.width()).sum()
    }

    pub(super) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The columns with the places of their numbers in a row.
    pub(super) fn places(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.columns.iter().scan(0, |start, column| {
            let from = *start;
            *start += column.encoding.width();
            Some((column.name.as_str(), from..*start))
        })
    }

    /// Whether every number in it can be used; false only for a state that was written by someone else.
    pub(super) fn is_sound(&self) -> bool {
        let fine = |column: &EncodedColumn| match column.encoding {
            Encoding::Number { center, scale } => center.is_finite() && scale.is_finite() && scale > 0.0,
            Encoding::Levels(_) => true,
        };
        self.clip.is_finite() && self.clip > 0.0 && self.columns.iter().all(fine)
    }

    /// The rows of a batch as numbers.
    pub(super) fn encode(&self, batch: &RecordBatch) -> Result<Matrix> {
        let width = self.width();
        let mut values = vec![0.0; width * batch.num_rows()];
        for (column, (_, places)) in self.columns.iter().zip(self.places()) {
            let Some(array) = batch.column_by_name(&column.name) else {
                return Err(Error::failed_precondition(format!(
                    "column {:?} of the reference is missing in the current window",
                    column.name
                )));
            };
            let cells = values.chunks_exact_mut(width).filter_map(|row| row.get_mut(places.clone()));
            if self.fill(&column.encoding, array, cells).is_none() {
                return Err(Error::failed_precondition(format!(
                    "column {:?} is {} in the current window; expected {}",
                    column.name,
                    extract::type_name(array.data_type()),
                    if matches!(column.encoding, Encoding::Number { .. }) { "numbers" } else { "levels" },
                )));
            }
        }
        Ok(Matrix::new(width, values))
    }

    fn fill<'a>(
        &self,
        encoding: &Encoding,
        array: &ArrayRef,
        cells: impl Iterator<Item = &'a mut [f64]>,
    ) -> Option<()> {
        let array = extract::plain(array)?;
        match encoding {
            Encoding::Number { center, scale } => {
                for (cell, value) in cells.zip(extract::numbers(&array)?) {
                    let score = value.map_or(f64::NAN, |value| (value - center) / scale);
                    if let [number, missing] = cell {
                        (*number, *missing) =
                            if score.is_nan() { (0.0, 1.0) } else { (score.clamp(-self.clip, self.clip), 0.0) };
                    }
                }
            }
            Encoding::Levels(levels) => {
                let at: HashMap<&str, usize> =
                    levels.iter().enumerate().map(|(i, level)| (level.as_str(), i)).collect();
                let place = |level: Level<'_>| match level {
                    Level::Text(text) => at.get(text).copied(),
                    other => at.get(other.to_string().as_str()).copied(),
                };
                for (cell, level) in cells.zip(extract::row_levels(&array)?) {
                    let index = level.map_or(levels.len() + 1, |level| place(level).unwrap_or(levels.len()));
                    if let Some(one) = cell.get_mut(index) {
                        *one = 1.0;
                    }
                }
            }
        }
        Some(())
    }
}

fn fit_column(values: &ArrayRef, settings: &EncoderSettings) -> Option<Encoding> {
    let sample = extract::sample(values, extract::natural_kind(values.data_type()));
    match (sample.kind(), sample.values()) {
        (ColumnKind::Numeric, crate::sample::Values::Numeric(sample)) => Some(fit_numbers(sample)),
        (_, crate::sample::Values::Categorical(sample)) => Some(fit_levels(sample, settings.levels_max)),
        _ => None,
    }
}

fn fit_numbers(sample: &NumericSample) -> Encoding {
    let sorted = sample.values();
    let at = |q: f64| quantile(sorted, q).filter(|value| value.is_finite());
    let usable = |scale: &f64| scale.is_finite() && *scale > 0.0;
    let range = at(0.75).zip(at(0.25)).map(|(high, low)| (high - low) / NORMAL_IQR).filter(usable);
    let scale = range.or_else(|| moments(sorted).map(|found| found.variance.sqrt()).filter(usable)).unwrap_or(1.0);
    Encoding::Number { center: at(0.5).unwrap_or(0.0), scale }
}

fn fit_levels(sample: &CategoricalSample, levels_max: usize) -> Encoding {
    Encoding::Levels(sample.pooled(levels_max).levels().map(|(level, _)| level.to_owned()).collect())
}

/// At most `rows_max` rows of a batch, drawn without replacement, in order.
pub(super) fn drawn(batch: &RecordBatch, rows_max: usize, draws: &mut Draws) -> Result<RecordBatch> {
    if batch.num_rows() <= rows_max {
        return Ok(batch.clone());
    }
    taken(batch, &draws.choose(rows_max, batch.num_rows()))
}

/// These rows of a batch.
pub(super) fn taken(batch: &RecordBatch, rows: &[usize]) -> Result<RecordBatch> {
    let rows = UInt64Array::from_iter_values(rows.iter().map(|row| count_of(*row)));
    take_record_batch(batch, &rows)
        .map_err(|error| Error::invalid_argument("rows cannot be drawn from the batch").with_source(error))
}

/// Both windows as numbers, bounded in rows, without the numbers that are the same in every row.
pub(super) struct Encoded {
    pub(super) left: Matrix,
    pub(super) right: Matrix,
    /// Columns with the places of their numbers that vary; those without any are left out.
    pub(super) places: Vec<(String, Vec<usize>)>,
    pub(super) skipped: Vec<String>,
    /// Rows of both sides.
    pub(super) n: (u64, u64),
}

impl Encoded {
    pub(super) fn new(
        (reference, current): (&RecordBatch, &RecordBatch),
        settings: &EncoderSettings,
        (rows_max, seed): (usize, u64),
    ) -> Result<Self> {
        let mut draws = Draws::new(seed);
        let (left, right) = (drawn(reference, rows_max, &mut draws)?, drawn(current, rows_max, &mut draws)?);
        let encoder = Encoder::fit(&left, settings)?;
        let (left, right) = (encoder.encode(&left)?, encoder.encode(&right)?);
        let varying = left.stacked(&right).varying();
        let within = |range: &Range<usize>| -> Vec<usize> {
            (0..varying.len()).filter(|at| varying.get(*at).is_some_and(|place| range.contains(place))).collect()
        };
        let places = encoder.places().map(|(name, range)| (name.to_owned(), within(&range)));
        Ok(Self {
            n: (count_of(left.len()), count_of(right.len())),
            places: places.filter(|(_, places)| !places.is_empty()).collect(),
            left: left.select(&varying),
            right: right.select(&varying),
            skipped: encoder.skipped().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int32Array, NullArray, StringArray};

    use super::*;

    fn batch() -> RecordBatch {
        let numbers = Float64Array::from(vec![Some(1.0), Some(2.0), Some(3.0), None, Some(f64::INFINITY)]);
        let levels = StringArray::from(vec![Some("b"), Some("a"), Some("b"), Some("c"), None]);
        let columns: [(&str, ArrayRef); 3] =
            [("x", Arc::new(numbers)), ("k", Arc::new(levels)), ("nothing", Arc::new(NullArray::new(5)))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn numbers_levels_and_gaps_have_their_places() {
        let settings = EncoderSettings { levels_max: 1, clip: 4.0, ..EncoderSettings::default() };
        let encoder = Encoder::fit(&batch(), &settings).unwrap();
        let matrix = encoder.encode(&batch()).unwrap();
        assert_eq!((encoder.width(), encoder.skipped()), (5, &["nothing".to_owned()][..]));
        assert_eq!(encoder.places().collect::<Vec<_>>(), [("x", 0..2), ("k", 2..5)]);
        // Quartiles 1.5 and 2.5.
        let step = NORMAL_IQR;
        let rows: Vec<&[f64]> = matrix.rows().collect();
        assert_eq!(rows[0], [-step, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(rows[1], [0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(rows[3], [0.0, 1.0, 0.0, 1.0, 0.0]);
        assert_eq!(rows[4], [4.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn windows_that_do_not_fit_are_errors_that_name_the_column() {
        let encoder = Encoder::fit(&batch(), &EncoderSettings::default()).unwrap();
        let lacking = batch().project(&[0]).unwrap();
        assert!(encoder.encode(&lacking).unwrap_err().message().contains("\"k\""));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["one"]));
        let retyped = RecordBatch::try_from_iter([("x", text), ("k", numbers)]).unwrap();
        assert!(encoder.encode(&retyped).unwrap_err().message().contains("\"x\""));
        let narrow = EncoderSettings { features_max: 3, ..EncoderSettings::default() };
        assert!(Encoder::fit(&batch(), &narrow).unwrap_err().message().contains("7 features"));
        assert!(Encoder::fit(&batch().project(&[2]).unwrap(), &EncoderSettings::default()).is_err());
    }

    #[test]
    fn half_equal_values_fall_back_on_the_deviation_and_constants_on_one() {
        let scale = |values: Vec<f64>| match fit_numbers(&NumericSample::new(values)) {
            Encoding::Number { scale, .. } => scale,
            Encoding::Levels(_) => f64::NAN,
        };
        assert!((scale(vec![0.0, 0.0, 0.0, 0.0, 10.0]) - 20.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(scale(vec![3.0; 4]), 1.0);
        assert_eq!(scale(vec![]), 1.0);
        assert_eq!(scale(vec![-1e308, 1e308]), 1.0);
    }
}
