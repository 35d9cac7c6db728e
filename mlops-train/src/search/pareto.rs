//! Trials with several objectives: which dominate which.
//!
//! A feasible trial dominates an infeasible one; of infeasible ones the less violated; of feasible ones that which is
//! better in one objective and worse in none (Deb's constrained domination, IEEE TEC 6(2), 2002).

use std::cmp::Ordering;

use super::{sampler::StudyView, trial::Trial};

/// A trial with its values as something to minimize.
struct Candidate<'a> {
    trial: &'a Trial,
    losses: Vec<f64>,
    violation: f64,
}

impl Candidate<'_> {
    fn dominates(&self, other: &Self) -> bool {
        match (self.violation > 0.0, other.violation > 0.0) {
            (false, true) => true,
            (true, false) => false,
            (true, true) => self.violation < other.violation,
            (false, false) => {
                let pairs = || self.losses.iter().zip(&other.losses);
                pairs().all(|(a, b)| a <= b) && pairs().any(|(a, b)| a < b)
            }
        }
    }
}

/// Complete trials in fronts: the first is dominated by none, the second by the first alone, and so on, until `count`
/// trials are in one.
pub(crate) fn fronts<'a>(view: &StudyView<'_>, trials: &[&'a Trial], count: usize) -> Vec<Vec<&'a Trial>> {
    let mut left: Vec<Candidate<'a>> = trials
        .iter()
        .filter(|trial| trial.value().is_some())
        .map(|&trial| Candidate { trial, losses: view.losses(trial), violation: trial.violation() })
        .collect();
    let mut fronts = Vec::new();
    let mut placed = 0;
    while !left.is_empty() && placed < count {
        let dominated: Vec<bool> = left.iter().map(|one| left.iter().any(|other| other.dominates(one))).collect();
        let (mut front, mut behind) = (Vec::new(), Vec::new());
        for (candidate, dominated) in left.into_iter().zip(dominated) {
            if dominated { behind.push(candidate) } else { front.push(candidate.trial) }
        }
        placed += front.len();
        fronts.push(front);
        left = behind;
    }
    fronts
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
