//! Fewer points with the same look, for charts.
//!
//! Source: S. Steinarsson, "Downsampling Time Series for Visual Representation" (University of Iceland, 2013), section 4.2,
//! Largest Triangle Three Buckets. The first and last points are kept; the others are cut into equal buckets, and of each the
//! point is kept that forms the largest triangle with the point kept before it and the mean of the next bucket. A series
//! that is too long for memory is first thinned to the least and greatest of small buckets, as in J. Van Der Donckt et al.,
//! "MinMaxLTTB: Leveraging MinMax-Preselection to Scale LTTB in Visualization" (IEEE VIS 2023).
//!
//! Invariant: what is kept is a subset in the given order, with the first and the last point.

use super::segment::Point;

/// The indices of `kept` points of a series with ascending x, in order; all when there are no more, and at least the
/// first and last. Points with equal x are allowed; of equal triangles the first wins. Values must be finite.
///
/// ```
/// use mlops_registry::tracking::downsample::largest_triangle_three_buckets;
///
/// let flat_with_a_peak: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i), if i == 42 { 1.0 } else { 0.0 })).collect();
/// let kept = largest_triangle_three_buckets(&flat_with_a_peak, 10);
/// assert_eq!(kept.len(), 10);
/// assert!(kept.contains(&42));
/// ```
#[must_use]
pub fn largest_triangle_three_buckets(points: &[(f64, f64)], kept: usize) -> Vec<usize> {
    let kept = kept.max(2);
    let (Some(&first), Some(&last)) = (points.first(), points.last()) else { return Vec::new() };
    if points.len() <= kept {
        return (0..points.len()).collect();
    }
    let (buckets, inner) = (kept - 2, points.len() - 2);
    // Where a bucket begins, without the overflow that a product of counts could have.
    let edge = |bucket: usize| 1 + (inner as u128 * bucket as u128 / buckets.max(1) as u128) as usize;
    let (mut chosen, mut before) = (vec![0], first);
    for bucket in 0..buckets {
        let (begin, end) = (edge(bucket), edge(bucket + 1));
        let next = points.get(end..edge((bucket + 2).min(buckets))).unwrap_or_default();
        let after = if bucket + 1 == buckets { last } else { mean(next) };
        let here = points.get(begin..end).unwrap_or_default();
        let mut best = (begin, f64::NEG_INFINITY);
        for (index, point) in (begin..).zip(here) {
            let area = triangle(before, *point, after);
            if area > best.1 {
                best = (index, area);
            }
        }
        chosen.push(best.0);
        before = points.get(best.0).copied().unwrap_or(before);
    }
    chosen.push(points.len() - 1);
    chosen
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    // Divided first, so that a sum of large values stays finite.
    points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count))
}

/// Twice the area, which orders as the area does.
fn triangle(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> f64 {
    let area = ((a.0 - c.0) * (b.1 - a.1) - (a.0 - b.0) * (c.1 - a.1)).abs();
    if area.is_nan() { f64::INFINITY } else { area }
}

/// Thins a series that comes piece by piece to the least and greatest values of buckets of equal count, whose width doubles
/// whenever there are too many.
#[derive(Debug)]
pub(crate) struct MinMaxThinner {
    buckets_max: usize,
    width: usize,
    filled: usize,
    buckets: Vec<(Point, Point)>,
    ends: Option<(Point, Point)>,
}

impl MinMaxThinner {
    /// Keeps at most `2 * buckets_max + 2` points.
    pub(crate) fn new(buckets_max: usize) -> Self {
        Self { buckets_max: buckets_max.max(2), width: 1, filled: 0, buckets: Vec::new(), ends: None }
    }

    /// Takes the next point. Those that are not finite have no place in a picture and are left out.
    pub(crate) fn push(&mut self, point: Point) {
        if !point.value().is_finite() {
            return;
        }
        self.ends = Some((self.ends.map_or(point, |(first, _)| first), point));
        match self.buckets.last_mut().filter(|_| self.filled < self.width) {
            Some(bucket) => *bucket = join(*bucket, (point, point)),
            None => {
                self.filled = 0;
                if self.buckets.len() == self.buckets_max {
                    self.widen();
                }
                match self.buckets.last_mut().filter(|_| self.filled > 0) {
                    Some(bucket) => *bucket = join(*bucket, (point, point)),
                    None => self.buckets.push((point, point)),
                }
            }
        }
        self.filled += 1;
    }

    /// Joins neighbors; an odd last bucket is half full then.
    fn widen(&mut self) {
        let odd = self.buckets.len() % 2 == 1;
        self.filled = if odd { self.width } else { 0 };
        let pair = |pair: &[(Point, Point)]| pair.iter().copied().reduce(join);
        self.buckets = self.buckets.chunks(2).filter_map(pair).collect();
        self.width *= 2;
    }

    /// The points that are left, by (step, timestamp, value).
    pub(crate) fn finish(self) -> Vec<Point> {
        let mut points: Vec<Point> = self.buckets.iter().flat_map(|(least, greatest)| [*least, *greatest]).collect();
        points.extend(self.ends.iter().flat_map(|(first, last)| [*first, *last]));
        points.sort_by_key(|point| (point.step, point.order()));
        points.dedup();
        points
    }
}

fn join(a: (Point, Point), b: (Point, Point)) -> (Point, Point) {
    let least = if b.0.value() < a.0.value() { b.0 } else { a.0 };
    let greatest = if b.1.value() > a.1.value() { b.1 } else { a.1 };
    (least, greatest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word: every candidate of every bucket with the shoelace formula.
    fn by_definition(points: &[(f64, f64)], kept: usize) -> Vec<usize> {
        let (buckets, inner) = (kept - 2, points.len() - 2);
        let bucket = |i: usize| -> Vec<usize> {
            if i == 0 {
                vec![0]
            } else if i == buckets + 1 {
                vec![points.len() - 1]
            } else {
                (1 + inner * (i - 1) / buckets..1 + inner * i / buckets).collect()
            }
        };
        let mut chosen = vec![0];
        for i in 1..=buckets {
            let next = bucket(i + 1);
            let n = next.len() as f64;
            let c = (
                next.iter().map(|j| points[*j].0 / n).sum::<f64>(),
                next.iter().map(|j| points[*j].1 / n).sum::<f64>(),
            );
            let a = points[*chosen.last().unwrap()];
            let area = |j: usize| {
                let b = points[j];
                0.5 * (a.0 * (b.1 - c.1) + b.0 * (c.1 - a.1) + c.0 * (a.1 - b.1)).abs()
            };
            let here = bucket(i);
            let best = here.iter().copied().reduce(|x, y| if area(y) > area(x) { y } else { x }).unwrap();
            chosen.push(best);
        }
        chosen.push(points.len() - 1);
        chosen
    }

    proptest! {
        // Whole numbers with power-of-two buckets, so that both ways of reckoning are exact.
        #[test]
        fn buckets_give_their_largest_triangles(ys in proptest::collection::vec(-100_i32..100, 34), scale in 1_u32..4) {
            let points: Vec<(f64, f64)> =
                ys.iter().enumerate().map(|(i, y)| (i as f64 * f64::from(scale), f64::from(*y))).collect();
            for kept in [3, 4, 6, 10, 18] {
                prop_assert_eq!(largest_triangle_three_buckets(&points, kept), by_definition(&points, kept));
            }
        }

        #[test]
        fn any_finite_series_keeps_its_ends(ys in proptest::collection::vec(any::<f64>().prop_filter("finite", |y| y.is_finite()), 0..60), kept in 0_usize..20) {
            let points: Vec<(f64, f64)> = ys.iter().map(|y| (0.0, *y)).collect();
            let chosen = largest_triangle_three_buckets(&points, kept);
            prop_assert!(chosen.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(chosen.len(), points.len().min(kept.max(2)));
            prop_assert_eq!(chosen.last().copied(), points.len().checked_sub(1));
        }

        #[test]
        fn thinning_keeps_ends_and_extremes(ys in proptest::collection::vec(-1e9..1e9_f64, 1..500), buckets in 2_usize..20) {
            let mut thinner = MinMaxThinner::new(buckets);
            let points: Vec<Point> =
                ys.iter().zip(0..).map(|(y, i)| Point { at: i, step: i, bits: y.to_bits() }).collect();
            points.iter().for_each(|point| thinner.push(*point));
            let left = thinner.finish();
            prop_assert!(left.len() <= 2 * buckets + 2);
            prop_assert!(left.iter().all(|point| points.contains(point)));
            let range = |points: &[Point]| points.iter().fold((f64::MAX, f64::MIN), |(low, high), p| (low.min(p.value()), high.max(p.value())));
            prop_assert_eq!(range(&left), range(&points));
            prop_assert_eq!((left.first(), left.last()), (points.first(), points.last()));
            if points.len() <= buckets {
                prop_assert_eq!(left, points);
            }
        }
    }
}
