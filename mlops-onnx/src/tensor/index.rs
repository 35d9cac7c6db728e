//! Arithmetic of positions: axes, strides, permutations.

use mlops_core::{Error, Result};

/// An axis as ONNX writes it, counted from the end when negative.
///
/// # Errors
/// `InvalidArgument` when the rank is smaller.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let axis_from_start = if axis < 0 { axis.saturating_add(signed) } else { axis };
    match usize::try_from(axis_from_start) {
        Ok(found) if found < rank => Ok(found),
        _ => Err(Error::invalid_argument(format!("axis {axis} is outside a tensor of rank {rank}"))),
    }
}

/// Elements to skip for one step along each axis of a row-major tensor.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut step = 1_usize;
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&dim| {
            let stride = step;
            step = step.saturating_mul(dim);
            stride
        })
        .collect();
    strides.reverse();
    strides
}

/// The places, in a tensor walked by `strides`, of the elements of a row-major tensor of `shape`. The caller has
/// checked that `shape` is within the limits.
pub(crate) fn places(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut places = vec![0_usize];
    if shape.contains(&0) {
        return Vec::new();
    }
    for (&dim, &stride) in shape.iter().zip(strides) {
        let steps = |base: usize| (0..dim).map(move |i| base + i * stride);
        places = places.into_iter().flat_map(steps).collect();
    }
    places
}

/// Shape and places of a tensor with its axes in another order.
///
/// # Errors
/// `InvalidArgument` when `order` is no permutation of the axes.
pub(crate) fn transposed(shape: &[usize], order: &[usize]) -> Result<(Vec<usize>, Vec<usize>)> {
    let mut seen = order.to_vec();
    seen.sort_unstable();
    if !seen.iter().copied().eq(0..shape.len()) {
        return Err(Error::invalid_argument(format!("{order:?} is no permutation of the axes of shape {shape:?}")));
    }
    let pick = |from: &[usize]| -> Vec<usize> { order.iter().filter_map(|&axis| from.get(axis).copied()).collect() };
    let to = pick(shape);
    let places = places(&to, &pick(&strides(shape)));
    Ok((to, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_from_both_ends_and_transposing_moves_elements() {
        assert_eq!((axis_of(-1, 3).unwrap(), axis_of(0, 3).unwrap()), (2, 0));
        assert!(axis_of(3, 3).is_err() && axis_of(-4, 3).is_err() && axis_of(i64::MIN, 3).is_err());
        let (shape, places) = transposed(&[2, 3], &[1, 0]).unwrap();
        assert_eq!((shape, places), (vec![3, 2], vec![0, 3, 1, 4, 2, 5]));
        assert!(transposed(&[2, 3], &[0, 0]).is_err());
        assert!(transposed(&[0, 3], &[1, 0]).unwrap().1.is_empty());
    }
}
