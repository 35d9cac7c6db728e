//! Values over time: the rows of a window in order, reduced to the means of at most a fixed number of stretches.
//!
//! Invariant: memory is bounded by stretches times columns whatever is pushed; no value is kept. Neither the order
//! of rows within a time column nor the cut into batches changes the stretches, and means only by rounding.

use std::collections::BTreeMap;

use arrow_array::{ArrayRef, RecordBatch, cast::AsArray};
use arrow_schema::DataType as ArrowType;
use mlops_core::{Error, Result, Timestamp};

use crate::{extract, stats::float};

/// Most stretches of a series.
pub const STRETCHES_MAX: usize = 60;
/// Most columns that a series follows; later ones are left out.
pub const SERIES_COLUMNS_MAX: usize = 1_000;

/// What puts the rows of a window in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOrder {
    /// The order in which they come.
    Arrival,
    /// The time in this column.
    Time(String),
}

/// Values of a window over time, column by column.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_monitor::report::{RowOrder, WindowSeries};
///
/// let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..200).map(f64::from)));
/// let series = WindowSeries::of(&RecordBatch::try_from_iter([("x", values)])?, &RowOrder::Arrival)?;
/// assert_eq!(series.rows(), [4; 50]);
/// assert_eq!(series.column("x").map(|column| column.means[0]), Some(1.5));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSeries {
    title: String,
    labels: Vec<String>,
    positions: Vec<f64>,
    rows: Vec<u64>,
    latest: Option<Timestamp>,
    columns: BTreeMap<String, ColumnSeries>,
}

/// One column over the stretches of a [`WindowSeries`].
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSeries {
    /// Mean of the finite values of each stretch (`true` counts as 1); NaN where there are none.
    pub means: Vec<f64>,
    /// Share of rows without a finite value.
    pub missing: Vec<f64>,
}

impl WindowSeries {
    /// The series of one batch.
    ///
    /// # Errors
    /// As [`SeriesBuilder::push`].
    pub fn of(window: &RecordBatch, order: &RowOrder) -> Result<Self> {
        let mut builder = SeriesBuilder::new(order.clone());
        builder.push(window)?;
        Ok(builder.build())
    }

    /// What the stretches are cut by: the name of the time column, or `row`.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Where each stretch starts, ascending: a time in UTC or the number of a row.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Where each stretch starts on a line from 0 to 1.
    #[must_use]
    pub fn positions(&self) -> &[f64] {
        &self.positions
    }

    /// Rows of each stretch.
    #[must_use]
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// The latest time; `None` when rows are in order of arrival or none has a time.
    #[must_use]
    pub fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// One column; `None` when its values are no numbers.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnSeries> {
        self.columns.get(name)
    }
}

/// Makes a [`WindowSeries`] out of batches as they come.
#[derive(Debug, Clone)]
pub struct SeriesBuilder {
    order: RowOrder,
    width: i64,
    rows_seen: i64,
    latest: Option<i64>,
    names: Vec<String>,
    stretches: BTreeMap<i64, Stretch>,
}

#[derive(Debug, Clone, Default)]
struct Stretch {
    rows: u64,
    columns: Vec<Mean>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    n: u64,
    mean: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.n += 1;
        let n = float(self.n);
        // Halves first, so that the difference of two huge values of opposite signs stays finite.
        self.mean += 2.0 * ((value / 2.0 - self.mean / 2.0) / n);
    }

    fn merge(&mut self, other: Self) {
        let n = self.n + other.n;
        if other.n > 0 {
            self.mean += 2.0 * ((other.mean / 2.0 - self.mean / 2.0) * (float(other.n) / float(n)));
        }
        self.n = n;
    }
}

impl Stretch {
    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.columns.resize(self.columns.len().max(other.columns.len()), Mean::default());
        for (mean, more) in self.columns.iter_mut().zip(&other.columns) {
            mean.merge(*more);
        }
    }
}

/// Widths of stretches in microseconds that people think in; each divides the next.
const WIDTHS: [i64; 21] = {
    let (second, day) = (1_000_000, 86_400_000_000);
    let (minute, hour) = (60 * second, 3_600 * second);
    [
        1,
        10,
        100,
        1_000,
        10_000,
        100_000,
        second,
        10 * second,
        30 * second,
        minute,
        5 * minute,
        15 * minute,
        30 * minute,
        hour,
        3 * hour,
        6 * hour,
        12 * hour,
        day,
        7 * day,
        14 * day,
        28 * day,
    ]
};

impl SeriesBuilder {
    /// Starts without rows.
    #[must_use]
    pub fn new(order: RowOrder) -> Self {
        Self { order, width: 1, rows_seen: 0, latest: None, names: Vec::new(), stretches: BTreeMap::new() }
    }

    /// Adds the rows of a batch. Rows without a time are left out; columns of numbers and booleans are followed, those
    /// of the first batch.
    ///
    /// # Errors
    /// `InvalidArgument` when the time column is missing or is neither a timestamp nor a date; nothing is added then.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.keys(batch)?;
        if self.names.is_empty() {
            self.names = self.followed(batch);
        }
        self.latest = self.latest.max(keys.iter().flatten().max().copied());
        let columns = self.names.len();
        for key in keys.iter().flatten() {
            let index = key.div_euclid(self.width);
            let stretch = self.stretches.entry(index).or_default();
            stretch.rows += 1;
            stretch.columns.resize(columns, Mean::default());
            while self.stretches.len() > STRETCHES_MAX {
                self.coarsen();
            }
        }
        let slots: Vec<i64> = self.stretches.keys().copied().collect();
        let slot_of = |key: i64| slots.binary_search(&key.div_euclid(self.width)).ok();
        let rows: Vec<Option<usize>> = keys.into_iter().map(|key| key.and_then(slot_of)).collect();
        for (index, name) in self.names.iter().enumerate() {
            let Some(values) = batch.column_by_name(name).and_then(numbers) else { continue };
            let mut means = vec![Mean::default(); slots.len()];
            for (slot, value) in rows.iter().zip(values) {
                let value = value.filter(|value| value.is_finite());
                if let (Some(mean), Some(value)) = (slot.and_then(|slot| means.get_mut(slot)), value) {
                    mean.add(value);
                }
            }
            for (stretch, mean) in self.stretches.values_mut().zip(means) {
                stretch.columns.get_mut(index).into_iter().for_each(|known| known.merge(mean));
            }
        }
        Ok(())
    }

    /// The series so far.
    #[must_use]
    pub fn build(&self) -> WindowSeries {
        let starts: Vec<i64> = self.stretches.keys().map(|index| index.saturating_mul(self.width)).collect();
        let (first, last) = (starts.first().copied().unwrap_or(0), starts.last().copied().unwrap_or(0));
        #[allow(clippy::cast_precision_loss, reason = "a place on a chart")]
        let position = |start: i64| (start as f64 - first as f64) / (last as f64 - first as f64).max(1.0);
        let columns = self.names.iter().enumerate().map(|(index, name)| {
            let of = |stretch: &Stretch| stretch.columns.get(index).copied().unwrap_or_default();
            let mean = |stretch| Some(of(stretch)).filter(|mean| mean.n > 0).map_or(f64::NAN, |mean| mean.mean);
            let missing = |stretch: &Stretch| 1.0 - float(of(stretch).n) / float(stretch.rows).max(1.0);
            let stretches = || self.stretches.values();
            let series =
                ColumnSeries { means: stretches().map(mean).collect(), missing: stretches().map(missing).collect() };
            (name.clone(), series)
        });
        WindowSeries {
            title: match &self.order {
                RowOrder::Arrival => "row".to_owned(),
                RowOrder::Time(column) => column.clone(),
            },
            labels: starts.iter().map(|start| self.label(*start)).collect(),
            positions: starts.iter().map(|start| position(*start)).collect(),
            rows: self.stretches.values().map(|stretch| stretch.rows).collect(),
            latest: self.latest.filter(|_| self.order != RowOrder::Arrival).map(Timestamp::from_micros),
            columns: columns.collect(),
        }
    }

    /// Where each row lies: microseconds or the number of the row.
    fn keys(&mut self, batch: &RecordBatch) -> Result<Vec<Option<i64>>> {
        match &self.order {
            RowOrder::Arrival => {
                let first = self.rows_seen;
                let rows = i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                self.rows_seen = first.saturating_add(rows);
                Ok((first..self.rows_seen).map(Some).collect())
            }
            RowOrder::Time(name) => {
                let column = batch.column_by_name(name).ok_or_else(|| {
                    Error::invalid_argument(format!("values over time: the window has no column {name:?}"))
                })?;
                extract::instants(column).ok_or_else(|| {
                    let found = extract::type_name(column.data_type());
                    Error::invalid_argument(format!(
                        "values over time: column {name:?} must be a timestamp or a date, found {found}"
                    ))
                })
            }
        }
    }

    fn followed(&self, batch: &RecordBatch) -> Vec<String> {
        let schema = batch.schema();
        let fields = schema.fields().iter().filter(|field| {
            let followed = matches!(field.data_type(), ArrowType::Boolean) || is_number(field.data_type());
            followed && !matches!(&self.order, RowOrder::Time(time) if time == field.name())
        });
        fields.take(SERIES_COLUMNS_MAX).map(|field| field.name().clone()).collect()
    }

    /// Goes to the next width and joins what now lies together.
    fn coarsen(&mut self) {
        let before = self.width;
        let people = matches!(self.order, RowOrder::Time(_));
        let wider = WIDTHS.iter().copied().find(|width| people && *width > before);
        self.width = wider.unwrap_or_else(|| before.saturating_mul(2));
        for (index, stretch) in std::mem::take(&mut self.stretches) {
            let joined = index.saturating_mul(before).div_euclid(self.width);
            self.stretches.entry(joined).or_default().merge(&stretch);
        }
    }

    fn label(&self, start: i64) -> String {
        if self.order == RowOrder::Arrival {
            return start.saturating_add(1).to_string();
        }
        let text = Timestamp::from_micros(start).to_string();
        let text = text.trim_end_matches('Z').replace('T', " ");
        match text.strip_suffix(" 00:00:00") {
            Some(day) if self.width >= 86_400_000_000 => day.to_owned(),
            _ => text.strip_suffix(":00").map_or_else(|| text.clone(), str::to_owned),
        }
    }
}

fn is_number(data_type: &ArrowType) -> bool {
    data_type.is_integer() || data_type.is_floating() || matches!(data_type, ArrowType::Decimal128(_, _))
}

fn numbers(column: &ArrayRef) -> Option<Vec<Option<f64>>> {
    if matches!(column.data_type(), ArrowType::Boolean) {
        let flags = column.as_boolean().iter().map(|flag| flag.map(|flag| if flag { 1.0 } else { 0.0 }));
        return Some(flags.collect());
    }
    extract::numbers(column)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, TimestampSecondArray};
    use proptest::prelude::*;

    use super::*;

    fn window(times: &[i64], values: &[f64]) -> RecordBatch {
        let times: ArrayRef = Arc::new(TimestampSecondArray::from(times.to_vec()));
        let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("at", times), ("x", values)]).unwrap()
    }

    fn by_time() -> RowOrder {
        RowOrder::Time("at".to_owned())
    }

    #[test]
    fn half_hours_over_a_year_become_weeks() {
        let times: Vec<i64> = (0..17_520).map(|i| 852_076_800 + i * 1_800).collect();
        let values: Vec<f64> = (0..17_520).map(f64::from).collect();
        let series = WindowSeries::of(&window(&times, &values), &by_time()).unwrap();
        assert_eq!(series.labels()[..2], ["1996-12-26", "1997-01-02"]);
        assert_eq!(series.rows()[1], 7 * 48);
        assert_eq!(series.rows().iter().sum::<u64>(), 17_520);
        assert_eq!(series.latest().unwrap().to_string(), "1997-12-31T23:30:00Z");
    }

    #[test]
    fn huge_values_do_not_overflow() {
        let series = WindowSeries::of(&window(&[0, 0], &[f64::MAX, -f64::MAX]), &by_time()).unwrap();
        assert_eq!(series.column("x").unwrap().means, [0.0]);
    }

    #[test]
    fn a_column_that_is_no_time_is_named() {
        let order = RowOrder::Time("x".to_owned());
        let error = WindowSeries::of(&window(&[0], &[1.0]), &order).unwrap_err();
        assert!(error.message().contains("\"x\" must be a timestamp or a date, found Float64"), "{error}");
        assert!(WindowSeries::of(&window(&[0], &[1.0]), &RowOrder::Time("no".to_owned())).is_err());
    }

    proptest! {
        #[test]
        fn any_order_and_any_cut_give_the_same_series(
            rows in prop::collection::vec((any::<i64>(), prop_oneof![-1e6..1e6, Just(f64::NAN)]), 1..300),
            cut in 0..300_usize,
        ) {
            let (times, values): (Vec<i64>, Vec<f64>) = rows.iter().copied().unzip();
            let whole = WindowSeries::of(&window(&times, &values), &by_time()).unwrap();
            prop_assert!(whole.labels().len() <= STRETCHES_MAX);
            let mut builder = SeriesBuilder::new(by_time());
            let backwards: (Vec<i64>, Vec<f64>) = rows.iter().rev().copied().unzip();
            let batch = window(&backwards.0, &backwards.1);
            let cut = cut.min(rows.len());
            builder.push(&batch.slice(0, cut)).unwrap();
            builder.push(&batch.slice(cut, rows.len() - cut)).unwrap();
            let parts = builder.build();
            prop_assert_eq!((whole.labels(), whole.rows()), (parts.labels(), parts.rows()));
            let (a, b) = (whole.column("x").unwrap(), parts.column("x").unwrap());
            prop_assert_eq!(&a.missing, &b.missing);
            for (a, b) in a.means.iter().zip(&b.means) {
                prop_assert!((a - b).abs() <= 1e-6 || (a.is_nan() && b.is_nan()), "{a} {b}");
            }
        }
    }
}
