//! Points of a scrambled Sobol sequence: even over the space, blind to values.
//!
//! Trial `n` is point `n`, so workers need not know of one another. Scrambling is nested and uniform (Owen, "Scrambled
//! net variance", Annals of Statistics 25, 1997): each digit is flipped by a hash of the seed, the dimension and the
//! digits before it, which keeps the points a net and makes every point uniform.

#![allow(clippy::indexing_slicing, reason = "digits are below 32, degrees below 19")]

mod directions;

use mlops_core::{Error, Result};

use self::directions::DIRECTIONS;
use super::{Proposal, Sampler, StudyView};
use crate::search::{space::SearchSpace, trial::Trial};

/// Binary digits of a coordinate.
const BITS: usize = 32;

/// Proposes points of a scrambled Sobol sequence.
#[derive(Debug, Clone)]
pub struct Qmc {
    /// Direction numbers by dimension.
    directions: Vec<[u32; BITS]>,
}

impl Qmc {
    /// A sequence with a dimension for each parameter.
    ///
    /// # Errors
    /// `InvalidArgument` when the space has more than 128 parameters.
    pub fn new(space: &SearchSpace) -> Result<Self> {
        let most = DIRECTIONS.len() + 1;
        if space.len() > most {
            return Err(Error::invalid_argument(format!(
                "sampler qmc has {most} dimensions, the search space {} parameters",
                space.len()
            )));
        }
        Ok(Self { directions: (0..space.len()).map(directions).collect() })
    }

    /// Coordinates in [0, 1) of a point.
    fn point(&self, index: u32, seed: u64) -> Vec<f64> {
        let coordinate = |(dimension, directions): (usize, &[u32; BITS])| {
            let digits = directions
                .iter()
                .enumerate()
                .fold(0, |sum, (bit, v)| if index >> bit & 1 == 1 { sum ^ v } else { sum });
            f64::from(scramble(digits, mix(seed ^ mix(dimension as u64 + 1)))) / 4_294_967_296.0
        };
        self.directions.iter().enumerate().map(coordinate).collect()
    }
}

/// Direction numbers of one dimension (Bratley and Fox, ACM TOMS 14, 1988).
fn directions(dimension: usize) -> [u32; BITS] {
    let mut v: [u32; BITS] = std::array::from_fn(|bit| 1 << (BITS - 1 - bit));
    let Some(&(coefficients, initial)) = dimension.checked_sub(1).and_then(|at| DIRECTIONS.get(at)) else { return v };
    let degree = initial.len();
    for (bit, &m) in initial.iter().enumerate() {
        v[bit] = m << (BITS - 1 - bit);
    }
    for bit in degree..BITS {
        let mut next = v[bit - degree] ^ (v[bit - degree] >> degree);
        for inner in 1..degree {
            if coefficients >> (degree - 1 - inner) & 1 == 1 {
                next ^= v[bit - inner];
            }
        }
        v[bit] = next;
    }
    v
}

/// Flips each digit, from the highest on, by a hash of those above it.
fn scramble(digits: u32, key: u64) -> u32 {
    (0..BITS as u32).fold(0, |flipped, place| {
        let above = if place == 0 { 0 } else { u64::from(digits >> (32 - place)) };
        let flip = mix(key ^ ((above << 8) | (u64::from(place) + 1))) >> 63;
        flipped | (((digits >> (31 - place)) & 1) ^ flip as u32) << (31 - place)
    })
}

/// The finalizer of `splitmix64` (Steele, Lea and Flood, OOPSLA 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Sampler for Qmc {
    fn observe(&mut self, _: &StudyView<'_>, _: &Trial) {}

    fn propose(&mut self, view: &StudyView<'_>, number: usize) -> Result<Proposal> {
        let mut point = self.point(number as u32, view.seed).into_iter();
        let units: std::collections::BTreeMap<&str, f64> =
            view.space.iter().map(|(name, _)| (name, point.next().unwrap_or(0.5))).collect();
        Ok(view.space.fill(|name, space| space.at_unit(units.get(name).copied().unwrap_or(0.5))).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(dimensions: usize) -> Qmc {
        let space = (0..dimensions).fold(SearchSpace::new(), |s, at| s.with_float(format!("x{at:03}"), 0.0, 1.0));
        Qmc::new(&space).unwrap()
    }

    /// SciPy 1.17.1, `qmc.Sobol(128, scramble=False)`, which orders points by Gray code.
    #[test]
    fn digits_are_those_of_the_reference() {
        let qmc = sequence(128);
        let reference = [
            (1_u32, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
            (2_u32, [0.75, 0.25, 0.25, 0.75, 0.25, 0.25]),
            (3_u32, [0.25, 0.75, 0.75, 0.25, 0.75, 0.75]),
            (33_u32, [0.546875, 0.765625, 0.203125, 0.421875, 0.953125, 0.046875]),
            (63_u32, [0.015625, 0.796875, 0.359375, 0.140625, 0.671875, 0.640625]),
        ];
        for (index, expected) in reference {
            let gray = index ^ (index >> 1);
            for (dimension, value) in [0, 1, 2, 5, 40, 127].into_iter().zip(expected) {
                let digits = qmc.directions[dimension]
                    .iter()
                    .enumerate()
                    .fold(0, |sum, (bit, v)| if gray >> bit & 1 == 1 { sum ^ v } else { sum });
                assert_eq!(f64::from(digits) / 4_294_967_296.0, value, "point {index} dimension {dimension}");
            }
        }
    }

    #[test]
    fn scrambled_points_are_still_a_net() {
        let qmc = sequence(2);
        for seed in 0..5 {
            let points: Vec<Vec<f64>> = (0..256).map(|index| qmc.point(index, seed)).collect();
            // A (0, 8, 2)-net in base two: one point in each elementary interval of volume 1/256.
            for split in 0..=8 {
                let (columns, rows) = (f64::from(1 << split), f64::from(256 >> split));
                let mut cells: Vec<(u32, u32)> =
                    points.iter().map(|point| ((point[0] * columns) as u32, (point[1] * rows) as u32)).collect();
                cells.sort_unstable();
                cells.dedup();
                assert_eq!(cells.len(), 256, "seed {seed} split {split}");
            }
        }
        assert_ne!(qmc.point(3, 1), qmc.point(3, 2));
    }
}
