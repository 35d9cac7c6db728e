//! The candidate that is most likelier under the good trials than under the rest.

#![allow(clippy::indexing_slicing, reason = "candidates are counted by the length of their vector")]

use super::parzen::Parzen;
use crate::{rng::SeededRng, search::space::ParamSpace};

/// Draws `candidates` points from `good` and returns the one with the largest `log good(x) - log rest(x)`, the first of
/// equals.
///
/// What is summed of `rest(x)` only grows, so `log good(x) - log (summed part)` bounds the candidate from above. The
/// candidate with the largest bound is summed on, newest components first; once it is summed wholly and still leads,
/// the others cannot pass it. Most candidates are dropped after a small part of the components.
pub(super) fn choose(
    good: &mut Parzen,
    rest: &mut Parzen,
    spaces: &[&ParamSpace],
    candidates: usize,
    rng: &mut SeededRng,
) -> Vec<f64> {
    let mut points: Vec<Vec<f64>> = Vec::new();
    for _ in 0..candidates.max(1) {
        let point = good.draw(spaces, rng);
        if !points.contains(&point) {
            points.push(point);
        }
    }
    let mut partials = good.partials(&points);
    let heights: Vec<f64> = partials
        .iter_mut()
        .map(|partial| {
            while partial.left > 0 {
                partial.extend();
            }
            partial.log()
        })
        .collect();
    let mut partials = rest.partials(&points);
    let mut bounds: Vec<f64> = heights.iter().zip(&partials).map(|(height, rest)| height - rest.log()).collect();
    loop {
        let leader = (0..bounds.len()).fold(0, |best, at| if bounds[at] > bounds[best] { at } else { best });
        if partials[leader].left == 0 {
            return points[leader].clone();
        }
        partials[leader].extend();
        bounds[leader] = heights[leader] - partials[leader].log();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{SearchSpace, sampler::tpe::parzen::Ages};

    #[test]
    fn bounds_choose_what_full_sums_choose() {
        let space = SearchSpace::new()
            .with_float("a", 0.0, 1.0)
            .with_int("b", 1, 20)
            .with_int("c", 1, 5_000)
            .with_categorical("d", ["x", "y", "z"]);
        let spaces: Vec<&ParamSpace> = space.iter().map(|(_, space)| space).collect();
        let mut rng = SeededRng::new(8, 0);
        let parzen = || Parzen::new(&spaces, Ages::Fade, 1.0);
        let (mut good, mut rest) = (parzen(), parzen());
        for number in 0..1_500 {
            let params = space.draw(&mut rng);
            let point: Vec<f64> =
                space.iter().map(|(name, space)| space.point(params.get(name).unwrap()).unwrap()).collect();
            if number % 60 == 0 { &mut good } else { &mut rest }.insert(number, &point);
        }
        for seed in 0..40 {
            let mut rng = SeededRng::new(seed, 1);
            let points: Vec<Vec<f64>> = (0..24).map(|_| good.draw(&spaces, &mut rng)).collect();
            let ratio = |good: &mut Parzen, rest: &mut Parzen, at: usize| {
                good.log_density(&points[at]) - rest.log_density(&points[at])
            };
            let ratios: Vec<f64> = (0..24).map(|at| ratio(&mut good, &mut rest, at)).collect();
            let best = (0..24).fold(0, |best, at| if ratios[at] > ratios[best] { at } else { best });
            let chosen = choose(&mut good, &mut rest, &spaces, 24, &mut SeededRng::new(seed, 1));
            assert_eq!(chosen, points[best]);
        }
    }
}
