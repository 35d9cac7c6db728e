//! Clusters of points around their means.

#![allow(clippy::indexing_slicing, reason = "points and centers are addressed below their own counts")]

use crate::{preprocess::Matrix, rng::SeededRng};

/// Passes at most; assignments of a summary need not be final.
const PASSES_MAX: usize = 50;

/// What became of the points.
pub(super) struct KMeans {
    /// For each cluster the point nearest to its center.
    pub(super) nearest: Vec<usize>,
    /// How many points each has.
    pub(super) sizes: Vec<f64>,
}

/// Lloyd's algorithm from centers spread out as k-means++ (Arthur and Vassilvitskii 2007). Fewer
/// clusters than asked for come back when there are fewer different points. `points` has rows.
pub(super) fn kmeans(points: &Matrix, clusters: usize, rng: &mut SeededRng) -> KMeans {
    let mut centers = spread(points, clusters, rng);
    let mut assigned = vec![usize::MAX; points.rows()];
    for _ in 0..PASSES_MAX {
        let mut moved = false;
        for (row, cluster) in assigned.iter_mut().enumerate() {
            let nearest = nearest(&centers, points.row(row)).0;
            moved |= std::mem::replace(cluster, nearest) != nearest;
        }
        if !moved {
            break;
        }
        recenter(points, &assigned, &mut centers);
    }
    summarize(points, &assigned, &centers)
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// The nearest center, the first of equal ones, with its squared distance.
fn nearest(centers: &[Vec<f64>], point: &[f64]) -> (usize, f64) {
    let distances = centers.iter().map(|center| distance(center, point)).enumerate();
    distances.fold((0, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best })
}

/// Centers at points that are drawn by their squared distance to those drawn before.
fn spread(points: &Matrix, clusters: usize, rng: &mut SeededRng) -> Vec<Vec<f64>> {
    let mut centers = vec![points.row(rng.below(points.rows())).to_vec()];
    let mut distances = vec![f64::INFINITY; points.rows()];
    while centers.len() < clusters {
        let last = &centers[centers.len() - 1];
        for (row, known) in distances.iter_mut().enumerate() {
            *known = known.min(distance(points.row(row), last));
        }
        let total: f64 = distances.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut left = rng.uniform() * total;
        let drawn = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        // Rounding may leave a crumb beyond the last point.
        let drawn = drawn.or_else(|| distances.iter().rposition(|&distance| distance > 0.0)).unwrap_or(0);
        centers.push(points.row(drawn).to_vec());
    }
    centers
}

/// Moves every center to the mean of its points; one without points stays.
fn recenter(points: &Matrix, assigned: &[usize], centers: &mut [Vec<f64>]) {
    let mut sums = vec![vec![0.0; points.columns()]; centers.len()];
    let mut counts = vec![0.0; centers.len()];
    for (row, &cluster) in assigned.iter().enumerate() {
        counts[cluster] += 1.0;
        sums[cluster].iter_mut().zip(points.row(row)).for_each(|(sum, value)| *sum += value);
    }
    for ((center, sum), &count) in centers.iter_mut().zip(sums).zip(&counts) {
        if count > 0.0 {
            *center = sum.iter().map(|sum| sum / count).collect();
        }
    }
}

fn summarize(points: &Matrix, assigned: &[usize], centers: &[Vec<f64>]) -> KMeans {
    let mut best = vec![(usize::MAX, f64::INFINITY); centers.len()];
    let mut sizes = vec![0.0; centers.len()];
    for (row, &cluster) in assigned.iter().enumerate() {
        sizes[cluster] += 1.0;
        let distance = distance(points.row(row), &centers[cluster]);
        if distance < best[cluster].1 {
            best[cluster] = (row, distance);
        }
    }
    let kept = best.into_iter().zip(sizes).filter(|((row, _), _)| *row != usize::MAX);
    let (nearest, sizes) = kept.map(|((row, _), size)| (row, size)).unzip();
    KMeans { nearest, sizes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_far_apart_are_found_with_their_sizes() {
        let mut values = Vec::new();
        let mut rng = SeededRng::new(1, 0);
        for (count, center) in [(30, [0.0, 0.0]), (50, [10.0, 0.0]), (20, [0.0, 10.0])] {
            (0..count).for_each(|_| values.extend(center.map(|center| center + 0.1 * rng.normal())));
        }
        let points = Matrix::new(2, values).unwrap();
        let KMeans { nearest, sizes } = kmeans(&points, 3, &mut rng);
        let mut found: Vec<(usize, f64)> = nearest.into_iter().zip(sizes).collect();
        found.sort_unstable_by_key(|(row, _)| *row);
        assert_eq!(found.iter().map(|(_, size)| *size).collect::<Vec<_>>(), [30.0, 50.0, 20.0]);
        assert!(found[0].0 < 30 && found[1].0 < 80 && found[2].0 >= 80);
    }

    #[test]
    fn equal_points_are_one_cluster() {
        let points = Matrix::new(1, vec![2.0; 5]).unwrap();
        let KMeans { nearest, sizes } = kmeans(&points, 3, &mut SeededRng::new(1, 0));
        assert_eq!((nearest, sizes), (vec![0], vec![5.0]));
    }
}
