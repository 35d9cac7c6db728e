//! Which rows of a pool to have labelled next, for a budget.
//!
//! A share is always drawn at random: labels chosen by uncertainty alone say nothing unbiased about
//! how good the model is, and miss what the model is wrongly sure of.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::coverage::k_center_greedy;
use crate::rng::SeededRng;

/// How to select.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelectionSettings {
    /// What labels may cost together, in the unit of the costs; rows without costs cost 1 each.
    pub budget: f64,
    /// Share of the budget for rows drawn at random, above 0 and at most 1. Default 0.1.
    pub random_share: f64,
    /// With embeddings: candidates by uncertainty per row that is chosen among them for coverage, at
    /// least 1. Default 5; 1 is uncertainty alone.
    pub candidates_per_row: usize,
    /// Seed of the random rows.
    pub seed: u64,
}

impl Default for SelectionSettings {
    fn default() -> Self {
        Self { budget: 100.0, random_share: 0.1, candidates_per_row: 5, seed: 0 }
    }
}

/// Rows without labels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pool<'a> {
    /// How much each row is worth a label, such as [`Uncertainty::score`](super::Uncertainty).
    pub scores: &'a [f64],
    /// What a label of each row costs; 1 each when there are none.
    pub costs: Option<&'a [f64]>,
    /// Where each row lies; rows that lie close together are then not all chosen.
    pub embeddings: Option<&'a [Vec<f64>]>,
}

/// Why a row was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// For its score.
    Score,
    /// By chance: such rows estimate the model's accuracy without bias.
    Random,
}

/// A chosen row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// Its index in the pool.
    pub row: usize,
    /// Why.
    pub reason: Reason,
}

/// Selects rows within the budget: random ones first, then by score per cost, among which those
/// that cover the pool when there are embeddings.
///
/// ```
/// use mlops_train::active::{Pool, Reason, SelectionSettings, select};
///
/// let scores: Vec<f64> = (0..100).map(f64::from).collect();
/// let settings = SelectionSettings { budget: 10.0, ..SelectionSettings::default() };
/// let chosen = select(&Pool { scores: &scores, ..Pool::default() }, &settings)?;
/// assert_eq!(chosen.len(), 10);
/// assert_eq!(chosen.iter().filter(|chosen| chosen.reason == Reason::Random).count(), 1);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when lengths differ, a score is not finite, a cost not above zero or a setting
/// out of range.
pub fn select(pool: &Pool<'_>, settings: &SelectionSettings) -> Result<Vec<Selected>> {
    check(pool, settings)?;
    let cost = |row: usize| pool.costs.map_or(1.0, |costs| costs.get(row).copied().unwrap_or(f64::INFINITY));
    let mut order: Vec<usize> = (0..pool.scores.len()).collect();
    SeededRng::new(settings.seed, 11).shuffle(&mut order);
    let mut left = settings.budget;
    // However small the budget is, one random row is always paid for first.
    let mut random_left = settings.budget * settings.random_share;
    let mut chosen: Vec<Selected> = Vec::new();
    for row in order {
        if random_left <= 0.0 {
            break;
        }
        if cost(row) <= left {
            (left, random_left) = (left - cost(row), random_left - cost(row));
            chosen.push(Selected { row, reason: Reason::Random });
        }
    }
    let random: Vec<usize> = chosen.iter().map(|chosen| chosen.row).collect();
    for row in by_score(pool, settings, &random, left)? {
        if cost(row) <= left {
            left -= cost(row);
            chosen.push(Selected { row, reason: Reason::Score });
        }
    }
    Ok(chosen)
}

/// Rows that are not drawn yet, the best first.
fn by_score(pool: &Pool<'_>, settings: &SelectionSettings, drawn: &[usize], left: f64) -> Result<Vec<usize>> {
    let worth = |row: usize| {
        let score = pool.scores.get(row).copied().unwrap_or(0.0);
        score / pool.costs.map_or(1.0, |costs| costs.get(row).copied().unwrap_or(1.0))
    };
    let mut is_drawn = vec![false; pool.scores.len()];
    for row in drawn {
        if let Some(slot) = is_drawn.get_mut(*row) {
            *slot = true;
        }
    }
    let mut rows: Vec<usize> = (0..pool.scores.len()).filter(|row| is_drawn.get(*row) == Some(&false)).collect();
    rows.sort_by(|a, b| worth(*b).total_cmp(&worth(*a)).then(a.cmp(b)));
    let Some(embeddings) = pool.embeddings else { return Ok(rows) };
    let cheapest = pool.costs.map_or(1.0, |costs| costs.iter().copied().fold(f64::INFINITY, f64::min));
    let wanted = (left / cheapest).floor().clamp(0.0, rows.len() as f64) as usize;
    rows.truncate(wanted.saturating_mul(settings.candidates_per_row));
    // Random rows are centers already: what they cover needs no second label.
    let at = |row: &usize| embeddings.get(*row).cloned().unwrap_or_default();
    let centers: Vec<usize> = (0..drawn.len()).collect();
    let places: Vec<Vec<f64>> = drawn.iter().map(at).chain(rows.iter().map(at)).collect();
    let chosen = k_center_greedy(&places, &centers, wanted)?;
    Ok(chosen.into_iter().filter_map(|place| rows.get(place.checked_sub(drawn.len())?).copied()).collect())
}

fn check(pool: &Pool<'_>, settings: &SelectionSettings) -> Result<()> {
    let rows = pool.scores.len();
    let lengths = pool.costs.is_none_or(|costs| costs.len() == rows)
        && pool.embeddings.is_none_or(|embeddings| embeddings.len() == rows);
    let problem = if !lengths {
        "needs as many costs and embeddings as scores"
    } else if !pool.scores.iter().all(|score| score.is_finite()) {
        "needs finite scores"
    } else if pool.costs.is_some_and(|costs| !costs.iter().all(|cost| *cost > 0.0 && cost.is_finite())) {
        "needs finite costs above zero"
    } else if !(settings.budget > 0.0 && settings.budget.is_finite()) {
        "needs a budget above zero"
    } else if !(settings.random_share > 0.0 && settings.random_share <= 1.0) {
        "needs a random share above 0 and at most 1: without it nothing tells how good the model is"
    } else if settings.candidates_per_row == 0 {
        "needs at least one candidate per row"
    } else {
        return Ok(());
    };
    Err(Error::invalid_argument(format!("selection {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(budget: f64) -> SelectionSettings {
        SelectionSettings { budget, random_share: 0.2, seed: 3, ..SelectionSettings::default() }
    }

    #[test]
    fn budgets_are_kept_and_cheap_rows_preferred() {
        let scores = vec![1.0; 60];
        let costs: Vec<f64> = (0..60).map(|row| f64::from(1 + row % 6)).collect();
        let pool = Pool { scores: &scores, costs: Some(&costs), embeddings: None };
        let chosen = select(&pool, &settings(20.0)).unwrap();
        let spent: f64 = chosen.iter().map(|chosen| costs[chosen.row]).sum();
        assert!(spent <= 20.0 && spent > 15.0, "{spent}");
        let by_score = chosen.iter().filter(|chosen| chosen.reason == Reason::Score);
        assert!(by_score.clone().count() > 5 && by_score.clone().take(5).all(|chosen| costs[chosen.row] == 1.0));
        let mut rows: Vec<usize> = chosen.iter().map(|chosen| chosen.row).collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), chosen.len());
    }

    #[test]
    fn embeddings_spread_the_choice() {
        // Ninety rows at one place score highest, ten lie apart.
        let scores: Vec<f64> = (0..100).map(|row| if row < 90 { 1.0 } else { 0.9 }).collect();
        let embeddings: Vec<Vec<f64>> = (0..100).map(|row| vec![if row < 90 { 0.0 } else { f64::from(row) }]).collect();
        let alike = select(&Pool { scores: &scores, ..Pool::default() }, &settings(10.0)).unwrap();
        assert!(alike.iter().filter(|chosen| chosen.reason == Reason::Score).all(|chosen| chosen.row < 90));
        let pool = Pool { scores: &scores, costs: None, embeddings: Some(&embeddings) };
        let wide = SelectionSettings { candidates_per_row: 20, ..settings(10.0) };
        let spread = select(&pool, &wide).unwrap();
        assert!(spread.iter().filter(|chosen| chosen.row >= 90).count() >= 7, "{spread:?}");
    }

    #[test]
    fn random_rows_are_of_the_seed_and_never_none() {
        let scores: Vec<f64> = (0..50).map(f64::from).collect();
        let pool = Pool { scores: &scores, ..Pool::default() };
        let one = select(&pool, &settings(1.0)).unwrap();
        assert_eq!((one.len(), one[0].reason), (1, Reason::Random));
        assert_eq!(select(&pool, &settings(10.0)).unwrap(), select(&pool, &settings(10.0)).unwrap());
        assert!((1..9).any(|seed| {
            let other = SelectionSettings { seed, ..settings(1.0) };
            select(&pool, &other).unwrap() != one
        }));
        assert!(select(&pool, &SelectionSettings { random_share: 0.0, ..settings(1.0) }).is_err());
        assert_eq!(select(&pool, &settings(1e6)).unwrap().len(), 50);
    }
}
