//! Sums per row and target, and how a row's sums become its output.
//!
//! The finishing rules of a classifier follow onnxruntime 1.32, because the standard leaves them open: what one or two
//! `base_values` mean for two classes, and which label wins when all weights belong to one class.

use super::{
    post::{PostTransform, SecondScore, transform, write_scores},
    real::Real,
};

/// How the weights of one target are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

impl Aggregate {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "SUM" => Some(Self::Sum),
            "AVERAGE" => Some(Self::Average),
            "MIN" => Some(Self::Min),
            "MAX" => Some(Self::Max),
            _ => None,
        }
    }
}

/// Scores of the rows of a block: for each target, one value a lane, and whether any leaf added to it.
#[derive(Debug)]
pub(super) struct Scores<T> {
    values: Vec<T>,
    seen: Vec<bool>,
    lanes: usize,
    targets: usize,
}

impl<T: Real> Scores<T> {
    pub(super) fn new(targets: usize, lanes: usize) -> Self {
        let count = targets * lanes;
        Self { values: vec![T::default(); count], seen: vec![false; count], lanes, targets }
    }

    #[inline(always)]
    pub(super) fn add(&mut self, target: usize, lane: usize, value: T, aggregate: Aggregate) {
        let at = target * self.lanes + lane;
        let (Some(score), Some(seen)) = (self.values.get_mut(at), self.seen.get_mut(at)) else { return };
        match aggregate {
            Aggregate::Sum | Aggregate::Average => *score += value,
            Aggregate::Min => *score = if !*seen || value < *score { value } else { *score },
            Aggregate::Max => *score = if !*seen || value > *score { value } else { *score },
        }
        *seen = true;
    }

    /// One value for each lane.
    #[inline(always)]
    pub(super) fn add_lanes(&mut self, target: usize, values: &[T], aggregate: Aggregate) {
        if !matches!(aggregate, Aggregate::Sum | Aggregate::Average) {
            for (lane, &value) in values.iter().enumerate().take(self.lanes) {
                self.add(target, lane, value, aggregate);
            }
            return;
        }
        let from = target * self.lanes;
        let range = from..from + self.lanes;
        if let (Some(scores), Some(seen)) = (self.values.get_mut(range.clone()), self.seen.get_mut(range)) {
            for (score, &value) in scores.iter_mut().zip(values) {
                *score += value;
            }
            if !seen.iter().fold(true, |all, &one| all & one) {
                seen.fill(true);
            }
        }
    }

    /// The scores of one lane, in order of the targets.
    pub(super) fn lane(&self, lane: usize) -> impl Iterator<Item = (T, bool)> + '_ {
        let at = move |target: usize| target * self.lanes + lane;
        (0..self.targets).map(move |target| {
            let (value, seen) = (self.values.get(at(target)), self.seen.get(at(target)));
            (value.copied().unwrap_or_default(), seen.copied().unwrap_or(false))
        })
    }
}

/// What turns sums into outputs.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) aggregate: Aggregate,
    pub(super) post: PostTransform,
    pub(super) base: Vec<f64>,
    pub(super) trees: usize,
}

impl Finish {
    /// A regressor's outputs for one row, appended to `to`.
    pub(super) fn regress<T: Real>(&self, scores: &Scores<T>, lane: usize, to: &mut Vec<f32>) {
        let targets = scores.targets;
        let shift = |target: usize| match (self.base.as_slice(), targets) {
            ([base], 1) => T::of_f64(*base),
            (bases, _) if bases.len() == targets => T::of_f64(bases.get(target).copied().unwrap_or(0.0)),
            _ => T::default(),
        };
        let from = to.len();
        to.extend(scores.lane(lane).enumerate().map(|(target, (sum, _))| {
            let value = match self.aggregate {
                Aggregate::Average => sum / T::of_f64(self.trees as f64),
                _ => sum,
            };
            (value + shift(target)).to_f32()
        }));
        // For a single target the reference applies no transform but probit.
        if (targets > 1 || self.post == PostTransform::Probit)
            && let Some(row) = to.get_mut(from..)
        {
            transform(row, self.post);
        }
    }
}

/// What a classifier adds to [`Finish`].
#[derive(Debug)]
pub(super) struct Classes {
    pub(super) finish: Finish,
    /// Two classes, and every weight belongs to one of them.
    pub(super) one_sided: bool,
    pub(super) all_positive: bool,
}

impl Classes {
    /// A classifier's scores for one row, appended to `to`; answers the index of the class. `row` and `values` are
    /// space to work in.
    pub(super) fn classify<T: Real>(
        &self,
        (scores, lane): (&Scores<T>, usize),
        row: &mut Vec<(T, bool)>,
        values: &mut Vec<f32>,
        to: &mut Vec<f32>,
    ) -> usize {
        row.clear();
        row.extend(scores.lane(lane));
        let (class, second) = match row.as_mut_slice() {
            [first, other] => {
                let keep_second = self.add_binary_base(first, other);
                let positive = if other.1 { other.0 } else { first.0 };
                let outcome = self.judge(positive.to_f64());
                if !keep_second {
                    row.truncate(1);
                }
                outcome
            }
            many => (self.winner(many), SecondScore::None),
        };
        let classes = scores.targets;
        // A score that no leaf added to counts as zero, whatever its base value.
        values.clear();
        values.extend(row.iter().map(|(score, seen)| if *seen { score.to_f32() } else { 0.0 }));
        write_scores(values, self.finish.post, second);
        values.resize(classes, 0.0);
        to.extend_from_slice(values);
        class
    }

    /// Adds the base values of two classes; answers whether both scores count.
    fn add_binary_base<T: Real>(&self, first: &mut (T, bool), second: &mut (T, bool)) -> bool {
        match self.finish.base.as_slice() {
            // One score decides: the sum of the first class, as the reference has it.
            [_, base] if second.1 => {
                second.0 = T::of_f64(*base) + first.0;
                first.0 = -second.0;
                true
            }
            [base, other] => {
                second.0 += T::of_f64(*other);
                first.0 += T::of_f64(*base);
                true
            }
            [base] => {
                first.0 += T::of_f64(*base);
                second.1
            }
            _ => second.1,
        }
    }

    /// The class of two, and what to make of a single score.
    fn judge(&self, positive: f64) -> (usize, SecondScore) {
        if self.one_sided && self.all_positive {
            return (usize::from(positive > 0.5), SecondScore::Complement);
        }
        (usize::from(positive > 0.0), SecondScore::Opposite)
    }

    /// The first class with the highest score among those that a leaf or a base value adds to.
    fn winner<T: Real>(&self, row: &mut [(T, bool)]) -> usize {
        for ((score, seen), base) in row.iter_mut().zip(&self.finish.base) {
            *score += T::of_f64(*base);
            *seen = true;
        }
        let mut best: Option<(usize, T)> = None;
        for (class, &(score, seen)) in row.iter().enumerate() {
            if seen && best.is_none_or(|(_, highest)| score > highest) {
                best = Some((class, score));
            }
        }
        best.map_or(0, |(class, _)| class)
    }
}
