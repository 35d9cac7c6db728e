//! Which coalitions KernelSHAP asks: all of the smallest and largest sizes, random ones of the
//! sizes between.
//!
//! A coalition of `s` of `n` groups weighs `(n - 1) / (C(n, s) s (n - s))` (Lundberg and Lee 2017).
//! Each comes with its complement, which halves the variance of what is odd in the model (Covert
//! and Lee 2021). Random ones stand for their sizes by one common weight.

use super::game::Coalition;
use crate::rng::SeededRng;

/// Coalitions in the order in which they are asked.
#[derive(Debug)]
pub(super) struct Plan {
    /// Every coalition of its size, with its own weight.
    pub(super) enumerated: Vec<(Coalition, f64)>,
    /// Random coalitions, each followed by its complement.
    pub(super) sampled: Vec<Coalition>,
    /// The weight of all sizes that random ones stand for.
    pub(super) sampled_weight: f64,
}

impl Plan {
    /// At most `coalitions_max` coalitions of `groups` groups; none when that is too few for all
    /// single groups, their complements, and two random pairs.
    pub(super) fn new(groups: usize, coalitions_max: usize, rng: &mut SeededRng) -> Option<Self> {
        let mut plan = Self { enumerated: Vec::new(), sampled: Vec::new(), sampled_weight: 0.0 };
        let sizes: Vec<Size> = (1..=groups / 2).map(|size| Size::new(groups, size)).collect();
        let total: f64 = sizes.iter().map(|size| size.count).sum();
        let mut left = coalitions_max;
        let mut first_sampled = sizes.len();
        for (index, size) in sizes.iter().enumerate() {
            let open: f64 = sizes.iter().skip(index).map(|size| size.weight).sum();
            let expected = left as f64 * size.weight / open;
            let worthwhile = index == 0 || total <= coalitions_max as f64 || size.count <= expected;
            if size.count > left as f64 || !worthwhile {
                first_sampled = index;
                break;
            }
            size.enumerate(groups, &mut plan.enumerated);
            left -= size.count as usize;
        }
        let open = sizes.get(first_sampled..).unwrap_or_default();
        if !open.is_empty() {
            if first_sampled == 0 || left < 4 {
                return None;
            }
            plan.sampled_weight = open.iter().map(|size| size.weight).sum();
            plan.sample(groups, open, left / 2, rng);
        }
        Some(plan)
    }

    fn sample(&mut self, groups: usize, open: &[Size], pairs: usize, rng: &mut SeededRng) {
        for _ in 0..pairs {
            let mut at = rng.uniform() * self.sampled_weight;
            let size = open.iter().find(|size| {
                at -= size.weight;
                at < 0.0
            });
            let size = size.or(open.last()).map_or(1, |size| size.size);
            let mut coalition = vec![false; groups];
            for member in rng.choose(groups, size) {
                if let Some(known) = coalition.get_mut(member as usize) {
                    *known = true;
                }
            }
            let complement = coalition.iter().map(|known| !known).collect();
            self.sampled.extend([coalition, complement]);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.enumerated.len() + self.sampled.len()
    }
}

/// Coalitions of `size` groups and their complements.
#[derive(Debug)]
struct Size {
    size: usize,
    /// How many there are, infinite beyond the largest double.
    count: f64,
    /// What all together weigh.
    weight: f64,
}

impl Size {
    fn new(groups: usize, size: usize) -> Self {
        let (n, s) = (groups as f64, size as f64);
        let sides = if 2 * size == groups { 1.0 } else { 2.0 };
        let binomial = (1..=size).fold(1.0, |binomial, k| binomial * (n - s + k as f64) / k as f64).round();
        Self { size, count: sides * binomial, weight: sides * (n - 1.0) / (s * (n - s)) }
    }

    /// All coalitions in lexicographic order of their members.
    fn enumerate(&self, groups: usize, into: &mut Vec<(Coalition, f64)>) {
        let weight = self.weight / self.count;
        let both = 2 * self.size != groups;
        let mut members: Vec<usize> = (0..self.size).collect();
        loop {
            let coalition: Coalition = (0..groups).map(|group| members.contains(&group)).collect();
            if both {
                into.push((coalition.iter().map(|known| !known).collect(), weight));
            }
            into.push((coalition, weight));
            // The last member that can move up takes those behind it along.
            let movable = members.iter().enumerate().rev().find(|(k, member)| **member < groups - self.size + k);
            let Some((k, &member)) = movable else { return };
            for (step, moved) in members.iter_mut().skip(k).enumerate() {
                *moved = member + 1 + step;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_coalitions_fit_into_a_large_bound_with_their_weights() {
        for groups in 2..=9 {
            let plan = Plan::new(groups, 1 << groups, &mut SeededRng::new(1, 0)).unwrap();
            assert_eq!((plan.enumerated.len(), plan.sampled.len()), ((1 << groups) - 2, 0));
            let mut seen: Vec<&Coalition> = plan.enumerated.iter().map(|(coalition, _)| coalition).collect();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), (1 << groups) - 2);
            // (n - 1) / (C(n, 1) 1 (n - 1)) for one group.
            let single = plan.enumerated.iter().find(|(c, _)| c.iter().filter(|known| **known).count() == 1).unwrap();
            assert!((single.1 - 1.0 / groups as f64).abs() < 1e-15);
        }
    }

    #[test]
    fn a_small_bound_keeps_single_groups_and_draws_pairs() {
        let plan = Plan::new(30, 500, &mut SeededRng::new(1, 0)).unwrap();
        assert_eq!((plan.enumerated.len(), plan.len()), (60, 500));
        let size = |coalition: &Coalition| coalition.iter().filter(|known| **known).count();
        for pair in plan.sampled.chunks(2) {
            assert_eq!(size(&pair[0]) + size(&pair[1]), 30);
            assert!((2..=28).contains(&size(&pair[0])));
        }
        let total: f64 = plan.enumerated.iter().map(|(_, weight)| weight).sum::<f64>() + plan.sampled_weight;
        let expected: f64 = (1..30).map(|s| 29.0 / f64::from(s * (30 - s))).sum();
        assert!((total - expected).abs() < 1e-12);
        assert!(Plan::new(30, 63, &mut SeededRng::new(1, 0)).is_none());
        assert_eq!(Plan::new(1, 0, &mut SeededRng::new(1, 0)).unwrap().len(), 0);
    }
}
