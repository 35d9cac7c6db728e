//! Matrix products: `MatMul` (batched, with broadcasting) and `Gemm`.
//!
//! Shapes are settled here; the products are made in [`super::product`].

use mlops_core::{DataType, Error, Result};

use super::{
    no_type,
    product::{Scalar, multiply_into},
};
use crate::{
    Tensor,
    graph::{Args, Kernel, NodeDef},
    tensor::{Data, Shape, broadcast_indices, broadcast_shape, transposed},
};

pub(super) fn kernel(node: &NodeDef) -> Result<Kernel> {
    if node.op_type == "MatMul" {
        return Ok(Kernel::one(|args| {
            let (a, b) = (args.get(0)?, args.get(1)?);
            match a.data_type() {
                DataType::Float32 => batched::<f32>(a, b, args),
                DataType::Float64 => batched::<f64>(a, b, args),
                DataType::Int64 | DataType::Int32 => {
                    let product = batched_slices::<f64>(
                        (&a.converted::<f64>()?, a.shape()),
                        (&b.converted::<f64>()?, b.shape()),
                        args,
                    )?;
                    Tensor::new(product.shape(), crate::tensor::cast(product.data(), a.data_type())?)
                }
                other => Err(no_type(other)),
            }
        }));
    }
    let gemm = Gemm {
        alpha: node.float("alpha", 1.0)?,
        beta: node.float("beta", 1.0)?,
        left: node.int("transA", 0)? != 0,
        right: node.int("transB", 0)? != 0,
    };
    Ok(Kernel::one(move |args| match args.get(0)?.data_type() {
        DataType::Float32 => gemm.run::<f32>(args),
        DataType::Float64 => gemm.run::<f64>(args),
        other => Err(no_type(other)),
    }))
}

fn batched<T: Scalar>(a: &Tensor, b: &Tensor, args: &Args<'_>) -> Result<Tensor>
where
    Data: From<Vec<T>>,
{
    batched_slices((a.values::<T>()?, a.shape()), (b.values::<T>()?, b.shape()), args)
}

fn batched_slices<T: Scalar>(
    (a, a_shape): (&[T], &[usize]),
    (b, b_shape): (&[T], &[usize]),
    args: &Args<'_>,
) -> Result<Tensor>
where
    Data: From<Vec<T>>,
{
    let refuse = || Error::invalid_argument(format!("shapes {a_shape:?} and {b_shape:?} do not multiply"));
    // A vector is a row on the left and a column on the right, and its dimension vanishes again.
    let left = if let &[k] = a_shape { Shape::from_slice(&[1, k]) } else { Shape::from_slice(a_shape) };
    let right = if let &[k] = b_shape { Shape::from_slice(&[k, 1]) } else { Shape::from_slice(b_shape) };
    let ([a_outer @ .., m, k], [b_outer @ .., k2, n]) = (left.as_slice(), right.as_slice()) else {
        return Err(refuse());
    };
    if k != k2 {
        return Err(refuse());
    }
    let (m, k, n) = (*m, *k, *n);
    let outer = broadcast_shape(a_outer, b_outer, args.limits)?;
    let mut shape = outer.clone();
    shape.extend([m, n]);
    let count = args.limits.elements(&shape)?;
    args.operations.spend(&[count, k])?;
    let mut values = vec![T::default(); count];
    if !values.is_empty() {
        let pairs = broadcast_indices(a_outer, &outer).into_iter().zip(broadcast_indices(b_outer, &outer));
        for ((i, j), c) in pairs.zip(values.chunks_exact_mut(m * n)) {
            let (Some(a), Some(b)) = (a.get(i * m * k..(i + 1) * m * k), b.get(j * k * n..(j + 1) * k * n)) else {
                return Err(refuse());
            };
            multiply_into(a, b, c, k, n);
        }
    }
    if b_shape.len() == 1 {
        shape.pop();
    }
    if a_shape.len() == 1 {
        let at = shape.len() - usize::from(b_shape.len() != 1) - 1;
        shape.remove(at);
    }
    Tensor::new(shape, values)
}

/// `CDist`: Euclidean distances, or their squares, of all rows of one matrix to all of another.
pub(super) fn distances(node: &NodeDef) -> Result<Kernel> {
    let root = match node.text("metric", "sqeuclidean")? {
        "euclidean" => true,
        "sqeuclidean" => false,
        other => return Err(Error::unimplemented(format!("CDist with metric {other:?} is not supported"))),
    };
    Ok(Kernel::one(move |args| {
        let (a, b) = (args.get(0)?, args.get(1)?);
        let ((rows, width), (others, other_width)) = (a.matrix()?, b.matrix()?);
        if width != other_width || width == 0 {
            return Err(Error::invalid_argument(format!("rows of {width} have no distance to rows of {other_width}")));
        }
        args.operations.spend(&[args.limits.elements(&[rows, others])?, width])?;
        let (left, right) = (a.converted::<f64>()?, b.converted::<f64>()?);
        let distance = |a: &[f64], b: &[f64]| {
            let square: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
            if root { square.sqrt() } else { square }
        };
        let row = |a| right.chunks_exact(width).map(move |b| distance(a, b));
        let values: Vec<f64> = left.chunks_exact(width).flat_map(row).collect();
        Tensor::new([rows, others], crate::tensor::cast(&Data::from(values), a.data_type())?)
    }))
}

#[derive(Debug)]
struct Gemm {
    alpha: f32,
    beta: f32,
    left: bool,
    right: bool,
}

impl Gemm {
    fn run<T: Scalar>(&self, args: &Args<'_>) -> Result<Tensor>
    where
        Data: From<Vec<T>>,
    {
        let oriented = |x: &Tensor, turn: bool| -> Result<Tensor> {
            if x.shape().len() != 2 {
                return Err(Error::invalid_argument(format!("a matrix is expected, found shape {:?}", x.shape())));
            }
            if !turn {
                return Ok(x.clone());
            }
            let (shape, places) = transposed(x.shape(), &[1, 0])?;
            x.gathered(shape, &places, 1)
        };
        let (a, b) = (oriented(args.get(0)?, self.left)?, oriented(args.get(1)?, self.right)?);
        let product = batched::<T>(&a, &b, args)?;
        let (alpha, beta) = (T::from(self.alpha), T::from(self.beta));
        let mut values = product.values::<T>()?.to_vec();
        if self.alpha != 1.0 {
            values.iter_mut().for_each(|value| *value = *value * alpha);
        }
        if let Some(c) = args.optional(2) {
            let shape = broadcast_shape(product.shape(), c.shape(), args.limits)?;
            if shape.as_slice() != product.shape() {
                return Err(Error::invalid_argument(format!(
                    "shape {:?} of C does not stretch to {shape:?}",
                    c.shape()
                )));
            }
            let summands = c.values::<T>()?;
            match product.shape() {
                // One row of summands for every row, as layers have.
                [_, n] if c.len() == *n && c.shape().last() == Some(n) => {
                    for row in values.chunks_exact_mut((*n).max(1)) {
                        row.iter_mut().zip(summands).for_each(|(value, &c)| *value += c * beta);
                    }
                }
                _ => {
                    for (value, place) in values.iter_mut().zip(broadcast_indices(c.shape(), &shape)) {
                        *value += summands.get(place).copied().unwrap_or_default() * beta;
                    }
                }
            }
        }
        Tensor::new(product.shape(), values)
    }
}
