//! How well scores put the relevant items of each list before the others.
//!
//! Invariant: ties count against the model. Definitions are scikit-learn's of multilabel ranking
//! (Tsoumakas, Katakis and Vlahavas 2010), for lists that need not be equally long.

use mlops_core::{Error, Result};

/// The discounted cumulative gain of one list: relevance over `log2(1 + rank)`, summed over the
/// first `at` items or all. Tied items share the mean of their gains; `ignore_ties` ranks the later
/// of two equal scores first instead.
///
/// ```
/// let gain = mlops_metrics::dcg(&[3.0, 1.0], &[0.9, 0.5], None, false)?;
/// assert!((gain - (3.0 + 1.0 / 3.0_f64.log2())).abs() < 1e-12);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when lengths differ or a number is not finite.
pub fn dcg(relevance: &[f64], scores: &[f64], at: Option<u32>, ignore_ties: bool) -> Result<f64> {
    if relevance.len() != scores.len() || !relevance.iter().chain(scores).all(|value| value.is_finite()) {
        return Err(Error::invalid_argument("gains need as many finite scores as relevances"));
    }
    let mut items: Vec<(f64, f64)> = scores.iter().map(|score| score + 0.0).zip(relevance.iter().copied()).collect();
    items.reverse();
    items.sort_by(|a, b| b.0.total_cmp(&a.0));
    let discount =
        |rank: usize| if at.is_some_and(|at| rank >= at as usize) { 0.0 } else { 1.0 / (rank as f64 + 2.0).log2() };
    let (mut gain, mut rank) = (0.0, 0);
    for tied in items.chunk_by(|a, b| !ignore_ties && a.0 == b.0) {
        let mean = tied.iter().map(|item| item.1).sum::<f64>() / tied.len() as f64;
        gain += mean * (rank..rank + tied.len()).map(discount).sum::<f64>();
        rank += tied.len();
    }
    Ok(gain)
}

/// [`dcg`] over that of the best order; zero without relevant items.
///
/// # Errors
/// As [`dcg`]; `InvalidArgument` for negative relevances.
pub fn ndcg(relevance: &[f64], scores: &[f64], at: Option<u32>, ignore_ties: bool) -> Result<f64> {
    if relevance.iter().any(|gain| *gain < 0.0) {
        return Err(Error::invalid_argument("NDCG needs relevances of at least 0"));
    }
    let gain = dcg(relevance, scores, at, ignore_ties)?;
    let best = dcg(relevance, relevance, at, true)?;
    Ok(if best > 0.0 { gain / best } else { 0.0 })
}

/// Relevant items of a list and the scores of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankedList<'a> {
    /// Which items are relevant.
    pub relevant: &'a [bool],
    /// By which items are ordered, highest first.
    pub scores: &'a [f64],
}

impl RankedList<'_> {
    fn check(&self) -> Result<()> {
        if self.relevant.len() == self.scores.len() && self.scores.iter().all(|score| score.is_finite()) {
            return Ok(());
        }
        Err(Error::invalid_argument("a ranked list needs as many finite scores as items"))
    }

    fn scores_of(&self, relevant: bool) -> Vec<f64> {
        let items = self.relevant.iter().zip(self.scores).filter(|item| *item.0 == relevant);
        let mut scores: Vec<f64> = items.map(|item| *item.1).collect();
        scores.sort_by(f64::total_cmp);
        scores
    }

    /// The mean over relevant items of the share of relevant ones among the items that score as
    /// high; one when all items are relevant or none is.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ or a score is not finite.
    pub fn average_precision(&self) -> Result<f64> {
        self.check()?;
        let (relevant, others) = (self.scores_of(true), self.scores_of(false));
        if relevant.is_empty() || others.is_empty() {
            return Ok(1.0);
        }
        let at_least = |sorted: &[f64], score: f64| (sorted.len() - sorted.partition_point(|s| *s < score)) as f64;
        let precision = |&score: &f64| {
            let hits = at_least(&relevant, score);
            hits / (hits + at_least(&others, score))
        };
        Ok(relevant.iter().map(precision).sum::<f64>() / relevant.len() as f64)
    }

    /// How many items must be taken from the top to have all relevant ones; zero when there are
    /// none.
    ///
    /// # Errors
    /// As [`RankedList::average_precision`].
    pub fn coverage(&self) -> Result<f64> {
        self.check()?;
        let relevant = self.scores_of(true);
        Ok(relevant.first().map_or(0.0, |lowest| self.scores.iter().filter(|score| *score >= lowest).count() as f64))
    }

    /// Share of pairs of a relevant and another item that are in the wrong order or tied; zero when
    /// there are no pairs.
    ///
    /// # Errors
    /// As [`RankedList::average_precision`].
    pub fn ranking_loss(&self) -> Result<f64> {
        self.check()?;
        let (relevant, others) = (self.scores_of(true), self.scores_of(false));
        if relevant.is_empty() || others.is_empty() {
            return Ok(0.0);
        }
        let wrong: usize = others.iter().map(|other| relevant.partition_point(|score| score <= other)).sum();
        Ok(wrong as f64 / (relevant.len() as f64 * others.len() as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_and_reversed_orders() {
        let relevant = [true, true, false, false];
        let perfect = RankedList { relevant: &relevant, scores: &[4.0, 3.0, 2.0, 1.0] };
        let reversed = RankedList { relevant: &relevant, scores: &[1.0, 2.0, 3.0, 4.0] };
        let tied = RankedList { relevant: &relevant, scores: &[1.0; 4] };
        let of = |list: RankedList<'_>| {
            [list.average_precision().unwrap(), list.coverage().unwrap(), list.ranking_loss().unwrap()]
        };
        assert_eq!(of(perfect), [1.0, 2.0, 0.0]);
        assert_eq!(of(reversed), [(1.0 / 3.0 + 2.0 / 4.0) / 2.0, 4.0, 1.0]);
        assert_eq!(of(tied), [0.5, 4.0, 1.0]);
        assert_eq!(of(RankedList { relevant: &[false], scores: &[1.0] }), [1.0, 0.0, 0.0]);
        assert!(RankedList { relevant: &[false], scores: &[] }.coverage().is_err());
    }

    #[test]
    fn gains_are_those_of_the_rank_metric() {
        let (relevance, scores) = ([1.0, 0.0, 2.0, 2.0, 1.0], [0.5, 0.5, 0.1, 0.5, 0.9]);
        for (name, at) in [("ndcg", None), ("ndcg_at_2", Some(2))] {
            let metric: crate::RankMetric = name.parse().unwrap();
            let expected = metric.of_query(&relevance, &scores, 1.0).unwrap().unwrap();
            assert!((ndcg(&relevance, &scores, at, false).unwrap() - expected).abs() < 1e-12, "{name}");
        }
        assert!(ndcg(&[-1.0], &[0.0], None, false).is_err() && dcg(&[1.0], &[], None, false).is_err());
        assert_eq!(ndcg(&[0.0], &[1.0], None, true).unwrap(), 0.0);
    }
}
