//! Decisions from scores that treat groups alike, without training again (Hardt, Price and Srebro,
//! NIPS 2016).
//!
//! A rate that no threshold hits exactly needs a rule that mixes two. The coin is not thrown anew at
//! each request: it is a hash of the entity's key and the seed, so the same person gets the same
//! answer from every replica, and a higher score never turns it to the worse.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use mlops_metrics::random::draw_below;
use serde::{Deserialize, Serialize};

use super::tradeoff::{Cut, GroupCuts, Hull, Mixture};

/// What must be alike in all groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Parity {
    /// The share that is called positive (demographic parity).
    Selection,
    /// The share of positives that is called so (equal opportunity).
    TruePositive,
    /// The share of negatives that is called positive.
    FalsePositive,
    /// Both of these (equalized odds).
    EqualizedOdds,
}

/// How to fit [`ThresholdOptimizer`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThresholdSettings {
    /// What must be alike.
    pub parity: Parity,
    /// By how much the rate may differ between groups, 0 to 1; equalized odds are exact. Default 0.
    pub tolerance: f64,
    /// Rows that each group needs. Default 30.
    pub rows_min: usize,
    /// Rates that are tried, 10 to 100,000. Default 1,000.
    pub grid: u32,
    /// Seed of the entities' coins.
    pub seed: u64,
}

impl Default for ThresholdSettings {
    fn default() -> Self {
        Self { parity: Parity::Selection, tolerance: 0.0, rows_min: 30, grid: 1_000, seed: 0 }
    }
}

/// The rule of one group: a constant probability with a share, else one of two thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupRule {
    /// Share of decisions that ignore the score; zero but for equalized odds.
    pub ignored_share: f64,
    /// The probability of a positive call among those.
    pub ignored_probability: f64,
    /// Scores are called positive from here on; `None` calls none.
    pub thresholds: [Option<f64>; 2],
    /// Share of decisions by the first threshold, of those that heed the score.
    pub first_share: f64,
}

impl GroupRule {
    fn of(mixture: &Mixture) -> Self {
        let finite = |threshold: f64| threshold.is_finite().then_some(threshold);
        Self {
            ignored_share: 0.0,
            ignored_probability: 0.0,
            thresholds: mixture.thresholds.map(finite),
            first_share: mixture.first_share,
        }
    }

    /// The probability that this score is called positive.
    #[must_use]
    pub fn probability(&self, score: f64) -> f64 {
        let called = |threshold: Option<f64>| f64::from(u8::from(threshold.is_some_and(|at| score >= at)));
        let [first, second] = self.thresholds;
        let heeding = self.first_share * called(first) + (1.0 - self.first_share) * called(second);
        self.ignored_share * self.ignored_probability + (1.0 - self.ignored_share) * heeding
    }
}

/// Rules by group, fitted; plain data that a server loads beside the model. Deciding needs the
/// group of the entity: whether that attribute may be used is for law and people to say.
///
/// ```
/// use mlops_train::fairness::{Parity, ThresholdOptimizer, ThresholdSettings};
///
/// let groups: Vec<&str> = (0..200).map(|row| if row % 2 == 0 { "a" } else { "b" }).collect();
/// let scores: Vec<f64> = (0..200).map(|row| f64::from(row % 100) / 100.0 + f64::from(row % 2) * 0.2).collect();
/// let labels: Vec<f64> = scores.iter().map(|score| f64::from(u8::from(*score > 0.6))).collect();
/// let fair = ThresholdOptimizer::fit(&groups, &labels, &scores, &ThresholdSettings::default())?;
/// let share = |group: &str| -> Result<f64, mlops_core::Error> {
///     let of_group = groups.iter().zip(&scores).filter(|row| *row.0 == group);
///     let called = of_group.map(|row| fair.probability(group, *row.1)).collect::<Result<Vec<f64>, _>>()?;
///     Ok(called.iter().sum::<f64>() / 100.0)
/// };
/// assert!((share("a")? - share("b")?).abs() < 1e-9);
/// assert_eq!(fair.decide("a", 0.7, "customer-17")?, fair.decide("a", 0.7, "customer-17")?);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdOptimizer {
    settings: ThresholdSettings,
    groups: BTreeMap<String, GroupRule>,
    accuracy: f64,
}

impl ThresholdOptimizer {
    /// Finds the rules of highest accuracy under which groups are alike. Fit on rows that the model
    /// was not trained on.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ, a label is not 0 or 1, a score not finite or a setting
    /// out of range; `FailedPrecondition` naming a group that has too few rows or one label only.
    pub fn fit<G: AsRef<str>>(
        groups: &[G],
        labels: &[f64],
        scores: &[f64],
        settings: &ThresholdSettings,
    ) -> Result<Self> {
        check(groups.len(), labels, scores, settings)?;
        let mut rows: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for ((group, label), score) in groups.iter().zip(labels).zip(scores) {
            rows.entry(group.as_ref()).or_default().push((*score, *label));
        }
        let cuts: BTreeMap<&str, GroupCuts> =
            rows.into_iter().map(|(group, rows)| (group, GroupCuts::of(rows))).collect();
        for (group, cuts) in &cuts {
            cuts.check(group, settings.rows_min)?;
        }
        let cuts: Vec<(&str, GroupCuts)> = cuts.into_iter().collect();
        let (correct, rules) = match settings.parity {
            Parity::EqualizedOdds => equalized_odds(&cuts, settings.grid),
            parity => one_rate(&cuts, parity, settings),
        };
        let named = cuts.iter().map(|(group, _)| (*group).to_owned()).zip(rules).collect();
        Ok(Self { settings: *settings, groups: named, accuracy: correct / labels.len() as f64 })
    }

    /// The rules by group.
    #[must_use]
    pub fn rules(&self) -> &BTreeMap<String, GroupRule> {
        &self.groups
    }

    /// The accuracy to be expected on the rows it was fitted to.
    #[must_use]
    pub fn expected_accuracy(&self) -> f64 {
        self.accuracy
    }

    /// The probability, over entities, that a score in a group is called positive.
    ///
    /// # Errors
    /// `NotFound` for a group that it was not fitted to; never a silent default.
    pub fn probability(&self, group: &str, score: f64) -> Result<f64> {
        let rule = self.groups.get(group).ok_or_else(|| {
            let known: Vec<&str> = self.groups.keys().map(String::as_str).collect();
            Error::not_found(format!("group {group:?} has no threshold; there are {}", known.join(", ")))
                .with("group", group)
        })?;
        Ok(rule.probability(score))
    }

    /// The decision for an entity: the same for the same key, seed, group and score.
    ///
    /// # Errors
    /// As [`ThresholdOptimizer::probability`].
    pub fn decide(&self, group: &str, score: f64, entity_key: &str) -> Result<bool> {
        Ok(coin(self.settings.seed, entity_key) < self.probability(group, score)?)
    }
}

/// An entity's number in [0, 1): FNV-1a over the key, mixed with the seed.
fn coin(seed: u64, key: &str) -> f64 {
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // A draw of the seed's own stream decides where in the key's stream to look.
    let mixed = draw_below(hash, draw_below(seed, 1, u64::MAX), 1 << 53);
    mixed as f64 / (1_u64 << 53) as f64
}

fn check(rows: usize, labels: &[f64], scores: &[f64], settings: &ThresholdSettings) -> Result<()> {
    let problem = if rows == 0 || rows != labels.len() || rows != scores.len() {
        "needs as many groups and scores as labels, and at least one"
    } else if !labels.iter().all(|label| *label == 0.0 || *label == 1.0) {
        "needs labels 0 and 1"
    } else if !scores.iter().all(|score| score.is_finite()) {
        "needs finite scores"
    } else if !(0.0..=1.0).contains(&settings.tolerance) {
        "needs a tolerance from 0 to 1"
    } else if !(10..=100_000).contains(&settings.grid) {
        "needs a grid of 10 to 100000 rates"
    } else {
        return Ok(());
    };
    Err(Error::invalid_argument(format!("threshold optimizer {problem}")))
}

/// For every rate of the grid, each group takes its best rule within the tolerance of it; the rate
/// with most rows right wins.
fn one_rate(cuts: &[(&str, GroupCuts)], parity: Parity, settings: &ThresholdSettings) -> (f64, Vec<GroupRule>) {
    let rate = |cuts: &GroupCuts, cut: &Cut| match parity {
        Parity::TruePositive => cut.true_positives / cuts.positives,
        Parity::FalsePositive => cut.false_positives / cuts.negatives,
        Parity::Selection | Parity::EqualizedOdds => (cut.true_positives + cut.false_positives) / cuts.rows(),
    };
    let hulls: Vec<Hull> =
        cuts.iter().map(|(_, group)| group.hull(|cut| rate(group, cut), |cut| group.correct(cut))).collect();
    let at = |step: u32| {
        let low = f64::from(step) / f64::from(settings.grid);
        let high = (low + settings.tolerance).min(1.0);
        hulls.iter().map(move |hull| hull.best_within(low, high).1)
    };
    best_step(
        settings.grid,
        |step| at(step).map(|mixture| mixture.value).sum::<f64>(),
        |step| at(step).map(|mixture| GroupRule::of(&mixture)).collect(),
    )
}

/// For every false positive rate, all groups come down to the lowest of their best true positive
/// rates by ignoring the score for a share of decisions.
fn equalized_odds(cuts: &[(&str, GroupCuts)], grid: u32) -> (f64, Vec<GroupRule>) {
    let hull = |group: &GroupCuts| {
        group.hull(|cut| cut.false_positives / group.negatives, |cut| cut.true_positives / group.positives)
    };
    let hulls: Vec<Hull> = cuts.iter().map(|(_, group)| hull(group)).collect();
    let positives: f64 = cuts.iter().map(|(_, group)| group.positives).sum();
    let negatives: f64 = cuts.iter().map(|(_, group)| group.negatives).sum();
    let common = |x: f64| hulls.iter().map(|hull| hull.at(x).value).fold(f64::INFINITY, f64::min);
    let x_of = |step: u32| f64::from(step) / f64::from(grid);
    let rules = |step: u32| -> Vec<GroupRule> {
        let x = x_of(step);
        let y = common(x);
        let rule = |hull: &Hull| {
            let mixture = hull.at(x);
            // A constant probability x lies on the diagonal, at (x, x).
            let room = mixture.value - x;
            let ignored_share = if room > 0.0 { (mixture.value - y) / room } else { 0.0 };
            GroupRule { ignored_share, ignored_probability: x, ..GroupRule::of(&mixture) }
        };
        hulls.iter().map(rule).collect()
    };
    best_step(grid, |step| common(x_of(step)) * positives + (1.0 - x_of(step)) * negatives, rules)
}

fn best_step(grid: u32, correct: impl Fn(u32) -> f64, rules: impl Fn(u32) -> Vec<GroupRule>) -> (f64, Vec<GroupRule>) {
    let mut best = (0, f64::NEG_INFINITY);
    for step in 0..=grid {
        let value = correct(step);
        if value > best.1 {
            best = (step, value);
        }
    }
    (best.1, rules(best.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    /// Two groups with other base rates and scores.
    fn rows() -> (Vec<&'static str>, Vec<f64>, Vec<f64>) {
        let mut rng = SeededRng::new(4, 0);
        let mut rows = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..1_500 {
            let group = rng.uniform() < 0.35;
            let label = rng.uniform() < if group { 0.25 } else { 0.55 };
            rows.0.push(if group { "b" } else { "a" });
            rows.1.push(f64::from(u8::from(label)));
            rows.2.push(0.3 * f64::from(u8::from(label)) + 0.1 * f64::from(u8::from(!group)) + 0.6 * rng.uniform());
        }
        rows
    }

    /// Expected selection, true and false positive rates of a group.
    fn rates(fair: &ThresholdOptimizer, group: &str) -> [f64; 3] {
        let (groups, labels, scores) = rows();
        let of = |wanted: Option<f64>| {
            let rows = groups.iter().zip(&labels).zip(&scores);
            let chosen: Vec<f64> = rows
                .filter(|((g, label), _)| **g == group && wanted.is_none_or(|wanted| **label == wanted))
                .map(|(_, score)| fair.probability(group, *score).unwrap())
                .collect();
            chosen.iter().sum::<f64>() / chosen.len() as f64
        };
        [of(None), of(Some(1.0)), of(Some(0.0))]
    }

    fn fit(parity: Parity, tolerance: f64) -> ThresholdOptimizer {
        let (groups, labels, scores) = rows();
        let settings = ThresholdSettings { parity, tolerance, ..ThresholdSettings::default() };
        ThresholdOptimizer::fit(&groups, &labels, &scores, &settings).unwrap()
    }

    #[test]
    fn the_wanted_rate_is_alike() {
        for (parity, checked) in [
            (Parity::Selection, vec![0]),
            (Parity::TruePositive, vec![1]),
            (Parity::FalsePositive, vec![2]),
            (Parity::EqualizedOdds, vec![1, 2]),
        ] {
            let fair = fit(parity, 0.0);
            let (a, b) = (rates(&fair, "a"), rates(&fair, "b"));
            for rate in checked {
                assert!((a[rate] - b[rate]).abs() < 1e-9, "{parity:?} {a:?} {b:?}");
            }
            assert!(fair.expected_accuracy() > 0.6, "{parity:?} {}", fair.expected_accuracy());
        }
    }

    #[test]
    fn tolerance_buys_accuracy() {
        let mut before = 0.0;
        for tolerance in [0.0, 0.05, 0.2, 1.0] {
            let fair = fit(Parity::Selection, tolerance);
            let gap = rates(&fair, "a")[0] - rates(&fair, "b")[0];
            assert!(gap.abs() <= tolerance + 1e-9, "{tolerance} {gap}");
            assert!(fair.expected_accuracy() >= before, "{tolerance}");
            before = fair.expected_accuracy();
        }
    }

    #[test]
    fn one_person_gets_one_answer_and_shares_are_kept() {
        let fair = fit(Parity::EqualizedOdds, 0.0);
        let stored: ThresholdOptimizer = serde_json::from_str(&serde_json::to_string(&fair).unwrap()).unwrap();
        let mut called = 0;
        for entity in 0..20_000 {
            let key = format!("person-{entity}");
            let answer = fair.decide("b", 0.4, &key).unwrap();
            assert_eq!(answer, stored.decide("b", 0.4, &key).unwrap());
            // Never worse with a higher score.
            assert!(!answer || fair.decide("b", 0.8, &key).unwrap());
            called += u32::from(answer);
        }
        let expected = fair.probability("b", 0.4).unwrap();
        assert!((f64::from(called) / 20_000.0 - expected).abs() < 0.015, "{called} {expected}");
        let uniform: f64 = (0..4_000).map(|i| coin(9, &i.to_string())).sum::<f64>() / 4_000.0;
        assert!((uniform - 0.5).abs() < 0.02 && coin(1, "x") != coin(2, "x"), "{uniform}");
    }

    #[test]
    fn coins_are_those_of_the_written_format() {
        // Computed from docs/formats.md by another program.
        let table = [(0, "customer-17", 0.580_118_432_133_939_4), (7, "customer-17", 0.474_778_498_002_27)];
        for (seed, key, expected) in table.into_iter().chain([(7, "é", 0.565_196_150_110_166_6)]) {
            assert_eq!(coin(seed, key), expected, "{seed} {key}");
        }
    }

    #[test]
    fn unknown_and_small_groups_are_refused() {
        let fair = fit(Parity::Selection, 0.0);
        assert!(fair.decide("c", 0.5, "x").unwrap_err().message().contains("there are a, b"));
        let (mut groups, labels, scores) = rows();
        groups[0] = "rare";
        let error = ThresholdOptimizer::fit(&groups, &labels, &scores, &ThresholdSettings::default()).unwrap_err();
        assert!(error.message().contains("rare"), "{error}");
        let wrong = ThresholdSettings { tolerance: 2.0, ..ThresholdSettings::default() };
        assert!(ThresholdOptimizer::fit(&groups, &labels, &scores, &wrong).is_err());
    }
}
