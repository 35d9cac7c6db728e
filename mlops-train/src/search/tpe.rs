//! The tree-structured Parzen estimator: draw from the density of good trials, keep the candidate
//! that is most likelier under it than under the rest.

use mlops_metrics::Direction;

use super::{
    parzen::Parzen,
    sampler::TpeSettings,
    space::{ParamSpace, SearchSpace},
    study::{Trial, TrialState},
};
use crate::{params::Params, rng::SeededRng};

/// Proposes parameters from the trials so far.
pub(super) fn propose(
    space: &SearchSpace,
    direction: Direction,
    trials: &[Trial],
    settings: &TpeSettings,
    rng: &mut SeededRng,
) -> Params {
    let finished = trials.iter().filter(|trial| trial.value().is_some()).count();
    if finished < settings.startup_trials.max(1) {
        return space.draw(rng);
    }
    let spaces: Vec<&ParamSpace> = space.iter().map(|(_, space)| space).collect();
    let (good, rest) = divide(space, direction, trials, finished);
    let (good, rest) = (Parzen::new(&spaces, &good), Parzen::new(&spaces, &rest));
    let mut best: Option<(f64, Vec<f64>)> = None;
    for _ in 0..settings.candidates {
        let point = good.draw(rng);
        let ratio = good.log_density(&point) - rest.log_density(&point);
        if best.as_ref().is_none_or(|best| ratio > best.0) {
            best = Some((ratio, point));
        }
    }
    let Some((_, point)) = best else { return space.draw(rng) };
    space.iter().zip(point).map(|((name, space), value)| (name, space.at(value))).collect()
}

/// How many of `n` finished trials count as good.
fn good_count(n: usize) -> usize {
    n.div_ceil(10).min(25)
}

/// Points of the good and of all other trials, running ones included, each in order of trials.
fn divide(
    space: &SearchSpace,
    direction: Direction,
    trials: &[Trial],
    finished: usize,
) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let mut ranked: Vec<(f64, usize)> =
        trials.iter().enumerate().filter_map(|(at, trial)| Some((direction.loss(trial.value()?), at))).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    ranked.truncate(good_count(finished));
    let good: std::collections::HashSet<usize> = ranked.into_iter().map(|(_, at)| at).collect();
    let (mut below, mut above) = (Vec::new(), Vec::new());
    for (at, trial) in trials.iter().enumerate() {
        let Some(point) = point_of(space, &trial.params) else { continue };
        match trial.state {
            _ if good.contains(&at) => below.push(point),
            TrialState::Complete { .. } | TrialState::Running => above.push(point),
            TrialState::Failed => {}
        }
    }
    (below, above)
}

fn point_of(space: &SearchSpace, params: &Params) -> Option<Vec<f64>> {
    space.iter().map(|(name, space)| space.point(params.get(name)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_good_up_to_twenty_five() {
        assert_eq!([1, 10, 11, 100, 250, 1_000].map(good_count), [1, 1, 2, 10, 25, 25]);
    }
}
