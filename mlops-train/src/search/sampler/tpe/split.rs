//! Which trials are good: a ranking kept while trials come.
//!
//! Invariant: `good` holds the first [`good_count`] of all ranked trials, `rest` the others.

use std::{cmp::Ordering, collections::BTreeSet};

use crate::search::{hypervolume, pareto, sampler::StudyView, trial::Trial};

/// Place of a trial in the order of Optuna 5.0: complete trials by value; then pruned ones by how far they came and
/// what they reported last; then infeasible ones by their violation; the earlier of equals first.
#[derive(Debug, Clone, Copy)]
struct Rank {
    class: u8,
    first: f64,
    second: f64,
    number: usize,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = self.first.total_cmp(&other.first).then(self.second.total_cmp(&other.second));
        self.class.cmp(&other.class).then(keys).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

impl Rank {
    fn of(view: &StudyView<'_>, trial: &Trial) -> Self {
        let number = trial.number;
        if !trial.is_feasible() {
            return Self { class: 2, first: trial.violation(), second: 0.0, number };
        }
        if let Some(loss) = view.loss(trial) {
            return Self { class: 0, first: loss, second: 0.0, number };
        }
        let direction = view.directions.first();
        let (first, second) = trial.last_report().map_or((1.0, 0.0), |(step, value)| {
            (-(step as f64), direction.map_or(value, |direction| direction.loss(value)))
        });
        Self { class: 1, first, second, number }
    }
}

/// How many of `n` ended trials count as good.
pub(super) fn good_count(n: usize) -> usize {
    n.div_ceil(10).min(25)
}

/// All ended trials, the good ones apart.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranking {
    good: BTreeSet<Rank>,
    rest: BTreeSet<Rank>,
    ranks: std::collections::HashMap<usize, Rank>,
}

impl Ranking {
    /// How many trials are ranked.
    pub(super) fn len(&self) -> usize {
        self.ranks.len()
    }

    /// Ranks a trial, anew if it was ranked before. Returns the trials whose side may have changed, with whether they
    /// are good now.
    pub(super) fn insert(&mut self, view: &StudyView<'_>, trial: &Trial) -> Vec<(usize, bool)> {
        if let Some(old) = self.ranks.remove(&trial.number) {
            self.good.remove(&old);
            self.rest.remove(&old);
        }
        let rank = Rank::of(view, trial);
        self.ranks.insert(trial.number, rank);
        self.rest.insert(rank);
        let mut moved = vec![(trial.number, false)];
        while self.good.len() < good_count(self.len()) {
            let Some(first) = self.rest.pop_first() else { break };
            self.good.insert(first);
            moved.push((first.number, true));
        }
        while let (Some(worst), Some(best)) = (self.good.last().copied(), self.rest.first().copied()) {
            if worst < best {
                break;
            }
            self.good.remove(&worst);
            self.rest.remove(&best);
            self.good.insert(best);
            self.rest.insert(worst);
            moved.extend([(worst.number, false), (best.number, true)]);
        }
        moved
    }

    /// Whether a trial is good.
    #[cfg(test)]
    pub(super) fn is_good(&self, number: usize) -> bool {
        self.ranks.get(&number).is_some_and(|rank| self.good.contains(rank))
    }
}

/// The good ones of trials with several objectives: a tenth, by fronts of those that are complete and feasible, the
/// last front by the volume its trials dominate; then as [`Ranking`] has the others (Optuna 5.0, `_split_trials`).
pub(super) fn good_of_several(view: &StudyView<'_>, ranking: &Ranking) -> BTreeSet<usize> {
    let count = ranking.len().div_ceil(10);
    let of_class = |complete: bool| {
        let wanted = move |rank: &&Rank| (rank.class == 0) == complete;
        ranking.good.iter().chain(&ranking.rest).filter(wanted).filter_map(|rank| view.trials.get(rank.number))
    };
    let mut complete: Vec<&Trial> = of_class(true).collect();
    complete.sort_unstable_by_key(|trial| trial.number);
    let mut good = BTreeSet::new();
    for front in pareto::fronts(view, &complete, count) {
        let room = count - good.len();
        if front.len() <= room {
            good.extend(front.iter().map(|trial| trial.number));
            continue;
        }
        let losses: Vec<Vec<f64>> = front.iter().map(|trial| view.losses(trial)).collect();
        let chosen = hypervolume::choose(&losses, room);
        good.extend(chosen.into_iter().filter_map(|at| front.get(at)).map(|trial| trial.number));
        break;
    }
    let room = count - good.len();
    good.extend(of_class(false).take(room).map(|trial| trial.number));
    good
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

    #[test]
    fn a_tenth_is_good_up_to_twenty_five() {
        assert_eq!([1, 10, 11, 100, 250, 1_000].map(good_count), [1, 1, 2, 10, 25, 25]);
    }

    #[test]
    fn the_best_are_good_whatever_the_order() {
        let space = SearchSpace::new().with_float("x", 0.0, 1.0);
        let view = StudyView { space: &space, directions: &[Direction::Maximize], trials: &[], seed: 0 };
        let mut rng = SeededRng::new(1, 0);
        let mut ranking = Ranking::default();
        let mut values: Vec<f64> = Vec::new();
        for number in 0..400 {
            let mut trial = Trial::begin(number, Params::new(), Default::default());
            trial.state = TrialState::Complete;
            trial.values = vec![rng.uniform()];
            values.push(trial.values[0]);
            ranking.insert(&view, &trial);
        }
        let mut order: Vec<usize> = (0..400).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        assert!(order.iter().enumerate().all(|(place, &number)| ranking.is_good(number) == (place < 25)));
    }

    #[test]
    fn pruned_trials_fill_up_and_infeasible_ones_come_last() {
        let space = SearchSpace::new().with_float("x", 0.0, 1.0);
        let view = StudyView { space: &space, directions: &[Direction::Minimize], trials: &[], seed: 0 };
        let mut ranking = Ranking::default();
        for number in 0..20 {
            let mut trial = Trial::begin(number, Params::new(), Default::default());
            trial.state = if number == 3 { TrialState::Complete } else { TrialState::Pruned };
            match number {
                3 => (trial.values, trial.constraints) = (vec![0.0], vec![1.0]),
                7 => drop(trial.reports.insert(9, 5.0)),
                8 => drop(trial.reports.insert(9, 4.0)),
                11 => drop(trial.reports.insert(2, 0.0)),
                _ => {}
            }
            ranking.insert(&view, &trial);
        }
        let good: Vec<usize> = (0..20).filter(|&number| ranking.is_good(number)).collect();
        assert_eq!(good, [7, 8]);
    }
}
