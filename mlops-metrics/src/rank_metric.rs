//! Metrics of ranked lists: how good is the order in which a query's items were shown?
//!
//! Invariant: the value of a query does not depend on the order of its rows; ties are averaged by
//! NDCG (McSherry and Najork, ECIR 2008, as scikit-learn does) and counted against the model by the
//! others, so that a constant score earns nothing.

use std::{fmt, str::FromStr};

use mlops_core::{Error, Result};

use crate::{label_ranking::ndcg, metric::undefined};

/// Which property of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RankKind {
    /// Discounted gain over that of the ideal order; gain is the relevance itself, discount
    /// `log2(1 + rank)`. Zero without relevant items, as scikit-learn has it.
    Ndcg,
    /// Mean of the precisions at relevant ranks, over `min(relevant items, k)`. Not defined without
    /// relevant items.
    Map,
    /// Reciprocal rank of the first relevant item; zero when there is none.
    Mrr,
    /// Share of relevant items among the first k, of k.
    Precision,
    /// Share of the relevant items that are among the first k. Not defined without relevant items.
    Recall,
    /// Whether a relevant item is among the first k.
    HitRate,
}

const KINDS: [(RankKind, &str); 6] = [
    (RankKind::Ndcg, "ndcg"),
    (RankKind::Map, "map"),
    (RankKind::Mrr, "mrr"),
    (RankKind::Precision, "precision"),
    (RankKind::Recall, "recall"),
    (RankKind::HitRate, "hit_rate"),
];

/// A metric of ranked lists, cut off after k items or not at all.
///
/// ```
/// use mlops_metrics::{RankKind, RankMetric};
///
/// let metric = RankMetric { kind: RankKind::Mrr, at: Some(10) };
/// assert_eq!(metric.of_query(&[0.0, 1.0, 0.0], &[0.9, 0.5, 0.1], 1.0)?, Some(0.5));
/// assert_eq!("mrr_at_10".parse::<RankMetric>()?, metric);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RankMetric {
    /// The property.
    pub kind: RankKind,
    /// Items from the top that count, at least 1; all when there is no such number.
    pub at: Option<u32>,
}

impl RankMetric {
    /// The value of one query; items count as relevant from `relevant_min` on. `None` where it is
    /// not defined for this query.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ, a number is not finite, or NDCG meets a negative
    /// relevance.
    pub fn of_query(self, relevance: &[f64], scores: &[f64], relevant_min: f64) -> Result<Option<f64>> {
        if relevance.len() != scores.len() || !relevance.iter().chain(scores).all(|value| value.is_finite()) {
            return Err(Error::invalid_argument(format!("metric {self} needs as many finite scores as relevances")));
        }
        if self.kind == RankKind::Ndcg {
            if relevance.iter().any(|&gain| gain < 0.0) {
                return Err(Error::invalid_argument(format!("metric {self} needs relevances of at least 0")));
            }
            return (!relevance.is_empty()).then(|| ndcg(relevance, scores, self.at, false)).transpose();
        }
        let mut items: Vec<(f64, bool)> =
            scores.iter().zip(relevance).map(|(&score, &relevance)| (score + 0.0, relevance >= relevant_min)).collect();
        // Highest score first, among equals the irrelevant ones.
        items.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let relevant: Vec<bool> = items.into_iter().map(|item| item.1).collect();
        Ok(self.of_order(&relevant))
    }

    fn of_order(self, relevant: &[bool]) -> Option<f64> {
        let total = relevant.iter().filter(|hit| **hit).count() as f64;
        let cut = self.depth(relevant.len());
        let top = relevant.iter().take(cut);
        let hits = top.clone().filter(|hit| **hit).count() as f64;
        let depth = self.at.map_or(relevant.len() as f64, f64::from);
        match self.kind {
            RankKind::Precision => (depth > 0.0).then(|| hits / depth),
            RankKind::Recall => (total > 0.0).then(|| hits / total),
            RankKind::HitRate => Some(f64::from(u8::from(hits > 0.0))),
            RankKind::Mrr => Some(top.clone().position(|hit| *hit).map_or(0.0, |rank| 1.0 / (rank + 1) as f64)),
            RankKind::Map => (total > 0.0).then(|| {
                let (mut found, mut sum) = (0.0, 0.0);
                for (rank, _) in top.enumerate().filter(|(_, hit)| **hit) {
                    found += 1.0;
                    sum += found / (rank + 1) as f64;
                }
                sum / total.min(cut as f64)
            }),
            RankKind::Ndcg => None,
        }
    }

    fn depth(self, items: usize) -> usize {
        self.at.map_or(items, |at| items.min(at as usize))
    }

    /// The values of the queries for which it is defined, query by query: rows of equal query ids
    /// that follow each other are one query.
    ///
    /// # Errors
    /// As [`RankMetric::of_query`]; `InvalidArgument` when there are not as many ids as rows.
    pub fn of_queries(
        self,
        queries: &[usize],
        relevance: &[f64],
        scores: &[f64],
        relevant_min: f64,
    ) -> Result<Vec<f64>> {
        if queries.len() != relevance.len() || queries.len() != scores.len() {
            return Err(Error::invalid_argument(format!("metric {self} needs a query id, relevance and score a row")));
        }
        let (mut values, mut start) = (Vec::new(), 0);
        for query in queries.chunk_by(|a, b| a == b) {
            let rows = start..start + query.len();
            start = rows.end;
            let of = |column: &[f64]| column.get(rows.clone()).unwrap_or_default().to_vec();
            values.extend(self.of_query(&of(relevance), &of(scores), relevant_min)?);
        }
        Ok(values)
    }

    /// The mean over queries.
    ///
    /// # Errors
    /// As [`RankMetric::of_queries`]; `FailedPrecondition` when it is defined for no query.
    pub fn compute(self, queries: &[usize], relevance: &[f64], scores: &[f64], relevant_min: f64) -> Result<f64> {
        let values = self.of_queries(queries, relevance, scores, relevant_min)?;
        if values.is_empty() {
            return Err(undefined(self, "no query has relevant items"));
        }
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    }
}

impl fmt::Display for RankMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KINDS.iter().find(|row| row.0 == self.kind).map_or("unknown", |row| row.1))?;
        self.at.map_or(Ok(()), |at| write!(f, "_at_{at}"))
    }
}

impl FromStr for RankMetric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || {
            let names: Vec<&str> = KINDS.iter().map(|row| row.1).collect();
            Error::invalid_argument(format!(
                "metric {name:?} is unknown; there are {}, with a cut-off such as ndcg_at_10",
                names.join(", ")
            ))
        };
        let (kind, at) = match name.split_once("_at_") {
            Some((kind, at)) => (kind, Some(at.parse::<u32>().ok().filter(|at| *at > 0).ok_or_else(unknown)?)),
            None => (name, None),
        };
        let kind = KINDS.iter().find(|row| row.1 == kind).map(|row| row.0).ok_or_else(unknown)?;
        Ok(Self { kind, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, relevance: &[f64], scores: &[f64], expected: Option<f64>) {
        let metric: RankMetric = name.parse().unwrap();
        assert_eq!(metric.to_string(), name);
        let found = metric.of_query(relevance, scores, 1.0).unwrap();
        assert_eq!(found.map(|value| (value * 1e12).round()), expected.map(|value| (value * 1e12).round()), "{name}");
        let (mut relevance, mut scores) = (relevance.to_vec(), scores.to_vec());
        relevance.reverse();
        scores.reverse();
        let turned = metric.of_query(&relevance, &scores, 1.0).unwrap();
        assert!((turned.unwrap_or(-1.0) - found.unwrap_or(-1.0)).abs() < 1e-12, "{name}");
    }

    #[test]
    fn definitions_hold_by_hand() {
        let (relevance, scores) = ([0.0, 1.0, 1.0, 0.0, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0]);
        check("precision_at_3", &relevance, &scores, Some(2.0 / 3.0));
        check("recall_at_3", &relevance, &scores, Some(2.0 / 3.0));
        check("map", &relevance, &scores, Some((1.0 / 2.0 + 2.0 / 3.0 + 3.0 / 5.0) / 3.0));
        check("map_at_2", &relevance, &scores, Some(0.25));
        check("mrr", &relevance, &scores, Some(0.5));
        check("hit_rate_at_1", &relevance, &scores, Some(0.0));
        check("hit_rate_at_2", &relevance, &scores, Some(1.0));
        check("precision_at_10", &relevance, &scores, Some(0.3));
    }

    #[test]
    fn queries_without_relevant_items_and_ties_are_defined() {
        check("ndcg", &[0.0, 0.0], &[1.0, 2.0], Some(0.0));
        check("map", &[0.0, 0.0], &[1.0, 2.0], None);
        check("recall_at_1", &[0.0, 0.0], &[1.0, 2.0], None);
        check("mrr", &[0.0, 0.0], &[1.0, 2.0], Some(0.0));
        // Ties count against the model.
        check("mrr", &[1.0, 0.0, 0.0], &[7.0, 7.0, 7.0], Some(1.0 / 3.0));
        for wrong in ["ndcg_at_0", "ndcg_at_x", "dcg"] {
            assert!(wrong.parse::<RankMetric>().is_err());
        }
        let ndcg: RankMetric = "ndcg".parse().unwrap();
        assert!(ndcg.of_query(&[-1.0], &[1.0], 1.0).is_err());
        assert!(ndcg.compute(&[], &[], &[], 1.0).is_err());
    }
}
