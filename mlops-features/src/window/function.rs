//! The aggregate functions over a window that is cut into stretches, oldest first. Null cells are skipped.

use mlops_core::{Error, Result};

use super::{
    different::{self, DifferentBuilder},
    sorted::{self, Run},
    tile::{Extremes, Moments, Partial, number},
};
use crate::{
    cell::Cell,
    definition::{Function, Quantile},
    value::Value,
};

/// Neighbouring events of a window, of which one column is looked at.
pub(crate) trait Stretch {
    /// What its cells come to, where that is known without looking at them.
    fn partial(&self) -> Result<Option<Partial<'_>>>;

    /// Its cells, oldest first, nulls among them.
    fn cells(&self) -> Result<Vec<Cell<'_>>>;
}

/// Cells of which nothing is known beforehand.
impl Stretch for &[Value] {
    fn partial(&self) -> Result<Option<Partial<'_>>> {
        Ok(None)
    }

    fn cells(&self) -> Result<Vec<Cell<'_>>> {
        Ok(self.iter().map(Cell::from).collect())
    }
}

/// `function` over `window`, oldest stretch first. `integer` says that the column holds integers.
///
/// # Errors
/// `FailedPrecondition` when an integer sum does not fit 64 bits, and those of reading the stretches.
pub(crate) fn aggregate(function: Function, integer: bool, window: &[impl Stretch]) -> Result<Value> {
    Ok(match function {
        Function::Count => Value::Int(i64::try_from(count(window)?).unwrap_or(i64::MAX)),
        Function::Sum | Function::Mean => sum(function, integer, window)?,
        Function::Std => variance(window)?.map_or(Value::Null, |variance| Value::Float(variance.sqrt())),
        Function::Var => variance(window)?.map_or(Value::Null, Value::Float),
        Function::Min => extremes(window)?.0,
        Function::Max => extremes(window)?.1,
        Function::Last => newest(window, 1)?.pop().unwrap_or_default(),
        Function::First => oldest(window)?,
        Function::LastN(n) => match newest(window, n as usize)? {
            none if none.is_empty() => Value::Null,
            newest => Value::List(newest),
        },
        Function::ApproxDistinct => Value::Int(i64::try_from(distinct(window)?).unwrap_or(i64::MAX)),
        Function::ApproxQuantile(quantile) => quantile_of(window, quantile)?,
    })
}

/// Calls `visit` for every cell of `stretch` that is not null.
fn each<'a>(stretch: &'a impl Stretch, visit: impl FnMut(Cell<'a>)) -> Result<()> {
    stretch.cells()?.into_iter().filter(|cell| *cell != Cell::Null).for_each(visit);
    Ok(())
}

fn count(window: &[impl Stretch]) -> Result<u64> {
    let mut count = 0;
    for stretch in window {
        match stretch.partial()? {
            Some(partial) => count += u64::from(partial.count),
            None => each(stretch, |_| count += 1)?,
        }
    }
    Ok(count)
}

fn sum(function: Function, integer: bool, window: &[impl Stretch]) -> Result<Value> {
    let mut moments = Moments::default();
    for stretch in window {
        match stretch.partial()?.and_then(|partial| Some((partial.count, partial.sum?))) {
            Some((count, sum)) => {
                moments.count += u64::from(count);
                moments.sum.merge(sum);
            }
            None => each(stretch, |cell| {
                moments.count += 1;
                moments.add_value(&cell);
            })?,
        }
    }
    let too_large =
        || Error::failed_precondition("a windowed integer sum does not fit 64 bits; aggregate a float column");
    Ok(match (moments.count, function) {
        (0, _) => Value::Null,
        (count, Function::Mean) => Value::Float(moments.sum.mean(count)),
        _ if integer => Value::Int(moments.sum.integer().ok_or_else(too_large)?),
        _ => Value::Float(moments.sum.sum()),
    })
}

fn variance(window: &[impl Stretch]) -> Result<Option<f64>> {
    let mut moments = Moments::default();
    for stretch in window {
        match stretch.partial()?.and_then(|partial| Some((partial.count, partial.sum?, partial.squares?))) {
            Some((count, sum, squares)) => {
                moments.count += u64::from(count);
                moments.sum.merge(sum);
                moments.squares.merge(squares);
            }
            None => each(stretch, |cell| {
                moments.count += 1;
                moments.add_value(&cell);
                moments.add_square(&cell);
            })?,
        }
    }
    Ok((moments.count >= 2).then(|| moments.sum.variance(&moments.squares, moments.count)))
}

/// The least and the greatest cell.
fn extremes(window: &[impl Stretch]) -> Result<(Value, Value)> {
    let mut extremes = Extremes::default();
    for stretch in window {
        match stretch.partial()?.and_then(|partial| partial.extremes) {
            Some((least, greatest)) => extremes.join(least, greatest),
            None => each(stretch, |cell| extremes.add(cell))?,
        }
    }
    let value = |cell: Option<Cell<'_>>| cell.map_or(Value::Null, Value::from);
    Ok((value(extremes.least), value(extremes.greatest)))
}

/// Up to `n` cells, newest first.
fn newest(window: &[impl Stretch], n: usize) -> Result<Vec<Value>> {
    let mut newest = Vec::new();
    for stretch in window.iter().rev().filter(|stretch| may_have_values(*stretch)) {
        let cells = stretch.cells()?.into_iter().rev().filter(|cell| *cell != Cell::Null);
        newest.extend(cells.take(n - newest.len()).map(Value::from));
        if newest.len() >= n {
            break;
        }
    }
    Ok(newest)
}

fn oldest(window: &[impl Stretch]) -> Result<Value> {
    for stretch in window.iter().filter(|stretch| may_have_values(*stretch)) {
        if let Some(cell) = stretch.cells()?.into_iter().find(|cell| *cell != Cell::Null) {
            return Ok(cell.into());
        }
    }
    Ok(Value::Null)
}

/// False for a stretch that is known to hold nulls only.
fn may_have_values(stretch: &impl Stretch) -> bool {
    !matches!(stretch.partial(), Ok(Some(Partial { count: 0, .. })))
}

fn distinct(window: &[impl Stretch]) -> Result<usize> {
    let (mut parts, mut loose) = (Vec::new(), DifferentBuilder::default());
    for stretch in window {
        match stretch.partial()?.and_then(|partial| partial.different) {
            Some(different) => parts.push(different),
            None => each(stretch, |cell| loose.add(&cell))?,
        }
    }
    parts.push(loose.all());
    different::count(&parts)
}

fn quantile_of(window: &[impl Stretch], quantile: Quantile) -> Result<Value> {
    let (mut runs, mut loose): (Vec<Run<'_>>, Vec<f64>) = (Vec::new(), Vec::new());
    for stretch in window {
        match stretch.partial()?.and_then(|partial| partial.sorted) {
            Some(run) => runs.push(run),
            None => each(stretch, |cell| loose.extend(number(&cell)))?,
        }
    }
    let loose = sorted::run(loose);
    runs.push(&loose);
    let (below, share) = quantile.place(runs.iter().map(|run| run.len()).sum());
    Ok(match sorted::at(&runs, below) {
        None => Value::Null,
        Some((low, Some(high))) if share > 0.0 => Value::Float(low + (high - low) * share),
        Some((low, _)) => Value::Float(low),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f64]) -> Vec<Value> {
        values.iter().map(|value| Value::Float(*value)).collect()
    }

    fn of(function: Function, cells: &[Value]) -> Value {
        aggregate(function, false, &[cells]).unwrap()
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
        assert_eq!(aggregate(Function::Sum, true, &[large.as_slice()]).unwrap(), Value::Int(i64::MAX));
        assert!(aggregate(Function::Sum, true, &[&large[..2]]).is_err());
        let cells = [Value::Int(1), Value::Null, Value::Int(3)];
        assert_eq!(of(Function::Count, &cells), Value::Int(2));
    }
}
