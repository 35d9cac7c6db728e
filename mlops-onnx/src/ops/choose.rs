//! Values chosen by conditions or classes: `Where`, `OneHot`, `Compress`, `NonZero`.

use mlops_core::{Error, Result};

use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::{Data, axis_of, broadcast_indices, broadcast_shape},
};

pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    match node.op_type.as_str() {
        "Where" => Ok(Kernel::one(select)),
        "OneHot" => {
            let axis = node.int("axis", -1)?;
            Ok(Kernel::one(move |args| one_hot(args, axis)))
        }
        "NonZero" => Ok(Kernel::one(non_zero)),
        _ => {
            let axis = if node.has("axis") { Some(node.int("axis", 0)?) } else { None };
            Ok(Kernel::one(move |args| compress(args, axis)))
        }
    }
}

fn select(args: &Args<'_>) -> Result<Tensor> {
    let (condition, yes, no) = (args.get(0)?, args.get(1)?, args.get(2)?);
    let conditions = condition.values::<bool>()?;
    let shape = broadcast_shape(yes.shape(), no.shape(), args.limits)?;
    let shape = broadcast_shape(condition.shape(), &shape, args.limits)?;
    if yes.data_type() != no.data_type() {
        let (yes, no) = (yes.data_type(), no.data_type());
        return Err(Error::invalid_argument(format!("both values must be of one type, found {yes} and {no}")));
    }
    // Both values one after the other, so that one gathering chooses between them.
    let (offset, count) = (yes.len(), args.limits.elements(&shape)?);
    let places = broadcast_indices(condition.shape(), &shape).into_iter();
    let places = places.zip(broadcast_indices(yes.shape(), &shape)).zip(broadcast_indices(no.shape(), &shape));
    let places = places.map(|((c, y), n)| if conditions.get(c) == Some(&true) { y } else { offset + n });
    let places: Vec<usize> = places.take(count).collect();
    super::join::concatenated(&[yes, no])?.gathered(shape, &places, 1)
}

fn one_hot(args: &Args<'_>, axis: i64) -> Result<Tensor> {
    let (indices, depth, values) = (args.get(0)?, args.get(1)?, args.get(2)?);
    let depth = depth.converted::<i64>()?.first().copied().and_then(|depth| usize::try_from(depth).ok());
    let depth = depth.ok_or_else(|| Error::invalid_argument("the depth of OneHot must be one number from 0 on"))?;
    let axis = axis_of(axis, indices.shape().len() + 1)?;
    let mut shape = indices.shape().to_vec();
    shape.insert(axis, depth);
    let count = args.limits.elements(&shape)?;
    let inner: usize = indices.shape().iter().skip(axis).product();
    let mut places = vec![0_usize; count];
    for (i, &index) in indices.converted::<i64>()?.iter().enumerate() {
        let depth_signed = i64::try_from(depth).unwrap_or(i64::MAX);
        let index = if index < 0 { index.saturating_add(depth_signed) } else { index };
        let Some(index) = usize::try_from(index).ok().filter(|&index| index < depth) else { continue };
        let (outer, inside) = (i / inner.max(1), i % inner.max(1));
        if let Some(place) = places.get_mut((outer * depth + index) * inner + inside) {
            *place = 1;
        }
    }
    values.gathered(shape, &places, 1)
}

fn non_zero(args: &Args<'_>) -> Result<Tensor> {
    let x = args.get(0)?;
    let truth = crate::tensor::cast(x.data(), mlops_core::DataType::Bool)?;
    let Data::Bool(truth) = truth else { return Err(Error::internal("a cast gave another type")) };
    let found: Vec<usize> = truth.iter().enumerate().filter(|(_, on)| **on).map(|(i, _)| i).collect();
    let strides = crate::tensor::strides(x.shape());
    let mut values = Vec::with_capacity(found.len() * strides.len());
    for (&stride, &dim) in strides.iter().zip(x.shape()) {
        values.extend(found.iter().map(|&i| i64::try_from(i / stride % dim).unwrap_or(i64::MAX)));
    }
    Tensor::new([strides.len(), found.len()], values)
}

fn compress(args: &Args<'_>, axis: Option<i64>) -> Result<Tensor> {
    let (x, keep) = (args.get(0)?, args.get(1)?.values::<bool>()?);
    let kept: Vec<usize> = keep.iter().enumerate().filter(|(_, on)| **on).map(|(i, _)| i).collect();
    let Some(axis) = axis else {
        return x.gathered(vec![kept.len()], &kept, 1);
    };
    let axis = axis_of(axis, x.shape().len())?;
    super::pick::along(x, axis, &kept)
}
