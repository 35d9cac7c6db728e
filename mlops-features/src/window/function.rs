//! The aggregate functions over cells in order. Null cells are skipped.

use std::cmp::Ordering;

use mlops_core::{Error, Result};

use crate::{definition::Function, value::Value};

/// `function` over `cells`, oldest first. `integer` says that the column holds integers.
///
/// # Errors
/// `FailedPrecondition` when an integer sum does not fit 64 bits.
pub(crate) fn aggregate<'a>(
    function: Function,
    integer: bool,
    cells: impl DoubleEndedIterator<Item = &'a Value> + Clone,
) -> Result<Value> {
    let mut cells = cells.filter(|cell| **cell != Value::Null);
    Ok(match function {
        Function::Count => Value::Int(i64::try_from(cells.count()).unwrap_or(i64::MAX)),
        Function::Sum if integer => integer_sum(cells)?,
        Function::Sum => numbers(cells).reduce(|sum, number| sum + number).map_or(Value::Null, Value::Float),
        Function::Mean => mean(numbers(cells)).map_or(Value::Null, |(mean, _)| Value::Float(mean)),
        Function::Std => std(numbers(cells)),
        Function::Min => cells.min_by(|a, b| order(a, b)).cloned().unwrap_or_default(),
        Function::Max => cells.max_by(|a, b| order(a, b)).cloned().unwrap_or_default(),
        Function::Last => cells.next_back().cloned().unwrap_or_default(),
    })
}

#[allow(clippy::cast_precision_loss, reason = "integers enter means and deviations as the nearest double")]
fn numbers<'a>(cells: impl Iterator<Item = &'a Value> + Clone) -> impl Iterator<Item = f64> + Clone {
    cells.filter_map(|cell| match cell {
        Value::Int(int) => Some(*int as f64),
        Value::Float(float) => Some(*float),
        _ => None,
    })
}

fn integer_sum<'a>(cells: impl Iterator<Item = &'a Value>) -> Result<Value> {
    let integers = cells.filter_map(|cell| if let Value::Int(int) = cell { Some(i128::from(*int)) } else { None });
    let Some(sum) = integers.reduce(|sum, int| sum + int) else { return Ok(Value::Null) };
    let too_large =
        |_| Error::failed_precondition("a windowed integer sum does not fit 64 bits; aggregate a float column");
    Ok(Value::Int(i64::try_from(sum).map_err(too_large)?))
}

#[allow(clippy::cast_precision_loss, reason = "a window holds far fewer than 2^53 events")]
fn mean(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (count, sum) = numbers
        .fold((0_u64, None), |(count, sum), number| (count + 1, Some(sum.map_or(number, |sum: f64| sum + number))));
    sum.map(|sum| (sum / count as f64, count as f64))
}

fn std(numbers: impl Iterator<Item = f64> + Clone) -> Value {
    match mean(numbers.clone()) {
        Some((mean, count)) if count >= 2.0 => {
            let squares: f64 = numbers.map(|number| (number - mean) * (number - mean)).sum();
            Value::Float((squares / (count - 1.0)).sqrt())
        }
        _ => Value::Null,
    }
}

/// NaN is above every number, whatever its sign; -0.0 is below 0.0.
fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Float(left), Value::Float(right)) => {
            left.is_nan().cmp(&right.is_nan()).then_with(|| left.total_cmp(right))
        }
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f64]) -> Vec<Value> {
        values.iter().map(|value| Value::Float(*value)).collect()
    }

    fn of(function: Function, cells: &[Value]) -> Value {
        aggregate(function, false, cells.iter()).unwrap()
    }

    #[test]
    fn values_agree_with_the_python_standard_library() {
        // Python 3 statistics.mean and statistics.stdev of [1.5, -2.25, 4, 10.125].
        let cells = floats(&[1.5, -2.25, 4.0, 10.125]);
        assert_eq!(of(Function::Mean, &cells), Value::Float(3.34375));
        let Value::Float(std) = of(Function::Std, &cells) else { panic!("a number") };
        assert!((std - 5.199_534_233_948_268).abs() < 1e-14, "{std}");
        assert_eq!(of(Function::Min, &cells), Value::Float(-2.25));
        assert_eq!(of(Function::Last, &cells), Value::Float(10.125));
    }

    #[test]
    fn edges() {
        assert_eq!(of(Function::Count, &[]), Value::Int(0));
        for function in [Function::Sum, Function::Mean, Function::Min, Function::Max, Function::Std, Function::Last] {
            assert_eq!(of(function, &[Value::Null]), Value::Null, "{function}");
        }
        assert_eq!(of(Function::Std, &floats(&[1.0])), Value::Null);
        assert_eq!(of(Function::Std, &floats(&[3.0, 3.0])), Value::Float(0.0));
        assert_eq!(of(Function::Min, &floats(&[f64::NAN, 2.0])), Value::Float(2.0));
        let large = [Value::Int(i64::MAX), Value::Int(1), Value::Int(-1)];
        assert_eq!(aggregate(Function::Sum, true, large.iter()).unwrap(), Value::Int(i64::MAX));
        assert!(aggregate(Function::Sum, true, large[..2].iter()).is_err());
        let cells = [Value::Int(1), Value::Null, Value::Int(3)];
        assert_eq!(of(Function::Count, &cells), Value::Int(2));
    }
}
