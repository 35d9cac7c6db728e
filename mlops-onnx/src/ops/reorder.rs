//! The same elements elsewhere or more often: `Transpose`, `Expand`, `Tile`.

use mlops_core::{Error, Result};

use super::shape::dimensions;
use crate::{
    graph::{Kernel, NodeDef},
    tensor::{axis_of, broadcast_indices, broadcast_shape, transposed},
};

pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    match node.op_type.as_str() {
        "Transpose" => {
            let order = node.ints("perm")?.to_vec();
            Ok(Kernel::one(move |args| {
                let x = args.get(0)?;
                let rank = x.shape().len();
                let order = if order.is_empty() {
                    (0..rank).rev().collect()
                } else {
                    order.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>>>()?
                };
                let (shape, places) = transposed(x.shape(), &order)?;
                x.gathered(shape, &places, 1)
            }))
        }
        "Expand" => Ok(Kernel::one(|args| {
            let x = args.get(0)?;
            let shape = broadcast_shape(x.shape(), &dimensions(&args.get(1)?.to_ints()?)?, args.limits)?;
            let places = broadcast_indices(x.shape(), &shape);
            x.gathered(shape, &places, 1)
        })),
        _ => Ok(Kernel::one(|args| {
            let x = args.get(0)?;
            let repeats = dimensions(&args.get(1)?.to_ints()?)?;
            if repeats.len() != x.shape().len() {
                return Err(Error::invalid_argument(format!(
                    "shape {:?} cannot be repeated {repeats:?} times",
                    x.shape()
                )));
            }
            let sizes = x.shape().iter().zip(&repeats).map(|(dim, times)| dim.checked_mul(*times));
            let shape = sizes
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| Error::resource_exhausted("a repeated shape overflows"))?;
            args.limits.elements(&shape)?;
            let repeated = super::pick::along;
            let axes = x.shape().iter().zip(&repeats).enumerate();
            axes.into_iter().try_fold(x.clone(), |x, (axis, (&dim, &times))| {
                let places: Vec<usize> = (0..times).flat_map(|_| 0..dim).collect();
                repeated(&x, axis, &places)
            })
        })),
    }
}
