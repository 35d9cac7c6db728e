//! Where the largest and smallest elements are: `ArgMax`, `ArgMin`, `TopK`.
//!
//! Ties go to the lowest index unless the model asks for the last; missing values rank below everything.

use std::cmp::Ordering;

use mlops_core::{Error, Result};

use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::{axis_of, transposed},
};

/// The elements as doubles with `axis` last, the shape without it, and the length along it.
fn lines(x: &Tensor, axis: usize) -> Result<(Vec<f64>, Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..x.shape().len()).filter(|&i| i != axis).collect();
    order.push(axis);
    let (mut shape, places) = transposed(x.shape(), &order)?;
    let length = shape.pop().unwrap_or(1);
    let values = x.converted::<f64>()?;
    Ok((places.iter().filter_map(|&place| values.get(place).copied()).collect(), shape, length))
}

fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    if node.op_type == "TopK" {
        return top_k(node);
    }
    let (axis, keep) = (node.int("axis", 0)?, node.int("keepdims", 1)? != 0);
    let (smallest, last) = (node.op_type == "ArgMin", node.int("select_last_index", 0)? != 0);
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        let axis = axis_of(axis, x.shape().len())?;
        let (values, mut shape, length) = lines(x, axis)?;
        if length == 0 {
            return Err(Error::invalid_argument(format!("axis {axis} of shape {:?} is empty", x.shape())));
        }
        let best = |line: &[f64]| {
            let better = |a: f64, b: f64| {
                let order = if smallest { order(b, a) } else { order(a, b) };
                order == Ordering::Greater || (last && order == Ordering::Equal)
            };
            let pairs = line.iter().copied().enumerate();
            let found = pairs.reduce(|best, next| if better(next.1, best.1) { next } else { best });
            found.map_or(0, |(i, _)| i64::try_from(i).unwrap_or(i64::MAX))
        };
        let found: Vec<i64> = values.chunks(length).map(best).collect();
        if keep {
            shape.insert(axis, 1);
        }
        Tensor::new(shape, found)
    }))
}

fn top_k(node: &NodeDef) -> Result<Kernel> {
    let (axis, largest) = (node.int("axis", -1)?, node.int("largest", 1)? != 0);
    let fixed = if node.version < 10 { Some(node.int("k", 1)?) } else { None };
    Ok(Kernel::many(move |args: &Args<'_>| {
        let x = args.get(0)?;
        let k = match fixed {
            Some(k) => k,
            None => args.get(1)?.to_ints()?.first().copied().unwrap_or(0),
        };
        let axis = axis_of(axis, x.shape().len())?;
        let (values, outer, length) = lines(x, axis)?;
        let k = usize::try_from(k).ok().filter(|&k| k <= length);
        let k = k.ok_or_else(|| Error::invalid_argument(format!("k must be from 0 to the {length} of axis {axis}")))?;
        // A sort compares about so often.
        args.operations.spend(&[values.len(), length.max(1).ilog2() as usize + 1])?;
        let mut found: Vec<usize> = Vec::with_capacity(outer.iter().product::<usize>().saturating_mul(k));
        for line in values.chunks(length.max(1)) {
            let at = |i: &usize| line.get(*i).copied().unwrap_or(f64::NAN);
            let mut indices: Vec<usize> = (0..line.len()).collect();
            indices.sort_by(|a, b| if largest { order(at(b), at(a)) } else { order(at(a), at(b)) });
            found.extend(indices.iter().take(k));
        }
        // Back to the order of axes of the input.
        let mut shape = outer;
        shape.push(k);
        let rank = shape.len();
        let mut back: Vec<usize> = (0..rank - 1).collect();
        back.insert(axis, rank - 1);
        let (shape, places) = transposed(&shape, &back)?;
        let indices: Vec<i64> =
            places.iter().filter_map(|&i| found.get(i)).map(|&i| i64::try_from(i).unwrap_or(i64::MAX)).collect();
        let indices = Tensor::new(shape, indices)?;
        let top = super::pick::elements(x, &indices, axis)?;
        Ok(vec![top, indices])
    }))
}
