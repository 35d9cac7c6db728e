//! Many values to one: the `Reduce...` family and `CumSum`.
//!
//! Sums run in double precision and are rounded once.

use mlops_core::{Error, Result};

use super::shape::axes_input;
use crate::{
    Tensor,
    graph::{Kernel, NodeDef},
    tensor::{Data, axis_of, transposed},
};

type Reduction = fn(&[f64]) -> f64;

fn reduction(name: &str) -> Option<Reduction> {
    let max =
        |line: &[f64]| line.iter().copied().fold(f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a });
    let min = |line: &[f64]| line.iter().copied().fold(f64::INFINITY, |a, b| if b < a || b.is_nan() { b } else { a });
    Some(match name {
        "ReduceSum" => |line| line.iter().sum(),
        "ReduceMean" => |line| line.iter().sum::<f64>() / line.len() as f64,
        "ReduceMax" => max,
        "ReduceMin" => min,
        "ReduceProd" => |line| line.iter().product(),
        "ReduceL1" => |line| line.iter().map(|v| v.abs()).sum(),
        "ReduceL2" => |line| line.iter().map(|v| v * v).sum::<f64>().sqrt(),
        "ReduceSumSquare" => |line| line.iter().map(|v| v * v).sum(),
        "ReduceLogSum" => |line| line.iter().sum::<f64>().ln(),
        "ReduceLogSumExp" => |line| {
            let max = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            max + line.iter().map(|v| (v - max).exp()).sum::<f64>().ln()
        },
        _ => return None,
    })
}

pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    let reduce = reduction(&node.op_type).ok_or_else(|| super::unknown(node))?;
    let axes = node.ints("axes")?.to_vec();
    let (keep, nothing) = (node.int("keepdims", 1)? != 0, node.int("noop_with_empty_axes", 0)? != 0);
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        let rank = x.shape().len();
        let axes = axes_input(args, 1)?.unwrap_or(axes.clone());
        if axes.is_empty() && nothing {
            return Ok(x.clone());
        }
        let mut reduced = vec![axes.is_empty(); rank];
        for axis in axes {
            if let Some(flag) = reduced.get_mut(axis_of(axis, rank)?) {
                *flag = true;
            }
        }
        let pick = |wanted: bool| reduced.iter().enumerate().filter(move |(_, flag)| **flag == wanted).map(|(i, _)| i);
        let order: Vec<usize> = pick(false).chain(pick(true)).collect();
        let (shape, places) = transposed(x.shape(), &order)?;
        let kept = pick(false).count();
        let length: usize = shape.iter().skip(kept).product();
        let count: usize = shape.iter().take(kept).product();
        let values = x.converted::<f64>()?;
        let sorted: Vec<f64> = places.iter().filter_map(|&place| values.get(place).copied()).collect();
        let values: Vec<f64> =
            if length == 0 { vec![reduce(&[]); count] } else { sorted.chunks(length).map(reduce).collect() };
        let sizes = x.shape().iter().zip(&reduced);
        let shape: Vec<usize> =
            sizes.filter_map(|(&dim, &flag)| if !flag { Some(dim) } else { keep.then_some(1) }).collect();
        Tensor::new(shape, crate::tensor::cast(&Data::from(values), x.data_type())?)
    }))
}

/// `CumSum`.
pub(super) fn cumulative(node: &NodeDef) -> Result<Kernel> {
    let (exclusive, reverse) = (node.int("exclusive", 0)? != 0, node.int("reverse", 0)? != 0);
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        let axis = args.get(1)?.to_ints()?.first().copied();
        let axis = axis.ok_or_else(|| Error::invalid_argument("the axis of CumSum is empty"))?;
        let axis = axis_of(axis, x.shape().len())?;
        let length = x.shape().get(axis).copied().unwrap_or(0);
        let inner: usize = x.shape().iter().skip(axis + 1).product();
        let mut values = x.converted::<f64>()?.into_owned();
        for block in values.chunks_mut((length * inner).max(1)) {
            for column in 0..inner {
                let mut sum = 0.0;
                for step in 0..length {
                    let row = if reverse { length - 1 - step } else { step };
                    if let Some(value) = block.get_mut(row * inner + column) {
                        let own = *value;
                        *value = if exclusive { sum } else { sum + own };
                        sum += own;
                    }
                }
            }
        }
        Tensor::new(x.shape(), crate::tensor::cast(&Data::from(values), x.data_type())?)
    }))
}
