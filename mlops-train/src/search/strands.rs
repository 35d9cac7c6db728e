//! Sums and maxima in four strands, which processors work on side by side.

/// Sum of products in four strands, so that they can be added side by side.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (chunks, others) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = chunks.remainder().iter().zip(others.remainder()).map(|(x, y)| x * y).sum();
    let mut sums = [0.0; 4];
    for (x, y) in chunks.zip(others) {
        sums.iter_mut().zip(x).zip(y).for_each(|((sum, x), y)| *sum += x * y);
    }
    rest + sums.iter().sum::<f64>()
}

/// The largest value; negative infinity of none, and of what is not a number.
pub(crate) fn largest(values: &[f64]) -> f64 {
    let greater = |a: f64, b: f64| if b > a { b } else { a };
    let chunks = values.chunks_exact(4);
    let rest = chunks.remainder().iter().copied().fold(f64::NEG_INFINITY, greater);
    let mut most = [f64::NEG_INFINITY; 4];
    for chunk in chunks {
        most.iter_mut().zip(chunk).for_each(|(most, &value)| *most = greater(*most, value));
    }
    most.into_iter().fold(rest, greater)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strands_give_what_one_loop_gives() {
        for n in 0..20 {
            let values: Vec<f64> = (0..n).map(|i| f64::from(i * 7 % 5) - 2.0).collect();
            assert_eq!(dot(&values, &values), values.iter().map(|v| v * v).sum::<f64>());
            assert_eq!(largest(&values), values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        }
    }
}
