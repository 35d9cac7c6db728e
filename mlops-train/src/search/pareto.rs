//! Trials with several objectives: which dominate which.
//!
//! A feasible trial dominates an infeasible one; of infeasible ones the less violated; of feasible ones that which is
//! better in one objective and worse in none (Deb's constrained domination, IEEE TEC 6(2), 2002).

use std::cmp::Ordering;

use super::{sampler::StudyView, trial::Trial};

/// A trial with its values as something to minimize, and its place among those that were given.
struct Candidate<'a> {
    trial: &'a Trial,
    losses: Vec<f64>,
    place: usize,
}

impl Candidate<'_> {
    fn dominates(&self, other: &Self) -> bool {
        let pairs = || self.losses.iter().zip(&other.losses);
        pairs().all(|(a, b)| a <= b) && pairs().any(|(a, b)| a < b)
    }
}

/// Complete trials in fronts: the first is dominated by none, the second by the first alone, and so on, until `count`
/// trials are in one. Trials of a front are in the order in which they were given.
pub(crate) fn fronts<'a>(view: &StudyView<'_>, trials: &[&'a Trial], count: usize) -> Vec<Vec<&'a Trial>> {
    let complete = || trials.iter().enumerate().filter(|(_, trial)| trial.value().is_some());
    let feasible = complete().filter(|(_, trial)| trial.violation() <= 0.0);
    let feasible = feasible.map(|(place, &trial)| Candidate { trial, losses: view.losses(trial), place });
    let mut fronts: Vec<Vec<&Trial>> = feasible_fronts(feasible.collect()).into_iter().map(in_order).collect();
    let mut violated: Vec<&'a Trial> =
        complete().map(|(_, &trial)| trial).filter(|trial| trial.violation() > 0.0).collect();
    violated.sort_by(|a, b| a.violation().total_cmp(&b.violation()));
    fronts.extend(violated.chunk_by(|a, b| a.violation() == b.violation()).map(<[&Trial]>::to_vec));
    let mut placed = 0;
    let wanted = fronts.iter().take_while(|front| {
        let more = placed < count;
        placed += front.len();
        more
    });
    let wanted = wanted.count();
    fronts.truncate(wanted);
    fronts
}

/// Candidates by front, by efficient non-dominated sort (Zhang et al., IEEE TEC 19(2), 2015): in ascending order a
/// candidate is dominated by earlier ones only, and by one of a front if by one of every front before.
fn feasible_fronts(mut candidates: Vec<Candidate<'_>>) -> Vec<Vec<Candidate<'_>>> {
    // Adding zero makes the negative zero a positive one.
    let order = |a: &Candidate<'_>, b: &Candidate<'_>| {
        let pairs = a.losses.iter().zip(&b.losses).map(|(a, b)| (a + 0.0).total_cmp(&(b + 0.0)));
        pairs.fold(Ordering::Equal, Ordering::then)
    };
    candidates.sort_by(order);
    let mut fronts: Vec<Vec<Candidate<'_>>> = Vec::new();
    for candidate in candidates {
        let dominated = |front: &Vec<Candidate<'_>>| match candidate.losses.len() {
            // Of two objectives the second falls along a front, so that the latest dominates if any does.
            0..=2 => front.last().is_some_and(|latest| latest.dominates(&candidate)),
            _ => front.iter().rev().any(|other| other.dominates(&candidate)),
        };
        let place = fronts.partition_point(dominated);
        match fronts.get_mut(place) {
            Some(front) => front.push(candidate),
            None => fronts.push(vec![candidate]),
        }
    }
    fronts
}

fn in_order(mut front: Vec<Candidate<'_>>) -> Vec<&Trial> {
    front.sort_by_key(|candidate| candidate.place);
    front.into_iter().map(|candidate| candidate.trial).collect()
}

/// How far apart the neighbors of each trial are, summed over the objectives; infinite at the ends.
pub(crate) fn crowding(view: &StudyView<'_>, front: &[&Trial]) -> Vec<f64> {
    let losses: Vec<Vec<f64>> = front.iter().map(|trial| view.losses(trial)).collect();
    let mut distance = vec![0.0; front.len()];
    for objective in 0..view.directions.len() {
        let value = |at: usize| losses.get(at).and_then(|row| row.get(objective)).copied().unwrap_or(0.0);
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
        let (Some(&first), Some(&last)) = (order.first(), order.last()) else { continue };
        let range = value(last) - value(first);
        for window in order.windows(3) {
            if let (&[before, at, after], true) = (window, range > 0.0)
                && let Some(slot) = distance.get_mut(at)
            {
                *slot += (value(after) - value(before)) / range;
            }
        }
        for end in [first, last] {
            if let Some(slot) = distance.get_mut(end) {
                *slot = f64::INFINITY;
            }
        }
    }
    distance
}

/// The best `count` trials: whole fronts, and of the last one those with most room around them, the earlier of equals.
pub(crate) fn best<'a>(view: &StudyView<'_>, trials: &[&'a Trial], count: usize) -> Vec<&'a Trial> {
    let mut chosen = Vec::new();
    for front in fronts(view, trials, count) {
        let room = count - chosen.len();
        if front.len() <= room {
            chosen.extend(front);
        } else {
            let mut ranked: Vec<(f64, &Trial)> = crowding(view, &front).into_iter().zip(front).collect();
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.number.cmp(&b.1.number)));
            chosen.extend(ranked.into_iter().take(room).map(|(_, trial)| trial));
        }
        if chosen.len() == count {
            break;
        }
    }
    chosen
}

/// Order of two trials by front and room: the better first.
pub(crate) fn by_front_and_room(a: (usize, f64), b: (usize, f64)) -> Ordering {
    a.0.cmp(&b.0).then(b.1.total_cmp(&a.1))
}

#[cfg(test)]
mod tests {
    use mlops_metrics::Direction;

    use super::*;
    use crate::{
        params::Params,
        rng::SeededRng,
        search::{SearchSpace, trial::TrialState},
    };

    fn dominates(a: &Trial, b: &Trial) -> bool {
        match (a.is_feasible(), b.is_feasible()) {
            (true, true) => a.values.iter().zip(&b.values).all(|(a, b)| a <= b) && a.values != b.values,
            (false, false) => a.violation() < b.violation(),
            (feasible, _) => feasible,
        }
    }

    #[test]
    fn fronts_are_peeled_off_one_by_one() {
        let space = SearchSpace::new().with_float("x", 0.0, 1.0);
        for objectives in 1..=4 {
            let directions = vec![Direction::Minimize; objectives];
            let view = StudyView { space: &space, directions: &directions, trials: &[], seed: 0 };
            let mut rng = SeededRng::new(objectives as u64, 0);
            let trial = |number: usize| {
                let mut trial = Trial::begin(number, Params::new(), Default::default());
                trial.state = if number % 11 == 3 { TrialState::Failed } else { TrialState::Complete };
                // Few values, so that many are equal, and zeros of both signs.
                trial.values = (0..objectives).map(|_| -(3.0 - rng.below(7) as f64)).collect();
                trial.constraints = vec![if number.is_multiple_of(5) { rng.below(3) as f64 } else { -1.0 }];
                trial
            };
            let trials: Vec<Trial> = (0..300).map(trial).collect();
            let given: Vec<&Trial> = trials.iter().rev().collect();
            let mut left: Vec<&Trial> = given.iter().copied().filter(|trial| trial.value().is_some()).collect();
            for front in fronts(&view, &given, usize::MAX) {
                let (next, others): (Vec<&Trial>, Vec<&Trial>) =
                    left.iter().partition(|one| !left.iter().any(|other| dominates(other, one)));
                assert_eq!(front, next, "{objectives} objectives");
                left = others;
            }
            assert!(left.is_empty());
            let some = fronts(&view, &given, 40);
            let before: usize = some.iter().rev().skip(1).map(Vec::len).sum();
            assert!(before < 40 && before + some.last().map_or(0, Vec::len) >= 40);
        }
    }
}
