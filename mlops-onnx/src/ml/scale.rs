//! Numbers to numbers, column by column: `Scaler`, `Imputer`, `Normalizer`, `Binarizer`.

use mlops_core::{DataType, Error, Result};

use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::Data,
};

pub(crate) fn kernel(node: &NodeDef) -> Result<Kernel> {
    match node.op_type.as_str() {
        "Scaler" => scaler(node),
        "Imputer" => imputer(node),
        "Normalizer" => normalizer(node),
        _ => {
            let threshold = node.float("threshold", 0.0)?;
            Ok(Kernel::one(move |args| {
                let x = args.get(0)?;
                let over = |v: f64| if v > f64::from(threshold) { 1.0 } else { 0.0 };
                let values: Vec<f64> = x.converted::<f64>()?.iter().map(|&v| over(v)).collect();
                Tensor::new(x.shape(), crate::tensor::cast(&Data::from(values), x.data_type())?)
            }))
        }
    }
}

/// The last dimension, one for a scalar.
fn width(x: &Tensor) -> usize {
    x.shape().last().copied().unwrap_or(1)
}

/// One parameter for each column, or one for all.
fn fits(name: &str, parameters: usize, width: usize) -> Result<()> {
    if parameters == 1 || parameters == width {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{name} has {parameters} values for {width} columns")))
}

/// (x - offset) scale, in single precision.
fn scaler(node: &NodeDef) -> Result<Kernel> {
    let (offset, scale) = (node.floats("offset")?.to_vec(), node.floats("scale")?.to_vec());
    if offset.is_empty() || offset.len() != scale.len() {
        return Err(Error::invalid_argument(format!("offset has {} values, scale has {}", offset.len(), scale.len())));
    }
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        let width = width(x);
        fits("scale", scale.len(), width)?;
        let values = x.converted::<f32>()?;
        let scaled: Vec<f32> = match (offset.as_slice(), scale.as_slice()) {
            (&[offset], &[scale]) => values.iter().map(|v| (v - offset) * scale).collect(),
            _ => {
                let rows = values.chunks(width.max(1));
                rows.flat_map(|row| {
                    row.iter().zip(&offset).zip(&scale).map(|((v, offset), scale)| (v - offset) * scale)
                })
                .collect()
            }
        };
        Tensor::new(x.shape(), scaled)
    }))
}

fn imputer(node: &NodeDef) -> Result<Kernel> {
    let (floats, ints) = (node.floats("imputed_value_floats")?.to_vec(), node.ints("imputed_value_int64s")?.to_vec());
    let (replaced_float, replaced_int) =
        (node.float("replaced_value_float", 0.0)?, node.int("replaced_value_int64", 0)?);
    if floats.is_empty() == ints.is_empty() {
        return Err(Error::invalid_argument(
            "exactly one of imputed_value_floats and imputed_value_int64s must be given",
        ));
    }
    Ok(Kernel::one(move |args: &Args<'_>| {
        let x = args.get(0)?;
        let width = width(x);
        if x.data_type() == DataType::Int64 {
            fits("imputed_value_int64s", ints.len(), width)?;
            let filled = fill(x.values::<i64>()?, &ints, |v| *v == replaced_int);
            return Tensor::new(x.shape(), filled);
        }
        fits("imputed_value_floats", floats.len(), width)?;
        if x.data_type() == DataType::Float64 {
            let doubles: Vec<f64> = floats.iter().map(|&v| f64::from(v)).collect();
            let gone = |v: &f64| *v == f64::from(replaced_float) || (replaced_float.is_nan() && v.is_nan());
            return Tensor::new(x.shape(), fill(x.values::<f64>()?, &doubles, gone));
        }
        let gone = |v: &f32| *v == replaced_float || (replaced_float.is_nan() && v.is_nan());
        Tensor::new(x.shape(), fill(&x.converted::<f32>()?, &floats, gone))
    }))
}

fn fill<T: Copy>(values: &[T], imputed: &[T], gone: impl Fn(&T) -> bool) -> Vec<T> {
    values
        .iter()
        .zip(imputed.iter().cycle())
        .map(|(&value, &imputed)| if gone(&value) { imputed } else { value })
        .collect()
}

/// Rows divided by their largest value, sum of magnitudes, or length; a row for which that is zero stays as it is.
fn normalizer(node: &NodeDef) -> Result<Kernel> {
    let norm: fn(&[f32]) -> f32 = match node.text("norm", "MAX")? {
        "MAX" => |row| row.iter().copied().fold(f32::MIN, f32::max),
        "L1" => |row| row.iter().map(|v| v.abs()).sum(),
        "L2" => |row| row.iter().map(|v| v * v).sum::<f32>().sqrt(),
        other => return Err(Error::invalid_argument(format!("norm {other:?} is unknown"))),
    };
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        let mut values = x.converted::<f32>()?.into_owned();
        for row in values.chunks_mut(width(x).max(1)) {
            let norm = norm(row);
            if norm != 0.0 {
                row.iter_mut().for_each(|v| *v /= norm);
            }
        }
        Tensor::new(x.shape(), values)
    }))
}
