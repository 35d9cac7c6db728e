//! The points of a front that together dominate most.
//!
//! Greedy subset selection: the point that adds most volume below the reference, again and again (Guerreiro, Fonseca
//! and Paquete, "Greedy Hypervolume Subset Selection in Low Dimensions", Evolutionary Computation 24(3), 2016), with
//! the rules of Optuna 5.0 for equal points and for the reference. Volumes by While, Bradstreet and Barone's algorithm
//! (IEEE TEC 16(1), 2012). All objectives are minimized.

use std::cmp::Ordering;

/// Indices of the `count` points that the greedy selection takes, in its order.
///
/// Points count once: others equal to them are taken only when there are too few different ones.
pub(crate) fn choose(points: &[Vec<f64>], count: usize) -> Vec<usize> {
    let at = |index: usize| points.get(index).map(Vec::as_slice).unwrap_or_default();
    let mut left: Vec<usize> = (0..points.len()).collect();
    left.sort_by(|&a, &b| by_value(at(a), at(b)));
    left.dedup_by(|&mut later, &mut first| at(later) == at(first));
    if left.len() <= count {
        let others: Vec<usize> = (0..points.len()).filter(|index| !left.contains(index)).collect();
        left.extend(others);
        left.truncate(count);
        return left;
    }
    let reference = reference(points);
    if reference.iter().any(|reference| !reference.is_finite()) {
        left.truncate(count);
        return left;
    }
    let mut chosen: Vec<usize> = Vec::new();
    // What each point adds only falls while others are taken, so that an old value bounds the new one.
    let mut bounds: Vec<f64> = left.iter().map(|&index| inclusive(at(index), &reference)).collect();
    while chosen.len() < count {
        let taken: Vec<&[f64]> = chosen.iter().map(|&index| at(index)).collect();
        let mut order: Vec<usize> = (0..left.len()).collect();
        let bound = |place: usize| bounds.get(place).copied().unwrap_or(f64::NEG_INFINITY);
        order.sort_by(|&a, &b| bound(b).total_cmp(&bound(a)));
        // The first one where the volumes are too large for a difference.
        let mut most = (f64::NEG_INFINITY, 0);
        for place in order {
            let (Some(bound), Some(&index)) = (bounds.get_mut(place), left.get(place)) else { continue };
            if *bound < most.0 {
                break;
            }
            *bound = adds(at(index), &taken, &reference);
            if *bound > most.0 || *bound == most.0 && place < most.1 {
                most = (*bound, place);
            }
        }
        chosen.push(left.remove(most.1));
        bounds.remove(most.1);
    }
    chosen
}

/// Order by the first value that differs.
fn by_value(a: &[f64], b: &[f64]) -> Ordering {
    // Adding zero makes the negative zero a positive one.
    let orders = a.iter().zip(b).map(|(a, b)| (a + 0.0).total_cmp(&(b + 0.0)));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// A tenth worse than the worst of each objective.
fn reference(points: &[Vec<f64>]) -> Vec<f64> {
    let objectives = points.first().map_or(0, Vec::len);
    let worst =
        |objective: usize| points.iter().filter_map(|point| point.get(objective)).copied().fold(f64::MIN, f64::max);
    let beyond = |worst: f64| f64::max(1.1 * worst, 0.9 * worst);
    (0..objectives).map(|objective| beyond(worst(objective))).map(|r| if r == 0.0 { 1e-12 } else { r }).collect()
}

/// Volume between a point and the reference.
fn inclusive(point: &[f64], reference: &[f64]) -> f64 {
    point.iter().zip(reference).map(|(value, reference)| reference - value).product()
}

/// Volume that a point dominates and none of `others` does.
fn adds(point: &[f64], others: &[&[f64]], reference: &[f64]) -> f64 {
    let within = |other: &&[f64]| other.iter().zip(point).map(|(a, b)| a.max(*b)).collect::<Vec<f64>>();
    let mut limited: Vec<Vec<f64>> = others.iter().map(within).collect();
    // Those that another one dominates add nothing.
    limited.sort_by(|a, b| by_value(a, b));
    let mut front: Vec<Vec<f64>> = Vec::new();
    for candidate in limited {
        if !front.iter().any(|kept| kept.iter().zip(&candidate).all(|(a, b)| a <= b)) {
            front.push(candidate);
        }
    }
    inclusive(point, reference) - volume(&front, reference)
}

/// Volume that points dominate together.
fn volume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let mut rest: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
    let mut sum = 0.0;
    while let Some(point) = rest.pop() {
        sum += adds(point, &rest, reference);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_boxes() {
        let points = [vec![0.0, 2.0], vec![1.0, 1.0], vec![2.0, 0.0]];
        assert_eq!(volume(&points, &[3.0, 3.0]), 6.0);
        let points = [vec![0.0, 0.0, 1.0], vec![1.0, 1.0, 0.0]];
        assert_eq!(volume(&points, &[2.0, 2.0, 2.0]), 4.0 + 2.0 - 1.0);
    }

    /// `_solve_hssp` of Optuna 5.0 on points of a sphere.
    #[test]
    fn chooses_what_the_reference_chooses() {
        check(
            &[
                vec![0.412, -0.122],
                vec![0.554, -0.169],
                vec![-0.097, 0.358],
                vec![0.121, 0.066],
                vec![0.022, 0.172],
                vec![0.748, -0.199],
                vec![-0.176, 0.584],
                vec![0.173, 0.021],
                vec![0.665, -0.191],
            ],
            &[0, 2, 3, 4],
        );
        check(
            &[
                vec![0.527, 0.045, 0.204],
                vec![0.047, 0.245, 0.447],
                vec![0.432, -0.074, 0.482],
                vec![0.325, -0.039, 0.534],
                vec![0.461, -0.016, 0.331],
                vec![0.679, 0.137, 0.061],
                vec![0.697, 0.076, 0.118],
                vec![0.464, 0.209, 0.066],
                vec![0.383, 0.477, -0.049],
                vec![0.219, 0.186, 0.266],
            ],
            &[0, 1, 4, 7, 9],
        );
        check(
            &[
                vec![0.19, 0.036, 0.675, 0.63],
                vec![0.584, 0.697, -0.165, 0.689],
                vec![0.55, -0.161, 0.735, 0.698],
                vec![0.59, 0.301, 0.012, 0.508],
                vec![0.368, 0.586, -0.058, 0.621],
                vec![0.786, -0.101, 0.482, 0.505],
                vec![0.71, 0.534, -0.151, 0.668],
                vec![0.625, 0.079, 0.163, 0.59],
                vec![0.096, 0.337, 0.727, 0.266],
            ],
            &[3, 4, 7, 8],
        );
    }

    fn check(points: &[Vec<f64>], expected: &[usize]) {
        let mut chosen = choose(points, expected.len());
        chosen.sort_unstable();
        assert_eq!(chosen, expected);
    }
    #[test]
    fn numbers_without_a_volume_are_chosen_all_the_same() {
        const MOST: f64 = f64::MAX;
        assert_eq!(choose(&[vec![MOST, 0.0], vec![1.0, 1.0], vec![0.0, MOST], vec![0.5, 2.0]], 2), [2, 3]);
        let mut points = vec![vec![-MOST, -MOST, 1.0], vec![-MOST, 1.0, -MOST], vec![1.0, -MOST, -MOST]];
        points.extend((0..60).map(|at| vec![f64::from(at), f64::from(60 - at), MOST / 1e10]));
        for count in 0..points.len() {
            assert_eq!(choose(&points, count).len(), count);
        }
    }

    #[test]
    fn equal_points_come_last() {
        let points = [vec![1.0, 1.0], vec![1.0, 1.0], vec![0.0, 2.0]];
        assert_eq!(choose(&points, 3), [2, 0, 1]);
    }
}
