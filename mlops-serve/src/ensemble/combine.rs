//! Several answers to one: means and votes, element by element.
//!
//! Means are computed in double precision and given in the type of their parts. Votes go to the value with the greatest
//! weight; of values with equal weight the one that comes first among the parts wins, so that the answer does not depend
//! on chance.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, FixedSizeListArray, PrimitiveArray,
    cast::AsArray,
    types::{Float32Type, Float64Type},
};
use arrow_schema::DataType as ArrowType;
use arrow_select::interleave::interleave;
use mlops_core::{DataType, Error, Result, TensorSpec};
use serde::{Deserialize, Serialize};

/// How a step combines tensors of one type and shape; `weights` has one number per tensor, and none means equal ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Combination {
    /// The weighted mean of floating-point numbers: `sum(weight * value) / sum(weight)`.
    Mean {
        /// Not negative, together above 0.
        #[serde(default)]
        weights: Vec<f64>,
    },
    /// The value with the greatest weight among whole numbers, flags or texts. Of equals the first part's.
    Vote {
        /// Not negative, together above 0.
        #[serde(default)]
        weights: Vec<f64>,
    },
}

impl Combination {
    /// The plain mean.
    #[must_use]
    pub fn mean() -> Self {
        Self::Mean { weights: Vec::new() }
    }

    /// One vote per part.
    #[must_use]
    pub fn vote() -> Self {
        Self::Vote { weights: Vec::new() }
    }

    fn weights(&self) -> &[f64] {
        match self {
            Self::Mean { weights } | Self::Vote { weights } => weights,
        }
    }

    /// What speaks against combining tensors like `parts`.
    pub(super) fn fault(&self, parts: &[&TensorSpec]) -> Option<String> {
        let Some(first) = parts.first() else { return Some("it combines nothing".into()) };
        let weights = self.weights();
        if !weights.is_empty() && weights.len() != parts.len() {
            return Some(format!("it has {} weights for {} tensors", weights.len(), parts.len()));
        }
        let usable = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
        if !usable || (!weights.is_empty() && weights.iter().sum::<f64>() <= 0.0) {
            return Some(format!("weights {weights:?} must be numbers of at least 0, together above 0"));
        }
        let other = parts.iter().find(|part| (part.data_type, &part.row_shape) != (first.data_type, &first.row_shape));
        if let Some(other) = other {
            return Some(format!(
                "tensor {:?} is {} {:?} and tensor {:?} is {} {:?}; they must be alike",
                first.name, first.data_type, first.row_shape, other.name, other.data_type, other.row_shape
            ));
        }
        if let Some(part) = parts.iter().find(|part| part.nullable) {
            return Some(format!("tensor {:?} may have nulls, which cannot be combined", part.name));
        }
        let floats = matches!(first.data_type, DataType::Float32 | DataType::Float64);
        match self {
            Self::Mean { .. } if !floats => {
                Some(format!("a mean needs Float32 or Float64, tensor {:?} is {}", first.name, first.data_type))
            }
            Self::Vote { .. } if floats || first.data_type == DataType::Float16 => Some(format!(
                "a vote is of whole numbers, flags or texts; tensor {:?} is {}",
                first.name, first.data_type
            )),
            _ => None,
        }
    }

    /// Combines columns that passed [`Combination::fault`].
    ///
    /// # Errors
    /// `Internal` when they differ in length after all.
    pub(super) fn apply(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let first = columns.first().ok_or_else(|| Error::internal("nothing is combined"))?;
        if let Some(list) = first.as_fixed_size_list_opt() {
            let (ArrowType::FixedSizeList(field, width), rows) = (first.data_type(), list.len()) else {
                return Err(Error::internal("a list has no width"));
            };
            let inner: Option<Vec<ArrayRef>> = columns.iter().map(|column| values_of(column, rows)).collect();
            let inner = self.apply(&inner.ok_or_else(unlike)?)?;
            return Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(field), *width, inner, None)?));
        }
        if columns.iter().any(|column| column.len() != first.len()) {
            return Err(unlike());
        }
        let weights: Vec<f64> = match self.weights() {
            [] => vec![1.0; columns.len()],
            weights => weights.to_vec(),
        };
        match self {
            Self::Mean { .. } => match first.data_type() {
                ArrowType::Float32 => mean::<Float32Type>(columns, &weights, f64::from, |mean| mean as f32),
                _ => mean::<Float64Type>(columns, &weights, |value| value, |mean| mean),
            },
            Self::Vote { .. } => vote(columns, &weights),
        }
    }
}

fn unlike() -> Error {
    Error::internal("tensors that are combined differ in shape")
}

/// The values of a list column without those of rows that were sliced off.
fn values_of(column: &ArrayRef, rows: usize) -> Option<ArrayRef> {
    let list = column.as_fixed_size_list_opt()?;
    let width = usize::try_from(list.value_length()).ok()?;
    let values = list.values();
    (list.len() == rows && values.len() == rows * width).then(|| Arc::clone(values))
}

fn mean<T: ArrowPrimitiveType>(
    columns: &[ArrayRef],
    weights: &[f64],
    read: impl Fn(T::Native) -> f64,
    write: impl Fn(f64) -> T::Native,
) -> Result<ArrayRef> {
    let total: f64 = weights.iter().sum();
    let mut sums = vec![0.0; columns.first().map_or(0, |column| column.len())];
    for (column, weight) in columns.iter().zip(weights) {
        let values = column.as_primitive_opt::<T>().ok_or_else(unlike)?.values();
        sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += weight * read(value));
    }
    Ok(Arc::new(PrimitiveArray::<T>::from_iter_values(sums.into_iter().map(|sum| write(sum / total)))))
}

fn vote(columns: &[ArrayRef], weights: &[f64]) -> Result<ArrayRef> {
    let rows = columns.first().map_or(0, |column| column.len());
    let sides: Vec<&dyn Array> = columns.iter().map(|column| &**column).collect();
    // Which parts agree with which, column by column rather than row by row.
    let mut scores = vec![vec![0.0; rows]; columns.len()];
    for (score, left) in scores.iter_mut().zip(columns) {
        for (right, weight) in columns.iter().zip(weights) {
            let same = arrow_ord::cmp::eq(left, right)?;
            for (score, same) in score.iter_mut().zip(same.values()) {
                *score += if same { *weight } else { 0.0 };
            }
        }
    }
    let winner = |row: usize| {
        let of_row = scores.iter().filter_map(|score| score.get(row)).enumerate();
        let best = of_row
            .fold((0, f64::NEG_INFINITY), |best, (part, &score)| if score > best.1 { (part, score) } else { best });
        (best.0, row)
    };
    Ok(interleave(&sides, &(0..rows).map(winner).collect::<Vec<_>>())?)
}

#[cfg(test)]
mod tests {
    use arrow_array::{BooleanArray, Float32Array, Float64Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn floats(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    #[test]
    fn means_weigh_and_keep_type_and_shape() {
        let (a, b) = (floats(&[1.0, 2.0]), floats(&[3.0, 6.0]));
        assert_eq!(&Combination::mean().apply(&[Arc::clone(&a), Arc::clone(&b)]).unwrap(), &floats(&[2.0, 4.0]));
        let weighted = Combination::Mean { weights: vec![3.0, 1.0] };
        assert_eq!(&weighted.apply(&[a, b]).unwrap(), &floats(&[1.5, 3.0]));
        let spec = TensorSpec::tensor("t", DataType::Float32, [2]);
        let pair = |values: [f32; 4]| {
            let tensor =
                crate::Tensor::new("t", crate::TensorType::Fp32, [2, 2], Arc::new(Float32Array::from(values.to_vec())));
            crate::tensor::to_column(&spec, &tensor.unwrap()).unwrap()
        };
        let combined = Combination::mean().apply(&[pair([1., 2., 3., 4.]), pair([3., 2., 1., 0.])]).unwrap();
        assert_eq!(&combined, &pair([2., 2., 2., 2.]));
    }

    #[test]
    fn votes_go_to_the_heaviest_value_and_of_equals_to_the_first() {
        let votes: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec!["a", "a", "x"])),
            Arc::new(StringArray::from(vec!["b", "b", "y"])),
            Arc::new(StringArray::from(vec!["b", "a", "z"])),
        ];
        let plain = Combination::vote().apply(&votes).unwrap();
        assert_eq!(plain.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["b", "a", "x"]);
        let weighted = Combination::Vote { weights: vec![5.0, 1.0, 1.0] }.apply(&votes).unwrap();
        assert_eq!(weighted.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "a", "x"]);
        let flags: [ArrayRef; 2] =
            [Arc::new(BooleanArray::from(vec![true])), Arc::new(BooleanArray::from(vec![false]))];
        assert!(Combination::vote().apply(&flags).unwrap().as_boolean().value(0));
    }

    #[test]
    fn what_cannot_be_combined_is_named() {
        let (x, y) = (TensorSpec::column("x", DataType::Float64), TensorSpec::column("y", DataType::Int64));
        let fault = |how: Combination, parts: &[&TensorSpec]| how.fault(parts).unwrap();
        assert!(fault(Combination::mean(), &[&x, &y]).contains("\"y\" is Int64"));
        assert!(fault(Combination::mean(), &[&y]).contains("a mean needs"));
        assert!(fault(Combination::vote(), &[&x]).contains("a vote is of"));
        assert!(fault(Combination::mean(), &[]).contains("nothing"));
        assert!(fault(Combination::Mean { weights: vec![1.0] }, &[&x, &x]).contains("1 weights for 2"));
        assert!(fault(Combination::Mean { weights: vec![0.0] }, &[&x]).contains("together above 0"));
        assert!(fault(Combination::Mean { weights: vec![f64::NAN] }, &[&x]).contains("together above 0"));
        assert!(fault(Combination::vote(), &[&y.nullable()]).contains("nulls"));
    }

    proptest! {
        #[test]
        fn a_vote_is_the_most_frequent_value(rows in prop::collection::vec(prop::collection::vec(0_i64..3, 4), 0..20)) {
            let columns: Vec<ArrayRef> = (0..4)
                .map(|part| Arc::new(rows.iter().map(|row| Some(row[part])).collect::<Int64Array>()) as ArrayRef)
                .collect();
            let voted = Combination::vote().apply(&columns).unwrap();
            let voted = voted.as_primitive::<arrow_array::types::Int64Type>();
            for (row, found) in rows.iter().zip(voted.values()) {
                let count = |value: i64| row.iter().filter(|other| **other == value).count();
                let best = row.iter().map(|value| count(*value)).max().unwrap();
                prop_assert_eq!(Some(found), row.iter().find(|value| count(**value) == best));
            }
        }
    }
}
