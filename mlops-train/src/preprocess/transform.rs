//! Columns into rows of numbers.

use std::{collections::HashMap, ops::Range};

use arrow_array::{Array, ArrayRef, RecordBatch};
use mlops_core::{Error, Result};

use super::{
    matrix::Matrix,
    plan::{ColumnPlan, Step},
    quantile::normal_score,
};
use crate::data::{Column, decode, plain};

/// Rows that are decoded and written at a time: they stay in the cache until all columns have been.
const ROWS: usize = 512;

/// The numbers that `columns` give, `width` for each row.
///
/// # Errors
/// `InvalidArgument` naming the column that is missing or of another type.
pub(super) fn transform(columns: &[ColumnPlan], width: usize, batch: &RecordBatch) -> Result<Matrix> {
    let columns = columns.iter().map(|plan| Ready::of(plan, batch)).collect::<Result<Vec<_>>>()?;
    let mut matrix = Matrix::zeros(batch.num_rows(), width);
    for first in (0..batch.num_rows()).step_by(ROWS) {
        let rows = first..batch.num_rows().min(first + ROWS);
        let mut at = 0;
        for column in &columns {
            column.write(&mut matrix, rows.clone(), at)?;
            at += column.plan.step.width();
        }
    }
    Ok(matrix)
}

/// A column and what becomes of its values.
struct Ready<'a> {
    plan: &'a ColumnPlan,
    array: ArrayRef,
    /// Positions of the categories of a step that has some.
    codes: HashMap<&'a str, usize>,
}

impl<'a> Ready<'a> {
    fn of(plan: &'a ColumnPlan, batch: &RecordBatch) -> Result<Self> {
        let ColumnPlan { input, step } = plan;
        let Some(array) = batch.column_by_name(&input.name) else {
            return Err(Error::invalid_argument(format!("input column {:?} is missing", input.name)));
        };
        let array = plain(array)?;
        // The type is told where there is no row, too.
        decode(&input.name, input.data_type, &array.slice(0, 0))?;
        let codes = step.categories().iter().enumerate().map(|(code, category)| (category.as_str(), code)).collect();
        Ok(Self { plan, array, codes })
    }

    /// Writes some rows, whose numbers begin at column `at`.
    fn write(&self, matrix: &mut Matrix, rows: Range<usize>, at: usize) -> Result<()> {
        let ColumnPlan { input, step } = self.plan;
        let values = self.array.slice(rows.start, rows.len());
        let to = (rows, at);
        match (decode(&input.name, input.data_type, &values)?, step) {
            (Column::Numbers(values), Step::Number { fill, mean, scale, indicator }) => {
                write_numbers(matrix, to, (*fill, *indicator), values, |value| (value - mean) / scale);
            }
            (Column::Numbers(values), Step::Quantile { fill, quantiles, indicator }) => {
                write_numbers(matrix, to, (*fill, *indicator), values, |value| normal_score(value, quantiles));
            }
            (Column::Categories(values), step) => {
                let unseen = self.codes.len();
                let code = |category| self.codes.get(category).copied().unwrap_or(unseen);
                write_codes(matrix, to, step, values.into_iter().map(|value| value.map(code)));
            }
            // Steps were checked to fit the types of their columns.
            (Column::Numbers(_), _) => {}
        }
        Ok(())
    }
}

fn write_numbers(
    matrix: &mut Matrix,
    (rows, at): (Range<usize>, usize),
    (fill, indicator): (Option<f64>, bool),
    mut values: Vec<f64>,
    scale: impl Fn(f64) -> f64,
) {
    if indicator {
        for (row, value) in rows.clone().zip(&values) {
            matrix.set(row, at + 1, f64::from(u8::from(value.is_nan())));
        }
    }
    let fill = fill.unwrap_or(f64::NAN);
    values.iter_mut().for_each(|value| *value = scale(if value.is_nan() { fill } else { *value }));
    for (row, value) in rows.zip(values) {
        matrix.set(row, at, value);
    }
}

fn write_codes(
    matrix: &mut Matrix,
    (rows, at): (Range<usize>, usize),
    step: &Step,
    codes: impl Iterator<Item = Option<usize>>,
) {
    for (row, code) in rows.zip(codes) {
        match step {
            Step::OneHot { categories, indicator } => {
                let missing = categories.len() + usize::from(*indicator);
                matrix.set(row, at + code.unwrap_or(missing), 1.0);
            }
            Step::Target { means, prior, missing, .. } => {
                let mean = code.map_or(*missing, |code| means.get(code).copied().unwrap_or(*prior));
                matrix.set(row, at, mean);
            }
            Step::Code { categories } => matrix.set(row, at, code.unwrap_or(categories.len() + 1) as f64),
            _ => matrix.set(row, at, code.map_or(f64::NAN, |code| code as f64)),
        }
    }
}
