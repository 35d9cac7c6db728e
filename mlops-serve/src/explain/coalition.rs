//! Which features are known together: all subsets of few, prefixes of random orders of many.
//!
//! Shapley value of feature i among n: the mean over all orders of v(before i, and i) - v(before i), where v(S) is what
//! the model says on average when only the features in S are known (Shapley 1953). All subsets give it exactly, by
//! weights s! (n - s - 1)! / n!. Random orders, each with its reverse (antithetic sampling, Mitchell et al. 2022,
//! "Sampling Permutations for Shapley Value Estimation"), estimate it without bias, and exactly for a model that adds
//! up its features. Either way the values sum up to v(all) - v(none): within each order the terms telescope.

use std::collections::HashMap;

/// For each feature whether it is known.
pub(super) type Coalition = Vec<bool>;

/// What has to be asked, and how values come of it.
#[derive(Debug)]
pub(super) struct Plan {
    /// Coalitions other than none and all.
    pub(super) coalitions: Vec<Coalition>,
    orders: Orders,
}

#[derive(Debug)]
enum Orders {
    /// Coalition k holds the features whose bits are set in k + 1.
    All,
    /// Orders with the place of each of their prefixes, from one feature to all but one.
    Some(Vec<(Vec<usize>, Vec<usize>)>),
}

/// Beyond, subsets are not enumerated whatever the budget.
const ENUMERATED_MAX: usize = 20;

impl Plan {
    /// A plan for `features` features that asks no more than `coalitions_max` coalitions; none when that is not enough for
    /// one order and its reverse.
    pub(super) fn new(features: usize, coalitions_max: usize, seed: u64) -> Option<Self> {
        if features <= ENUMERATED_MAX && (1_usize << features) <= coalitions_max.saturating_add(2) {
            let subset = |bits: usize| (0..features).map(|feature| (bits >> feature) & 1 == 1).collect();
            let coalitions = (1..(1_usize << features).saturating_sub(1)).map(subset).collect();
            return Some(Self { coalitions, orders: Orders::All });
        }
        let pairs = coalitions_max / (2 * (features - 1));
        (pairs > 0).then(|| Self::sampled(features, pairs, seed))
    }

    fn sampled(features: usize, pairs: usize, seed: u64) -> Self {
        let (mut coalitions, mut known, mut random) = (Vec::new(), HashMap::new(), Random(seed));
        let mut orders = Vec::with_capacity(2 * pairs);
        for _ in 0..pairs {
            let order = random.order(features);
            let reverse = order.iter().rev().copied().collect();
            for order in [order, reverse] {
                let mut coalition = vec![false; features];
                let prefixes = order.iter().take(features - 1).map(|&feature| {
                    if let Some(known) = coalition.get_mut(feature) {
                        *known = true;
                    }
                    *known.entry(coalition.clone()).or_insert_with(|| {
                        coalitions.push(coalition.clone());
                        coalitions.len() - 1
                    })
                });
                let prefixes = prefixes.collect();
                orders.push((order, prefixes));
            }
        }
        Self { coalitions, orders: Orders::Some(orders) }
    }

    /// The values of all features, given what was said with none, with all, and with each coalition.
    pub(super) fn values(&self, features: usize, none: f64, all: f64, said: &[f64]) -> Vec<f64> {
        let mut values = vec![0.0; features];
        let mut add = |feature: usize, gain: f64| {
            if let Some(value) = values.get_mut(feature) {
                *value += gain;
            }
        };
        match &self.orders {
            Orders::All => {
                let last = (1_usize << features) - 1;
                let v = |bits: usize| match bits {
                    0 => none,
                    _ if bits == last => all,
                    _ => said.get(bits - 1).copied().unwrap_or(f64::NAN),
                };
                let weights = weights(features);
                for bits in 0..last {
                    let weight = weights.get(bits.count_ones() as usize).copied().unwrap_or(f64::NAN);
                    for feature in (0..features).filter(|feature| (bits >> feature) & 1 == 0) {
                        add(feature, weight * (v(bits | (1 << feature)) - v(bits)));
                    }
                }
            }
            Orders::Some(orders) => {
                let share = 1.0 / orders.len() as f64;
                for (order, prefixes) in orders {
                    let after = prefixes.iter().map(|place| said.get(*place).copied().unwrap_or(f64::NAN));
                    let mut before = none;
                    for (&feature, after) in order.iter().zip(after.chain([all])) {
                        add(feature, share * (after - before));
                        before = after;
                    }
                }
            }
        }
        values
    }
}

/// s! (n - s - 1)! / n! for s from 0 to n - 1, which is 1 / (n C(n - 1, s)).
fn weights(features: usize) -> Vec<f64> {
    let n = features as f64;
    let next = |weight: &f64, s: usize| *weight * s as f64 / (n - s as f64);
    let mut weights = vec![1.0 / n];
    for s in 1..features {
        let weight = weights.last().map_or(0.0, |weight| next(weight, s));
        weights.push(weight);
    }
    weights
}

/// Splitmix64 (Steele, Lea, Flood 2014): the same orders for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The numbers below `count` in random order (Fisher and Yates).
    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let other = (u128::from(self.bits()) * (last as u128 + 1)) >> 64;
            order.swap(last, usize::try_from(other).unwrap_or(last));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a coalition by a made-up model with interactions.
    fn said(coalition: &[bool]) -> f64 {
        let x: Vec<f64> = coalition.iter().enumerate().map(|(i, k)| if *k { i as f64 + 1.5 } else { 0.25 }).collect();
        x.iter().sum::<f64>() + x[0] * x[1] - x[2].sqrt() * x[0] + x.iter().product::<f64>().ln()
    }

    fn values(plan: &Plan, features: usize) -> Vec<f64> {
        let asked: Vec<f64> = plan.coalitions.iter().map(|coalition| said(coalition)).collect();
        plan.values(features, said(&vec![false; features]), said(&vec![true; features]), &asked)
    }

    /// The mean over all orders, one after another.
    fn by_definition(features: usize) -> Vec<f64> {
        fn visit(order: &mut Vec<usize>, rest: &[usize], values: &mut [f64], orders: &mut f64) {
            if rest.is_empty() {
                let mut coalition = vec![false; values.len()];
                for &feature in order.iter() {
                    let before = said(&coalition);
                    coalition[feature] = true;
                    values[feature] += said(&coalition) - before;
                }
                *orders += 1.0;
            }
            for &next in rest {
                order.push(next);
                let rest: Vec<usize> = rest.iter().copied().filter(|other| *other != next).collect();
                visit(order, &rest, values, orders);
                order.pop();
            }
        }
        let (mut values, mut orders) = (vec![0.0; features], 0.0);
        visit(&mut Vec::new(), &(0..features).collect::<Vec<_>>(), &mut values, &mut orders);
        values.iter().map(|value| value / orders).collect()
    }

    #[test]
    fn all_subsets_give_the_mean_over_all_orders() {
        for features in 3..7 {
            let plan = Plan::new(features, 1 << features, 0).unwrap();
            assert_eq!(plan.coalitions.len(), (1 << features) - 2);
            for (found, expected) in values(&plan, features).iter().zip(by_definition(features)) {
                assert!((found - expected).abs() < 1e-12, "{features}: {found} {expected}");
            }
        }
    }

    #[test]
    fn sampled_orders_sum_up_and_come_close() {
        let features = 7;
        let plan = Plan::new(features, 120, 42).unwrap();
        assert!(plan.coalitions.len() <= 120 && matches!(plan.orders, Orders::Some(_)));
        let found = values(&plan, features);
        let whole = said(&vec![true; features]) - said(&vec![false; features]);
        assert!((found.iter().sum::<f64>() - whole).abs() < 1e-10);
        for (found, expected) in found.iter().zip(by_definition(features)) {
            assert!((found - expected).abs() < 1.0, "{found} {expected}");
        }
        assert_eq!(values(&Plan::new(features, 120, 42).unwrap(), features), found, "by the seed alone");
        assert!(Plan::new(features, 11, 0).is_none());
    }

    #[test]
    fn weights_are_those_of_the_definition() {
        assert_eq!(weights(3), [1.0 / 3.0, 1.0 / 6.0, 1.0 / 3.0]);
        assert_eq!(weights(1), [1.0]);
        assert!(Plan::new(1, 0, 0).unwrap().coalitions.is_empty());
        assert_eq!(Plan::new(1, 0, 0).unwrap().values(1, 2.0, 5.0, &[]), [3.0]);
    }
}
