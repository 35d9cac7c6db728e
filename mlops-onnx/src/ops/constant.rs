//! Values that come from attributes or shapes alone: `Constant`, `ConstantOfShape`, `Range`, `EyeLike`.

use mlops_core::{DataType, Error, Result};

use crate::{
    Tensor,
    graph::{Kernel, NodeDef},
    proto::element_type,
    tensor::{Data, Text, cast},
};

/// The value of a `Constant` node; none for any other.
pub(super) fn value(node: &NodeDef) -> Result<Option<Tensor>> {
    if node.op_type != "Constant" {
        return Ok(None);
    }
    if let Some(tensor) = node.tensor("value")? {
        return Ok(Some(tensor.clone()));
    }
    let texts = |texts: &[String]| -> Vec<Text> { texts.iter().map(|text| text.as_str().into()).collect() };
    Ok(Some(if node.has("value_float") {
        Tensor::new([], vec![node.float("value_float", 0.0)?])?
    } else if node.has("value_int") {
        Tensor::new([], vec![node.int("value_int", 0)?])?
    } else if node.has("value_string") {
        Tensor::new([], texts(&[node.text("value_string", "")?.to_owned()]))?
    } else if node.has("value_floats") {
        Tensor::vector(node.floats("value_floats")?.to_vec())
    } else if node.has("value_ints") {
        Tensor::vector(node.ints("value_ints")?.to_vec())
    } else if node.has("value_strings") {
        Tensor::vector(texts(node.texts("value_strings")?))
    } else {
        return Err(Error::invalid_argument("a constant has no value that is supported"));
    }))
}

/// The other operators of this file.
pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    match node.op_type.as_str() {
        "ConstantOfShape" => {
            let value = node.tensor("value")?.cloned().unwrap_or(Tensor::vector(vec![0.0_f32]));
            if value.len() != 1 {
                return Err(Error::invalid_argument("the value of ConstantOfShape must be one element"));
            }
            Ok(Kernel::one(move |args| {
                let shape = super::shape::dimensions(&args.get(0)?.to_ints()?)?;
                let count = args.limits.elements(&shape)?;
                value.gathered(shape, &vec![0; count], 1)
            }))
        }
        "Range" => Ok(Kernel::one(|args| {
            let number = |index: usize| -> Result<f64> {
                let values = args.get(index)?.converted::<f64>()?;
                values.first().copied().ok_or_else(|| Error::invalid_argument("a bound of Range is empty"))
            };
            let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
            let count = ((limit - start) / delta).ceil().max(0.0);
            if !count.is_finite() {
                return Err(Error::invalid_argument("Range has no end; its delta must not be zero"));
            }
            let count = args.limits.elements(&[count as usize])?;
            let values: Vec<f64> = (0..count).map(|i| start + i as f64 * delta).collect();
            Tensor::new([count], cast(&Data::from(values), args.get(0)?.data_type())?)
        })),
        _ => {
            let (offset, to) = (node.int("k", 0)?, node.int("dtype", 0)?);
            let to = if to == 0 { None } else { Some(element_type(to)?) };
            Ok(Kernel::one(move |args| {
                let x = args.get(0)?;
                let &[rows, columns] = x.shape() else {
                    return Err(Error::invalid_argument("EyeLike needs a matrix"));
                };
                let on = |i: usize, j: usize| {
                    i64::try_from(j).ok() == i64::try_from(i).ok().and_then(|i| i.checked_add(offset))
                };
                let values: Vec<f32> =
                    (0..rows).flat_map(|i| (0..columns).map(move |j| f32::from(u8::from(on(i, j))))).collect();
                let to: DataType = to.unwrap_or(x.data_type());
                Tensor::new([rows, columns], cast(&Data::from(values), to)?)
            }))
        }
    }
}
