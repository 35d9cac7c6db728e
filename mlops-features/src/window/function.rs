//! The aggregate functions over cells in order. Null cells are skipped.

use std::cmp::Ordering;

use hashbrown::HashSet;
use mlops_core::{Error, Result};

use crate::{
    definition::{Function, Quantile},
    value::{Value, encode},
};

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
        Function::Std => variance(numbers(cells)).map_or(Value::Null, |variance| Value::Float(variance.sqrt())),
        Function::Var => variance(numbers(cells)).map_or(Value::Null, Value::Float),
        Function::Min => cells.min_by(|a, b| order(a, b)).cloned().unwrap_or_default(),
        Function::Max => cells.max_by(|a, b| order(a, b)).cloned().unwrap_or_default(),
        Function::Last => cells.next_back().cloned().unwrap_or_default(),
        Function::First => cells.next().cloned().unwrap_or_default(),
        Function::LastN(n) => last(cells, n),
        Function::ApproxDistinct => Value::Int(i64::try_from(distinct(cells)).unwrap_or(i64::MAX)),
        Function::ApproxQuantile(quantile) => quantile_of(numbers(cells), quantile),
    })
}

/// Up to `n` cells, newest first.
fn last<'a>(cells: impl DoubleEndedIterator<Item = &'a Value>, n: u32) -> Value {
    let newest: Vec<Value> = cells.rev().take(n as usize).cloned().collect();
    if newest.is_empty() { Value::Null } else { Value::List(newest) }
}

fn distinct<'a>(cells: impl Iterator<Item = &'a Value>) -> usize {
    let bytes = |cell: &Value| {
        let mut bytes = Vec::new();
        match cell {
            Value::Float(float) if float.is_nan() => encode(&Value::Float(f64::NAN), &mut bytes),
            // Makes 0 of -0.
            Value::Float(float) => encode(&Value::Float(float + 0.0), &mut bytes),
            other => encode(other, &mut bytes),
        }
        bytes
    };
    cells.map(bytes).collect::<HashSet<_>>().len()
}

fn quantile_of(numbers: impl Iterator<Item = f64>, quantile: Quantile) -> Value {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_unstable_by(|left, right| float_order(*left, *right));
    let (below, share) = quantile.place(numbers.len());
    let Some(low) = numbers.get(below) else { return Value::Null };
    match numbers.get(below + 1) {
        Some(high) if share > 0.0 => Value::Float(low + (high - low) * share),
        _ => Value::Float(*low),
    }
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

fn variance(numbers: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let (mean, count) = mean(numbers.clone()).filter(|(_, count)| *count >= 2.0)?;
    let squares: f64 = numbers.map(|number| (number - mean) * (number - mean)).sum();
    Some(squares / (count - 1.0))
}

/// NaN is above every number, whatever its sign; -0.0 is below 0.0.
fn float_order(left: f64, right: f64) -> Ordering {
    left.is_nan().cmp(&right.is_nan()).then_with(|| left.total_cmp(&right))
}

fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Float(left), Value::Float(right)) => float_order(*left, *right),
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
        assert_eq!(of(Function::First, &cells), Value::Float(1.5));
        assert_eq!(of(Function::LastN(2), &cells), Value::List(floats(&[10.125, 4.0])));
        assert_eq!(of(Function::LastN(9), &cells), Value::List(floats(&[10.125, 4.0, -2.25, 1.5])));
        // statistics.variance of the same.
        let Value::Float(variance) = of(Function::Var, &cells) else { panic!("a number") };
        assert!((variance - 27.035_156_25).abs() < 1e-13, "{variance}");
    }

    #[test]
    fn quantiles_agree_with_numpy() {
        // numpy 2 quantile([1.5, -2.25, 4, 10.125], q).
        let cells = floats(&[1.5, -2.25, 4.0, 10.125]);
        for (share, expected) in
            [(0.0, -2.25), (0.25, 0.5625), (0.5, 2.75), (0.9, 8.287_499_999_999_998), (1.0, 10.125)]
        {
            let quantile = Function::ApproxQuantile(Quantile::new(share).unwrap());
            let Value::Float(found) = of(quantile, &cells) else { panic!("a number") };
            assert!((found - expected).abs() < 1e-12, "{share}: {found}");
        }
        let median = Function::ApproxQuantile(Quantile::new(0.5).unwrap());
        assert_eq!(of(median, &floats(&[f64::NAN, 1.0, f64::INFINITY])), Value::Float(f64::INFINITY));
        assert_eq!(of(median, &[Value::Int(3)]), Value::Float(3.0));
    }

    #[test]
    fn different_values_are_counted() {
        let cells = floats(&[0.0, -0.0, f64::NAN, -f64::NAN, 1.0, 1.0]);
        assert_eq!(of(Function::ApproxDistinct, &cells), Value::Int(3));
        let texts = ["a", "b", "a"].map(|text| Value::Text(text.into()));
        assert_eq!(of(Function::ApproxDistinct, &texts), Value::Int(2));
    }

    #[test]
    fn edges() {
        for function in [Function::Count, Function::ApproxDistinct] {
            assert_eq!(of(function, &[Value::Null]), Value::Int(0), "{function}");
        }
        use Function as F;
        let median = F::ApproxQuantile(Quantile::new(0.5).unwrap());
        for function in [F::Sum, F::Mean, F::Min, F::Max, F::Std, F::Var, F::Last, F::First, F::LastN(3), median] {
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
