//! Rows that cover the others: the greedy k-center of Sener and Savarese (ICLR 2018).

use mlops_core::{Error, Result};

/// Chooses `count` rows one after the other, each the farthest (Euclidean) from all chosen and
/// initial ones, the first of equals. Distances are at most twice those of the best choice. Without
/// initial rows the first row is chosen first. Takes time in proportion to rows times chosen.
///
/// ```
/// let rows = [vec![0.0], vec![1.0], vec![9.0], vec![10.0]];
/// assert_eq!(mlops_train::active::k_center_greedy(&rows, &[0], 2)?, [3, 1]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when rows differ in length, a number is not finite or an initial row is not
/// there.
pub fn k_center_greedy(rows: &[Vec<f64>], initial: &[usize], count: usize) -> Result<Vec<usize>> {
    let width = rows.first().map_or(0, Vec::len);
    if rows.iter().any(|row| row.len() != width || !row.iter().all(|value| value.is_finite())) {
        return Err(Error::invalid_argument("k-center needs rows of as many finite numbers each"));
    }
    let mut reach = vec![f64::INFINITY; rows.len()];
    for &center in initial {
        let center = rows.get(center).ok_or_else(|| {
            Error::invalid_argument(format!("initial row {center} is not among the {} rows", rows.len()))
        })?;
        shorten(&mut reach, rows, center);
    }
    let mut taken = vec![false; rows.len()];
    for row in initial {
        if let Some(slot) = taken.get_mut(*row) {
            *slot = true;
        }
    }
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let free = reach.iter().zip(&taken).enumerate().filter(|(_, (_, taken))| !**taken);
        let farthest = free.fold(None, |best: Option<(usize, f64)>, (row, (reach, _))| match best {
            Some((_, most)) if most >= *reach => best,
            _ => Some((row, *reach)),
        });
        let Some((row, _)) = farthest else { break };
        if let (Some(slot), Some(center)) = (taken.get_mut(row), rows.get(row)) {
            *slot = true;
            shorten(&mut reach, rows, center);
        }
        chosen.push(row);
    }
    Ok(chosen)
}

/// Squared distances to the nearest center, with one center more.
fn shorten(reach: &mut [f64], rows: &[Vec<f64>], center: &[f64]) {
    for (reach, row) in reach.iter_mut().zip(rows) {
        let squared: f64 = row.iter().zip(center).map(|(a, b)| (a - b).powi(2)).sum();
        *reach = reach.min(squared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_chosen_at_most_once() {
        let rows: Vec<Vec<f64>> = (0..7).map(|i| vec![f64::from(i * i % 5), f64::from(i % 3)]).collect();
        let mut chosen = k_center_greedy(&rows, &[2], 50).unwrap();
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 1, 3, 4, 5, 6]);
        assert_eq!(k_center_greedy(&rows, &[], 1).unwrap(), [0]);
        assert!(k_center_greedy(&[], &[], 3).unwrap().is_empty());
    }

    #[test]
    fn wrong_rows_are_refused() {
        assert!(k_center_greedy(&[vec![1.0], vec![1.0, 2.0]], &[], 1).is_err());
        assert!(k_center_greedy(&[vec![f64::NAN]], &[], 1).is_err());
        assert!(k_center_greedy(&[vec![1.0]], &[1], 1).is_err());
    }
}
