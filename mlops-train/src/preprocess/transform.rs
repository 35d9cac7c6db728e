//! Columns into rows of numbers.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};

use super::{
    matrix::Matrix,
    plan::{ColumnPlan, Step},
    quantile::normal_score,
};
use crate::data::{Column, decode};

/// Columns that are decoded at a time, which bounds the memory beside the result.
const COLUMNS: usize = 8;

/// Rows that are written at a time: they stay in the cache until all of these columns have been.
const ROWS: usize = 256;

/// The numbers that `columns` give, `width` for each row.
///
/// # Errors
/// `InvalidArgument` naming the column that is missing or of another type.
pub(super) fn transform(columns: &[ColumnPlan], width: usize, batch: &RecordBatch) -> Result<Matrix> {
    let mut matrix = Matrix::zeros(batch.num_rows(), width);
    let mut at = 0;
    for plans in columns.chunks(COLUMNS) {
        let group = plans.iter().map(|plan| Ready::of(plan, batch)).collect::<Result<Vec<_>>>()?;
        for first in (0..batch.num_rows()).step_by(ROWS) {
            let mut place = at;
            for column in &group {
                column.write(&mut matrix, first, place);
                place += column.step.width();
            }
        }
        at += plans.iter().map(|plan| plan.step.width()).sum::<usize>();
    }
    Ok(matrix)
}

/// A decoded column and what becomes of its values.
struct Ready<'a> {
    step: &'a Step,
    values: Values,
}

/// Values of a column by row.
enum Values {
    Numbers(Vec<f64>),
    /// Positions of categories, as many as there are for an unseen one; none is missing.
    Codes(Vec<Option<usize>>),
}

impl<'a> Ready<'a> {
    fn of(ColumnPlan { input, step }: &'a ColumnPlan, batch: &RecordBatch) -> Result<Self> {
        let Some(array) = batch.column_by_name(&input.name) else {
            return Err(Error::invalid_argument(format!("input column {:?} is missing", input.name)));
        };
        let values = match decode(&input.name, input.data_type, array)? {
            Column::Numbers(values) => Values::Numbers(values),
            Column::Categories(values) => Values::Codes(codes(step, &values)),
        };
        Ok(Self { step, values })
    }

    /// Writes the rows of a block from `first` on, whose numbers begin at column `at`.
    fn write(&self, matrix: &mut Matrix, first: usize, at: usize) {
        match (&self.values, self.step) {
            (Values::Numbers(values), Step::Number { fill, mean, scale, indicator }) => {
                write_numbers(matrix, (first, at), (*fill, *indicator), values, |value| (value - mean) / scale);
            }
            (Values::Numbers(values), Step::Quantile { fill, quantiles, indicator }) => {
                let score = |value| normal_score(value, quantiles);
                write_numbers(matrix, (first, at), (*fill, *indicator), values, score);
            }
            (Values::Codes(codes), step) => write_codes(matrix, (first, at), step, codes),
            // Steps were checked to fit the types of their columns.
            (Values::Numbers(_), _) => {}
        }
    }
}

fn write_numbers(
    matrix: &mut Matrix,
    (first, at): (usize, usize),
    (fill, indicator): (Option<f64>, bool),
    values: &[f64],
    scale: impl Fn(f64) -> f64,
) {
    for (row, &value) in values.iter().enumerate().skip(first).take(ROWS) {
        let known = if value.is_nan() { fill.unwrap_or(f64::NAN) } else { value };
        matrix.set(row, at, scale(known));
        if indicator {
            matrix.set(row, at + 1, f64::from(u8::from(value.is_nan())));
        }
    }
}

fn write_codes(matrix: &mut Matrix, (first, at): (usize, usize), step: &Step, codes: &[Option<usize>]) {
    for (row, &code) in codes.iter().enumerate().skip(first).take(ROWS) {
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

/// The positions of values among the categories of a step.
fn codes(step: &Step, values: &[Option<&str>]) -> Vec<Option<usize>> {
    let (Step::Ordinal { categories }
    | Step::Code { categories }
    | Step::OneHot { categories, .. }
    | Step::Target { categories, .. }) = step
    else {
        return Vec::new();
    };
    let codes: HashMap<&str, usize> =
        categories.iter().enumerate().map(|(code, category)| (category.as_str(), code)).collect();
    let code = |category| codes.get(category).copied().unwrap_or(categories.len());
    values.iter().map(|value| value.map(code)).collect()
}
