//! Numpy's broadcasting: shapes aligned at their last axis, ones stretched.
//!
//! The shapes that tables give (equal, one value, one row for all rows) take a fast way; others walk a list of places.

use mlops_core::{Error, Result};

use super::{
    Shape,
    index::{places, strides},
};
use crate::limits::Limits;

/// The shape that both shapes stretch to.
///
/// # Errors
/// `InvalidArgument` when they do not fit, `ResourceExhausted` beyond the limits.
pub(crate) fn broadcast_shape(left: &[usize], right: &[usize], limits: &Limits) -> Result<Shape> {
    let rank = left.len().max(right.len());
    let dim = |shape: &[usize], i: usize| {
        (i + shape.len()).checked_sub(rank).map_or(1, |i| shape.get(i).copied().unwrap_or(1))
    };
    let mut shape = Shape::with_capacity(rank);
    for i in 0..rank {
        shape.push(match (dim(left, i), dim(right, i)) {
            (a, b) if a == b => a,
            (1, b) => b,
            (a, 1) => a,
            _ => return Err(Error::invalid_argument(format!("shapes {left:?} and {right:?} do not broadcast"))),
        });
    }
    limits.elements(&shape)?;
    Ok(shape)
}

/// For each element of `to`, the place of the element of `from` that is stretched to it. `from` broadcasts to `to`.
pub(crate) fn broadcast_indices(from: &[usize], to: &[usize]) -> Vec<usize> {
    let missing = to.len().saturating_sub(from.len());
    let own = strides(from);
    let stretched = from.iter().zip(own).map(|(&dim, stride)| if dim == 1 { 0 } else { stride });
    let stretched: Vec<usize> = std::iter::repeat_n(0, missing).chain(stretched).collect();
    places(to, &stretched)
}

/// Applies `f` to each pair of elements.
///
/// # Errors
/// As [`broadcast_shape`].
pub(crate) fn binary<T: Clone, U>(
    (left, left_shape): (&[T], &[usize]),
    (right, right_shape): (&[T], &[usize]),
    limits: &Limits,
    f: impl Fn(&T, &T) -> U,
) -> Result<(Shape, Vec<U>)> {
    if left_shape == right_shape {
        return Ok((Shape::from_slice(left_shape), left.iter().zip(right).map(|(a, b)| f(a, b)).collect()));
    }
    let shape = broadcast_shape(left_shape, right_shape, limits)?;
    if shape.contains(&0) {
        return Ok((shape, Vec::new()));
    }
    let values = match (left, right) {
        (_, [b]) if shape.as_slice() == left_shape => left.iter().map(|a| f(a, b)).collect(),
        ([a], _) if shape.as_slice() == right_shape => right.iter().map(|b| f(a, b)).collect(),
        _ if shape.as_slice() == left_shape && is_tail(right_shape, left_shape) => {
            // A row at a time, so that the loop within is vector code.
            let mut values = Vec::with_capacity(left.len());
            for row in left.chunks(right.len()) {
                values.extend(row.iter().zip(right).map(|(a, b)| f(a, b)));
            }
            values
        }
        _ => {
            let pairs = broadcast_indices(left_shape, &shape).into_iter().zip(broadcast_indices(right_shape, &shape));
            let pairs = pairs.filter_map(|(a, b)| Some(f(left.get(a)?, right.get(b)?)));
            pairs.collect()
        }
    };
    Ok((shape, values))
}

/// Whether the dimensions of `tail`, leading ones aside, are the last ones of `shape`.
fn is_tail(tail: &[usize], shape: &[usize]) -> bool {
    let ones = tail.iter().take_while(|&&dim| dim == 1).count();
    shape.ends_with(tail.get(ones..).unwrap_or_default()) && tail.len() <= shape.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_stretching_agrees_with_numpy() {
        let check = |a: &[i32], ash: &[usize], b: &[i32], bsh: &[usize], shape: &[usize], want: &[i32]| {
            let got = binary((a, ash), (b, bsh), &Limits::default(), |x, y| x - y).unwrap();
            assert_eq!(got, (Shape::from_slice(shape), want.to_vec()));
        };
        check(&[1, 2], &[2], &[3, 5], &[2], &[2], &[-2, -3]);
        check(&[1, 2, 3, 4], &[2, 2], &[1], &[], &[2, 2], &[0, 1, 2, 3]);
        check(&[1], &[1], &[1, 2], &[2, 1], &[2, 1], &[0, -1]);
        check(&[1, 2, 3, 4], &[2, 2], &[1, 0], &[1, 2], &[2, 2], &[0, 2, 2, 4]);
        check(&[1, 2], &[2, 1], &[1, 0], &[2], &[2, 2], &[0, 1, 1, 2]);
        check(&[], &[0, 2], &[1, 0], &[2], &[0, 2], &[]);
        assert!(broadcast_shape(&[2], &[3], &Limits::default()).is_err());
        assert!(broadcast_shape(&[1 << 20, 1], &[1 << 20], &Limits::default()).is_err());
    }
}
