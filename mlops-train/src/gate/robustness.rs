//! How much worse a model becomes on worse data: noise, missing values, shifts.
//!
//! Invariant: the same seed disturbs the same cells in the same way.

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::columns;
use crate::{
    data::{Column, values},
    rng::SeededRng,
};

/// What happens to the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Disturbance {
    /// Normal noise on every number, in standard deviations of its column.
    Noise {
        /// Its standard deviation.
        deviations: f64,
    },
    /// Cells that go missing, of any type.
    Missing {
        /// Share of cells, above 0 and at most 1.
        share: f64,
    },
    /// All numbers of a column move, in its standard deviations.
    Shift {
        /// The column; all numeric ones when there is none.
        column: Option<String>,
        /// By how much.
        deviations: f64,
    },
}

impl Disturbance {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Noise { deviations } => format!("noise of {deviations} deviations"),
            Self::Missing { share } => format!("{share} of cells missing"),
            Self::Shift { column: Some(column), deviations } => format!("{column} shifted by {deviations} deviations"),
            Self::Shift { column: None, deviations } => format!("all numbers shifted by {deviations} deviations"),
        }
    }

    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Noise { deviations } if !(*deviations > 0.0 && deviations.is_finite()) => {
                Some("needs noise above zero")
            }
            Self::Shift { deviations, .. } if !deviations.is_finite() || *deviations == 0.0 => {
                Some("needs a shift other than zero")
            }
            Self::Missing { share } if !(*share > 0.0 && *share <= 1.0) => {
                Some("needs a share of missing cells above 0 and at most 1")
            }
            _ => None,
        }
    }

    /// The batch disturbed; text only ever goes missing, switches keep their values. Dictionaries come out as columns
    /// of their entries.
    ///
    /// # Errors
    /// `InvalidArgument` when a named column is missing or holds no numbers, or a column has a type of numbers that
    /// cannot be changed.
    pub fn apply(&self, batch: &RecordBatch, seed: u64) -> Result<RecordBatch> {
        let batch = &columns::plain_columns(batch)?;
        let mut out = batch.clone();
        for (place, field) in batch.schema_ref().fields().iter().enumerate() {
            let mut rng = SeededRng::new(seed, 7_000 + place as u64);
            let array = batch.column(place);
            match self {
                Self::Missing { share } => {
                    let lost: Vec<bool> = (0..batch.num_rows()).map(|_| rng.uniform() < *share).collect();
                    out = columns::with_column(&out, place, without(array, &lost)?)?;
                }
                Self::Shift { column: Some(column), .. } if column != field.name() => {}
                Self::Noise { deviations } | Self::Shift { deviations, .. } => {
                    let named = matches!(self, Self::Shift { column: Some(_), .. });
                    let values = match values(field.name(), array)? {
                        Column::Numbers(values) => values,
                        Column::Categories(_) if !named => continue,
                        Column::Categories(_) => {
                            return Err(Error::invalid_argument(format!(
                                "column {:?} holds text and cannot be shifted",
                                field.name()
                            )));
                        }
                    };
                    let scale = deviation(&values) * deviations;
                    let noisy = matches!(self, Self::Noise { .. });
                    let moved: Vec<f64> = values
                        .into_iter()
                        .map(|value| value + if noisy { scale * rng.normal() } else { scale })
                        .collect();
                    // Switches have no scale to disturb.
                    if *array.data_type() != arrow_schema::DataType::Boolean {
                        let array = columns::from_numbers(array.data_type(), &moved).ok_or_else(|| {
                            let (name, kind) = (field.name(), array.data_type());
                            Error::invalid_argument(format!(
                                "column {name:?} of type {kind} cannot be disturbed; make it Float32 or Float64"
                            ))
                            .with("column", name)
                        })?;
                        out = columns::with_column(&out, place, array)?;
                    }
                }
            }
        }
        if let Self::Shift { column: Some(column), .. } = self {
            columns::column(batch, column)?;
        }
        Ok(out)
    }
}

/// The column with nulls where rows are lost.
fn without(array: &arrow_array::ArrayRef, lost: &[bool]) -> Result<arrow_array::ArrayRef> {
    let nulls = arrow_array::new_null_array(array.data_type(), 1);
    let kept = |(row, lost): (usize, &bool)| if *lost { (1, 0) } else { (0, row) };
    let picks: Vec<(usize, usize)> = lost.iter().enumerate().map(kept).collect();
    arrow_select::interleave::interleave(&[array.as_ref(), nulls.as_ref()], &picks)
        .map_err(|error| Error::internal(format!("cells could not be removed: {error}")))
}

/// Of the numbers that are there; zero when there are fewer than two.
fn deviation(values: &[f64]) -> f64 {
    let known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let n = known.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = known.iter().sum::<f64>() / n;
    (known.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        Array, ArrayRef, DictionaryArray, Float64Array, Int32Array, StringArray,
        cast::AsArray,
        types::{Float64Type, Int32Type},
    };

    use super::*;

    fn batch() -> RecordBatch {
        let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..500).map(f64::from)));
        let n: ArrayRef = Arc::new(Int32Array::from_iter_values((0..500).map(|row| row % 9)));
        let t: ArrayRef = Arc::new(StringArray::from_iter_values((0..500).map(|row| format!("v{}", row % 3))));
        RecordBatch::try_from_iter([("x", x), ("n", n), ("t", t)]).unwrap()
    }

    #[test]
    fn seeds_disturb_alike_and_types_stay() {
        for disturbance in [
            Disturbance::Noise { deviations: 0.5 },
            Disturbance::Missing { share: 0.2 },
            Disturbance::Shift { column: None, deviations: 1.0 },
        ] {
            let (a, b) = (disturbance.apply(&batch(), 1).unwrap(), disturbance.apply(&batch(), 1).unwrap());
            assert!(a == b && a != batch(), "{disturbance:?}");
            for (before, after) in batch().columns().iter().zip(a.columns()) {
                assert_eq!(before.data_type(), after.data_type());
            }
        }
        let missing = Disturbance::Missing { share: 0.2 }.apply(&batch(), 3).unwrap();
        let share = missing.columns().iter().map(|column| column.null_count()).sum::<usize>() as f64 / 1_500.0;
        assert!((share - 0.2).abs() < 0.05, "{share}");
    }

    #[test]
    fn dictionaries_are_disturbed_as_their_entries() {
        let words: DictionaryArray<Int32Type> = vec!["a", "b", "a", "b"].into_iter().collect();
        let batch = |x: ArrayRef, text: ArrayRef| RecordBatch::try_from_iter([("x", x), ("text", text)]).unwrap();
        let keys = Int32Array::from(vec![0, 1, 2, 1]);
        let entries = Arc::new(Float64Array::from(vec![1.0, 2.0, 5.0]));
        let kept = batch(Arc::new(DictionaryArray::new(keys, entries)), Arc::new(words));
        let plain: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 5.0, 2.0]));
        let plain = batch(plain, Arc::new(StringArray::from(vec!["a", "b", "a", "b"])));
        for disturbance in [
            Disturbance::Noise { deviations: 0.5 },
            Disturbance::Missing { share: 0.5 },
            Disturbance::Shift { column: Some("x".into()), deviations: 1.0 },
        ] {
            let (found, expected) = (disturbance.apply(&kept, 1).unwrap(), disturbance.apply(&plain, 1).unwrap());
            assert!(expected != plain, "{disturbance:?}");
            assert_eq!(found.columns(), expected.columns(), "{disturbance:?}");
        }
    }

    #[test]
    fn shifts_move_by_deviations() {
        let shifted = Disturbance::Shift { column: Some("x".into()), deviations: 2.0 }.apply(&batch(), 0).unwrap();
        let values = shifted.column(0).as_primitive::<Float64Type>();
        assert!((values.value(0) - 2.0 * 144.481_833_2).abs() < 1e-5, "{}", values.value(0));
        assert_eq!(shifted.column(1), batch().column(1));
        for wrong in ["t", "z"] {
            assert!(Disturbance::Shift { column: Some(wrong.into()), deviations: 1.0 }.apply(&batch(), 0).is_err());
        }
    }
}
