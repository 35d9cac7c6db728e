//! The same elements in another shape or type: `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`, `Cast`, `Shape`...

use mlops_core::{Error, Result};

use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    proto::element_type,
    tensor::{Shape, axis_of, cast},
};

/// Dimensions from integers.
///
/// # Errors
/// `InvalidArgument` for a negative one.
pub(super) fn dimensions(values: &[i64]) -> Result<Vec<usize>> {
    let dims = values.iter().map(|&dim| usize::try_from(dim)).collect::<Result<Vec<_>, _>>();
    dims.map_err(|_| Error::invalid_argument(format!("{values:?} has a negative size")))
}

/// Integers that newer versions take as an input.
pub(super) fn axes_input(args: &Args<'_>, index: usize) -> Result<Option<Vec<i64>>> {
    args.optional(index).map(Tensor::to_ints).transpose()
}

pub(super) fn identity(node: &NodeDef) -> Result<Kernel> {
    let outputs = node.outputs;
    Ok(Kernel::many(move |args| {
        let x = args.get(0)?;
        // The mask of a dropout that drops nothing.
        let mask = || Tensor::new(x.shape(), vec![true; x.len()]);
        if outputs > 1 { Ok(vec![x.clone(), mask()?]) } else { Ok(vec![x.clone()]) }
    }))
}

pub(super) fn cast_to(node: &NodeDef) -> Result<Kernel> {
    if node.op_type == "CastLike" {
        return Ok(Kernel::one(|args| {
            let x = args.get(0)?;
            Tensor::new(x.shape(), cast(x.data(), args.get(1)?.data_type())?)
        }));
    }
    let to = element_type(node.int("to", 0)?)?;
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        Tensor::new(x.shape(), cast(x.data(), to)?)
    }))
}

/// `Shape` and `Size`.
pub(super) fn describe(node: &NodeDef) -> Result<Kernel> {
    let size = node.op_type == "Size";
    let (start, end) = (node.int("start", 0)?, node.int("end", i64::MAX)?);
    Ok(Kernel::one(move |args| {
        let x = args.get(0)?;
        if size {
            return Tensor::new([], vec![i64::try_from(x.len()).unwrap_or(i64::MAX)]);
        }
        let rank = i64::try_from(x.shape().len()).unwrap_or(i64::MAX);
        let clamp = |at: i64| {
            let at = if at < 0 { at.saturating_add(rank) } else { at };
            usize::try_from(at.clamp(0, rank)).unwrap_or(0)
        };
        let dims = x.shape().get(clamp(start)..clamp(end)).unwrap_or_default();
        Ok(Tensor::vector(dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect::<Vec<_>>()))
    }))
}

pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    let axes = node.ints("axes")?.to_vec();
    match node.op_type.as_str() {
        "Reshape" => {
            let zero_copies = node.int("allowzero", 0)? == 0;
            let fixed = node.ints("shape")?.to_vec();
            Ok(Kernel::one(move |args| {
                let wanted = axes_input(args, 1)?.unwrap_or(fixed.clone());
                reshape(args.get(0)?, &wanted, zero_copies)
            }))
        }
        "Flatten" => {
            let axis = node.int("axis", 1)?;
            Ok(Kernel::one(move |args| {
                let x = args.get(0)?;
                let rank = x.shape().len();
                let axis = if axis == i64::try_from(rank).unwrap_or(0) { rank } else { axis_of(axis, rank)? };
                let outer = x.shape().iter().take(axis).product();
                let inner = x.shape().iter().skip(axis).product();
                x.reshaped(vec![outer, inner])
            }))
        }
        "Squeeze" => Ok(Kernel::one(move |args| squeeze(args.get(0)?, &axes_input(args, 1)?.unwrap_or(axes.clone())))),
        _ => Ok(Kernel::one(move |args| unsqueeze(args.get(0)?, &axes_input(args, 1)?.unwrap_or(axes.clone())))),
    }
}

fn reshape(x: &Tensor, wanted: &[i64], zero_copies: bool) -> Result<Tensor> {
    let refuse = || Error::invalid_argument(format!("shape {:?} cannot become {wanted:?}", x.shape()));
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (i, &dim) in wanted.iter().enumerate() {
        shape.push(match dim {
            0 if zero_copies => x.shape().get(i).copied().ok_or_else(refuse)?,
            -1 if open.replace(i).is_none() => 1,
            dim => usize::try_from(dim).map_err(|_| refuse())?,
        });
    }
    if let Some(open) = open {
        let known = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim)).ok_or_else(refuse)?;
        let size = x.len().checked_div(known).filter(|size| size * known == x.len()).ok_or_else(refuse)?;
        if let Some(dim) = shape.get_mut(open) {
            *dim = size;
        }
    }
    x.reshaped(shape)
}

fn squeeze(x: &Tensor, axes: &[i64]) -> Result<Tensor> {
    let rank = x.shape().len();
    let axes = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>>>()?;
    let gone = |i: usize, dim: usize| if axes.is_empty() { dim == 1 } else { axes.contains(&i) };
    if let Some((axis, dim)) = x.shape().iter().enumerate().find(|&(i, &dim)| gone(i, dim) && dim != 1) {
        return Err(Error::invalid_argument(format!("axis {axis} has {dim} elements and cannot be squeezed")));
    }
    let left = x.shape().iter().enumerate().filter(|&(i, &dim)| !gone(i, dim)).map(|(_, &dim)| dim);
    x.reshaped(left.collect::<Shape>())
}

fn unsqueeze(x: &Tensor, axes: &[i64]) -> Result<Tensor> {
    let rank = x.shape().len() + axes.len();
    let mut axes = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    let mut shape = x.shape().to_vec();
    for axis in axes {
        if axis > shape.len() {
            return Err(Error::invalid_argument(format!("axes of Unsqueeze leave a gap before axis {axis}")));
        }
        shape.insert(axis, 1);
    }
    x.reshaped(shape)
}
