//! Rows brought to one scale: `Softmax`, `LogSoftmax`, and the normalizations with learned parameters.

use mlops_core::{Error, Result};

use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::{Data, axis_of, transposed},
};

/// Applies `f` to each line of `x` along `axis`, or, as `Softmax` did before version 13, to all axes from `axis` on.
fn along(x: &Tensor, axis: i64, to_end: bool, f: impl Fn(&mut [f64])) -> Result<Tensor> {
    let rank = x.shape().len();
    let axis = if to_end && axis == i64::try_from(rank).unwrap_or(0) { rank } else { axis_of(axis, rank)? };
    let mut values = x.converted::<f64>()?.into_owned();
    let last = rank.saturating_sub(1);
    if to_end || axis == last {
        let length: usize = x.shape().iter().skip(axis).product();
        values.chunks_mut(length.max(1)).for_each(f);
        return Tensor::new(x.shape(), crate::tensor::cast(&Data::from(values), x.data_type())?);
    }
    // The permutation that exchanges the axis with the last one is its own inverse.
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(axis, last);
    let turned = Tensor::new(x.shape(), values)?;
    let (shape, places) = transposed(x.shape(), &order)?;
    let mut lines = turned.gathered(shape.clone(), &places, 1)?.values::<f64>()?.to_vec();
    let length = shape.last().copied().unwrap_or(1);
    lines.chunks_mut(length.max(1)).for_each(f);
    let lines = Tensor::new(shape, crate::tensor::cast(&Data::from(lines), x.data_type())?)?;
    let (shape, places) = transposed(lines.shape(), &order)?;
    lines.gathered(shape, &places, 1)
}

/// `Softmax` and `LogSoftmax`.
pub(super) fn softmax(node: &NodeDef) -> Result<Kernel> {
    let old = node.version < 13;
    let axis = node.int("axis", if old { 1 } else { -1 })?;
    let log = node.op_type == "LogSoftmax";
    Ok(Kernel::one(move |args| {
        along(args.get(0)?, axis, old, |line| {
            let max = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = line.iter().map(|v| (v - max).exp()).sum();
            for v in line {
                *v = if log { *v - max - sum.ln() } else { (*v - max).exp() / sum };
            }
        })
    }))
}

/// `LpNormalization`: lines divided by their norm of order 1 or 2; a zero line stays zero.
pub(super) fn lp(node: &NodeDef) -> Result<Kernel> {
    let (axis, order) = (node.int("axis", -1)?, node.int("p", 2)?);
    Ok(Kernel::one(move |args| {
        along(args.get(0)?, axis, false, |line| {
            let norm = if order == 1 {
                line.iter().map(|v| v.abs()).sum::<f64>()
            } else {
                line.iter().map(|v| v * v).sum::<f64>().sqrt()
            };
            if norm != 0.0 {
                line.iter_mut().for_each(|v| *v /= norm);
            }
        })
    }))
}

/// `BatchNormalization` with the stored moments, per channel (axis 1).
pub(super) fn batch(node: &NodeDef) -> Result<Kernel> {
    let epsilon = f64::from(node.float("epsilon", 1e-5)?);
    if node.int("training_mode", 0)? != 0 {
        return Err(Error::unimplemented("BatchNormalization is in training mode; export the model for inference"));
    }
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        let parameter = |index: usize| args.get(index)?.converted::<f64>();
        let (scale, bias, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
        let channels = x.shape().get(1).copied().unwrap_or(1);
        if [&scale, &bias, &mean, &variance].iter().any(|list| list.len() != channels) {
            return Err(Error::invalid_argument(format!(
                "parameters must have one value for each of {channels} channels"
            )));
        }
        let factors: Vec<(f64, f64)> = (scale.iter().zip(variance.iter()).zip(bias.iter().zip(mean.iter())))
            .map(|((scale, variance), (bias, mean))| {
                let factor = scale / (variance + epsilon).sqrt();
                (factor, bias - mean * factor)
            })
            .collect();
        let inner: usize = x.shape().iter().skip(2).product();
        let mut values = x.converted::<f64>()?.into_owned();
        let lines = values.chunks_mut(inner.max(1)).zip(factors.iter().cycle());
        for (line, (factor, shift)) in lines {
            line.iter_mut().for_each(|v| *v = *v * factor + shift);
        }
        Tensor::new(x.shape(), crate::tensor::cast(&Data::from(values), x.data_type())?)
    }))
}

/// `LayerNormalization`: all axes from `axis` on, brought to mean zero and variance one.
pub(super) fn layer(node: &NodeDef) -> Result<Kernel> {
    let (axis, epsilon) = (node.int("axis", -1)?, f64::from(node.float("epsilon", 1e-5)?));
    if node.outputs > 1 {
        return Err(Error::unimplemented("LayerNormalization is supported with one output"));
    }
    Ok(Kernel::one(move |args: &Args<'_>| {
        let x = args.get(0)?;
        let from = axis_of(axis, x.shape().len())?;
        let length: usize = x.shape().iter().skip(from).product();
        let scale = args.get(1)?.converted::<f64>()?;
        let bias = args.optional(2).map(|bias| bias.converted::<f64>()).transpose()?;
        if scale.len() != length || bias.as_ref().is_some_and(|bias| bias.len() != length) {
            return Err(Error::invalid_argument(format!("scale and bias must have {length} elements")));
        }
        along(x, axis, true, |line| {
            let count = line.len() as f64;
            let mean = line.iter().sum::<f64>() / count;
            let variance = line.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
            let factor = 1.0 / (variance + epsilon).sqrt();
            for (v, scale) in line.iter_mut().zip(scale.iter()) {
                *v = (*v - mean) * factor * scale;
            }
            if let Some(bias) = &bias {
                line.iter_mut().zip(bias.iter()).for_each(|(v, bias)| *v += bias);
            }
        })
    }))
}
