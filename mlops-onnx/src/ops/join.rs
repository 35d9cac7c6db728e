//! Putting tensors together and taking them apart: `Concat`, `Split`, `Pad`, `ScatterElements`.

use mlops_core::{Error, Result};

use super::shape::axes_input;
use crate::{
    Limits, Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::{Data, axis_of, each_data, strides},
};

pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    if node.op_type == "Concat" {
        let axis = node.int("axis", if node.version < 4 { 1 } else { 0 })?;
        return Ok(Kernel::one(move |args| concat(&args.all().collect::<Vec<_>>(), axis, args.limits)));
    }
    let (axis, parts) = (node.int("axis", 0)?, node.ints("split")?.to_vec());
    let outputs = node.outputs;
    Ok(Kernel::many(move |args| {
        let x = args.get(0)?;
        let axis = axis_of(axis, x.shape().len())?;
        let length = x.shape().get(axis).copied().unwrap_or(0);
        let parts = match axes_input(args, 1)? {
            Some(parts) => parts,
            None if !parts.is_empty() => parts.clone(),
            None => even(length, outputs),
        };
        let parts = super::shape::dimensions(&parts)?;
        let total = parts.iter().try_fold(0_usize, |sum, &part| sum.checked_add(part));
        if total != Some(length) {
            return Err(Error::invalid_argument(format!(
                "parts {parts:?} do not add up to the {length} of axis {axis}"
            )));
        }
        let mut from = 0;
        let take = |&part: &usize| {
            let places: Vec<usize> = (from..from + part).collect();
            from += part;
            super::pick::along(x, axis, &places)
        };
        parts.iter().map(take).collect()
    }))
}

/// Equal parts; the last is smaller when they do not come out even.
fn even(length: usize, outputs: usize) -> Vec<i64> {
    let part = length.div_ceil(outputs.max(1));
    let sizes = (0..outputs).map(|i| part.min(length.saturating_sub(i * part)));
    sizes.map(|size| i64::try_from(size).unwrap_or(i64::MAX)).collect()
}

/// Tensors one after the other along an axis.
pub(crate) fn concat(parts: &[&Tensor], axis: i64, limits: &Limits) -> Result<Tensor> {
    let Some(first) = parts.first() else {
        return Err(Error::invalid_argument("there is nothing to concatenate"));
    };
    let axis = axis_of(axis, first.shape().len())?;
    let mut shape = first.shape().to_vec();
    let mut length = 0_usize;
    for part in parts {
        let mut expected = part.shape().to_vec();
        let fits = expected.len() == shape.len() && {
            if let (Some(own), Some(wanted)) = (expected.get_mut(axis), shape.get(axis)) {
                length = length.saturating_add(*own);
                *own = *wanted;
            }
            expected == shape
        };
        if !fits {
            let (a, b) = (first.shape(), part.shape());
            return Err(Error::invalid_argument(format!("shapes {a:?} and {b:?} do not join along axis {axis}")));
        }
    }
    if let Some(dim) = shape.get_mut(axis) {
        *dim = length;
    }
    limits.elements(&shape)?;
    let outer: usize = shape.iter().take(axis).product();
    if outer == 1 {
        return concatenated(parts)?.reshaped(shape);
    }
    let joined = concatenated(parts)?;
    let mut starts = Vec::with_capacity(parts.len());
    let mut at = 0;
    for part in parts {
        starts.push((at, part.len() / outer.max(1)));
        at += part.len();
    }
    let places: Vec<usize> = (0..outer)
        .flat_map(|row| starts.iter().flat_map(move |&(at, size)| at + row * size..at + (row + 1) * size))
        .collect();
    joined.gathered(shape, &places, 1)
}

/// All elements of tensors of one type, as a vector.
pub(super) fn concatenated(parts: &[&Tensor]) -> Result<Tensor> {
    let Some(first) = parts.first() else {
        return Err(Error::invalid_argument("there is nothing to put together"));
    };
    if let &[one] = parts {
        return one.reshaped(vec![one.len()]);
    }
    let data = each_data!(first.data(), values => {
        let mut all = values.as_slice().to_vec();
        for part in parts.iter().skip(1) {
            all.extend_from_slice(same(values, part)?);
        }
        Data::from(all)
    });
    Ok(Tensor::vector(data))
}

/// The elements of `part`, which must be of the type of `_like`.
fn same<'a, T: crate::tensor::Element>(_like: &[T], part: &'a Tensor) -> Result<&'a [T]> {
    part.values::<T>()
}

/// `Pad` and `ScatterElements`: elements of one tensor put at places of another.
pub(super) fn place(node: &NodeDef) -> Result<Kernel> {
    if node.op_type == "Pad" {
        let mode = node.text("mode", "constant")?;
        if mode != "constant" {
            return Err(Error::unimplemented(format!("Pad in mode {mode:?} is not supported")));
        }
        let (pads, value) = (node.ints("pads")?.to_vec(), node.float("value", 0.0)?);
        return Ok(Kernel::one(move |args| {
            let pads = axes_input(args, 1)?.unwrap_or(pads.clone());
            pad(args, &pads, value)
        }));
    }
    if node.text("reduction", "none")? != "none" {
        return Err(Error::unimplemented("ScatterElements with a reduction is not supported"));
    }
    let axis = node.int("axis", 0)?;
    Ok(Kernel::one(move |args| {
        let (x, indices, updates) = (args.get(0)?, args.get(1)?, args.get(2)?);
        let axis = axis_of(axis, x.shape().len())?;
        if indices.shape() != updates.shape() {
            return Err(Error::invalid_argument("indices and updates must have one shape"));
        }
        let targets = super::pick::element_places(x.shape(), indices, axis)?;
        let mut places: Vec<usize> = (0..x.len()).collect();
        for (i, target) in targets.into_iter().enumerate() {
            if let Some(place) = places.get_mut(target) {
                *place = x.len() + i;
            }
        }
        concatenated(&[x, updates])?.gathered(x.shape(), &places, 1)
    }))
}

fn pad(args: &Args<'_>, pads: &[i64], value: f32) -> Result<Tensor> {
    let x = args.get(0)?;
    let rank = x.shape().len();
    if pads.len() != 2 * rank {
        return Err(Error::invalid_argument(format!("rank {rank} needs {} pads, found {}", 2 * rank, pads.len())));
    }
    if pads.iter().any(|&pad| pad < 0) {
        return Err(Error::unimplemented("negative pads are not supported; use Slice"));
    }
    let filler = match args.optional(2) {
        Some(filler) => filler.clone(),
        None => Tensor::vector(crate::tensor::cast(&Data::from(vec![value]), x.data_type())?),
    };
    let sizes = x
        .shape()
        .iter()
        .zip(pads)
        .zip(pads.iter().skip(rank))
        .map(|((&dim, &before), &after)| i64::try_from(dim).ok()?.checked_add(before)?.checked_add(after));
    let sizes = sizes.collect::<Option<Vec<i64>>>().ok_or_else(|| Error::invalid_argument("a pad is out of range"))?;
    let shape = super::shape::dimensions(&sizes)?;
    let count = args.limits.elements(&shape)?;
    let (own, to) = (strides(x.shape()), strides(&shape));
    let mut places = vec![x.len(); count];
    for i in 0..x.len() {
        let mut target = Some(0_usize);
        for (((&stride, &own_stride), &dim), &before) in to.iter().zip(&own).zip(x.shape()).zip(pads) {
            let at = i64::try_from(i / own_stride % dim.max(1)).ok().and_then(|at| at.checked_add(before));
            let at = at.and_then(|at| usize::try_from(at).ok());
            target = target.zip(at).and_then(|(sum, at)| sum.checked_add(at.checked_mul(stride)?));
        }
        if let Some(place) = target.and_then(|target| places.get_mut(target)) {
            *place = i;
        }
    }
    concatenated(&[x, &filler])?.gathered(shape, &places, 1)
}
