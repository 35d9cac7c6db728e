//! Parts of a tensor: `Slice`, `Gather`, `GatherElements`, `GatherND`.

use mlops_core::{Error, Result};

use super::shape::axes_input;
use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::{axis_of, strides},
};

pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    let axis = node.int("axis", 0)?;
    match node.op_type.as_str() {
        "Gather" => Ok(Kernel::one(move |args| gather(args, axis))),
        "GatherElements" => Ok(Kernel::one(move |args| {
            let x = args.get(0)?;
            elements(x, args.get(1)?, axis_of(axis, x.shape().len())?)
        })),
        "GatherND" => {
            if node.int("batch_dims", 0)? != 0 {
                return Err(Error::unimplemented("GatherND with batch dimensions is not supported"));
            }
            Ok(Kernel::one(gather_nd))
        }
        _ => {
            let fixed = node.version < 10;
            let attributes = [node.ints("starts")?.to_vec(), node.ints("ends")?.to_vec(), node.ints("axes")?.to_vec()];
            Ok(Kernel::one(move |args| {
                if fixed {
                    let [starts, ends, axes] = &attributes;
                    let axes = (!axes.is_empty()).then(|| axes.clone());
                    return slice(args.get(0)?, starts, ends, axes, None);
                }
                let required = |index| {
                    axes_input(args, index)?.ok_or_else(|| Error::invalid_argument(format!("input {index} is missing")))
                };
                slice(args.get(0)?, &required(1)?, &required(2)?, axes_input(args, 3)?, axes_input(args, 4)?)
            }))
        }
    }
}

/// An index as ONNX writes it, counted from the end when negative.
pub(crate) fn index_of(index: i64, length: usize) -> Result<usize> {
    let signed = i64::try_from(length).unwrap_or(i64::MAX);
    let from_start = if index < 0 { index.saturating_add(signed) } else { index };
    let found = usize::try_from(from_start).ok().filter(|&found| found < length);
    found.ok_or_else(|| Error::invalid_argument(format!("index {index} is outside a dimension of {length}")))
}

/// The slices of `x` at these places of an axis.
pub(crate) fn along(x: &Tensor, axis: usize, places: &[usize]) -> Result<Tensor> {
    let length = x.shape().get(axis).copied().unwrap_or(1);
    let outer: usize = x.shape().iter().take(axis).product();
    let inner: usize = x.shape().iter().skip(axis + 1).product();
    if let Some(place) = places.iter().find(|&&place| place >= length) {
        return Err(Error::invalid_argument(format!("index {place} is outside a dimension of {length}")));
    }
    let mut shape = x.shape().to_vec();
    if let Some(dim) = shape.get_mut(axis) {
        *dim = places.len();
    }
    let blocks: Vec<usize> = (0..outer).flat_map(|row| places.iter().map(move |place| row * length + place)).collect();
    if inner == 0 {
        return x.gathered(shape, &[], 1);
    }
    x.gathered(shape, &blocks, inner)
}

fn gather(args: &Args<'_>, axis: i64) -> Result<Tensor> {
    let (x, indices) = (args.get(0)?, args.get(1)?);
    let axis = axis_of(axis, x.shape().len())?;
    let length = x.shape().get(axis).copied().unwrap_or(0);
    let places = indices.to_ints()?.into_iter().map(|index| index_of(index, length)).collect::<Result<Vec<_>>>()?;
    let mut shape: Vec<usize> = x.shape().iter().take(axis).copied().collect();
    shape.extend_from_slice(indices.shape());
    shape.extend(x.shape().iter().skip(axis + 1));
    args.limits.elements(&shape)?;
    along(x, axis, &places)?.reshaped(shape)
}

/// For each element of `indices`, the place in a tensor of `shape` with the index put for the axis.
pub(super) fn element_places(shape: &[usize], indices: &Tensor, axis: usize) -> Result<Vec<usize>> {
    let fits = shape.len() == indices.shape().len()
        && shape.iter().zip(indices.shape()).enumerate().all(|(i, (own, other))| i == axis || other <= own);
    if !fits {
        let found = indices.shape();
        return Err(Error::invalid_argument(format!("indices of shape {found:?} do not fit shape {shape:?}")));
    }
    let (own, walk) = (strides(shape), strides(indices.shape()));
    let length = shape.get(axis).copied().unwrap_or(0);
    let place = |(i, index): (usize, i64)| -> Result<usize> {
        let index = index_of(index, length)?;
        let steps = walk.iter().zip(indices.shape()).zip(&own).enumerate();
        let parts =
            steps.map(|(a, ((&step, &dim), &stride))| if a == axis { index * stride } else { i / step % dim * stride });
        Ok(parts.sum())
    };
    indices.to_ints()?.into_iter().enumerate().map(place).collect()
}

/// `GatherElements`.
pub(super) fn elements(x: &Tensor, indices: &Tensor, axis: usize) -> Result<Tensor> {
    let places = element_places(x.shape(), indices, axis)?;
    x.gathered(indices.shape(), &places, 1)
}

fn gather_nd(args: &Args<'_>) -> Result<Tensor> {
    let (x, indices) = (args.get(0)?, args.get(1)?);
    let Some((&width, outer)) = indices.shape().split_last() else {
        return Err(Error::invalid_argument("the indices of GatherND are a scalar"));
    };
    if width == 0 || width > x.shape().len() {
        return Err(Error::invalid_argument(format!(
            "GatherND needs 1 to {} indices a place, found {width}",
            x.shape().len()
        )));
    }
    let steps = strides(x.shape());
    let inner: usize = x.shape().iter().skip(width).product();
    let place = |index: &[i64]| -> Result<usize> {
        let parts = index.iter().zip(x.shape()).zip(&steps);
        let offset: usize = parts.map(|((&i, &dim), &step)| Ok(index_of(i, dim)? * step)).sum::<Result<usize>>()?;
        Ok(offset / inner.max(1))
    };
    let places = indices.to_ints()?.chunks(width).map(place).collect::<Result<Vec<_>>>()?;
    let mut shape = outer.to_vec();
    shape.extend(x.shape().iter().skip(width));
    args.limits.elements(&shape)?;
    x.gathered(shape, &places, inner)
}

fn slice(x: &Tensor, starts: &[i64], ends: &[i64], axes: Option<Vec<i64>>, steps: Option<Vec<i64>>) -> Result<Tensor> {
    let axes = axes.unwrap_or_else(|| (0..starts.len()).filter_map(|axis| i64::try_from(axis).ok()).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err(Error::invalid_argument("starts, ends, axes and steps of Slice differ in length"));
    }
    let mut sliced = x.clone();
    for (((&start, &end), &axis), &step) in starts.iter().zip(ends).zip(&axes).zip(&steps) {
        let axis = axis_of(axis, x.shape().len())?;
        let length = i64::try_from(sliced.shape().get(axis).copied().unwrap_or(0)).unwrap_or(i64::MAX);
        if step == 0 {
            return Err(Error::invalid_argument("a step of Slice is zero"));
        }
        let from_start = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let (mut at, end) = (from_start(start).clamp(low.max(0), high.max(0)), from_start(end).clamp(low, high));
        let mut places = Vec::new();
        while (step > 0 && at < end) || (step < 0 && at > end && at < length) {
            places.extend(usize::try_from(at));
            at = at.saturating_add(step);
        }
        sliced = along(&sliced, axis, &places)?;
    }
    Ok(sliced)
}
