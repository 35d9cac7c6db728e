//! How differently a classifier treats groups.
//!
//! Invariant: everything follows from counts of outcomes by group, so tables of parts add up. Where
//! a group has no rate (no positives, nothing selected) it takes no part in that comparison; rates
//! are never made up. Whether a difference is just is not for arithmetic to say.

use std::{collections::BTreeMap, fmt, str::FromStr};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    confusion::ConfusionMatrix,
    interval::{Interval, katz_ratio, newcombe},
    metric::undefined,
};

/// Most groups of one table.
pub const GROUPS_MAX: usize = 1_000;

/// Outcomes of calls by group.
///
/// ```
/// use mlops_metrics::{FairnessMetric, GroupOutcomes, Rate};
///
/// let mut outcomes = GroupOutcomes::default();
/// for (group, label, called) in [("a", true, true), ("a", false, true), ("b", true, true), ("b", false, false)] {
///     outcomes.add(group, label, called)?;
/// }
/// assert_eq!(outcomes.rate("b", Rate::Selection), Some((1, 2)));
/// let gap = outcomes.gap(FairnessMetric::DemographicParityDifference, 0.95)?;
/// assert_eq!((gap.value, gap.highest.as_str(), gap.lowest.as_str()), (0.5, "a", "b"));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupOutcomes {
    groups: BTreeMap<String, ConfusionMatrix>,
}

/// A rate within a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Called positive, of all.
    Selection,
    /// Called positive, of positives.
    TruePositive,
    /// Called positive, of negatives.
    FalsePositive,
    /// Called negative, of positives.
    FalseNegative,
    /// Positives, of those called positive.
    Precision,
    /// Rightly called, of all.
    Accuracy,
    /// Positives, of all.
    Base,
}

impl Rate {
    /// Every rate.
    pub const ALL: [Self; 7] = [
        Self::Selection,
        Self::TruePositive,
        Self::FalsePositive,
        Self::FalseNegative,
        Self::Precision,
        Self::Accuracy,
        Self::Base,
    ];

    fn of(self, matrix: &ConfusionMatrix) -> (u64, u64) {
        let cell = |label, called| matrix.cell(label, called) as u64;
        let (tn, fp, fn_, tp) = (cell(0, 0), cell(0, 1), cell(1, 0), cell(1, 1));
        let all = tn + fp + fn_ + tp;
        match self {
            Self::Selection => (tp + fp, all),
            Self::TruePositive => (tp, tp + fn_),
            Self::FalsePositive => (fp, fp + tn),
            Self::FalseNegative => (fn_, tp + fn_),
            Self::Precision => (tp, tp + fp),
            Self::Accuracy => (tp + tn, all),
            Self::Base => (tp + fn_, all),
        }
    }
}

/// One number about all groups, by Fairlearn's definitions: differences are highest less lowest
/// rate, ratios lowest over highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FairnessMetric {
    /// Difference of selection rates.
    DemographicParityDifference,
    /// Ratio of selection rates; the four-fifths rule asks for 0.8.
    DemographicParityRatio,
    /// The larger of the differences of true and of false positive rates.
    EqualizedOddsDifference,
    /// The smaller of the ratios of true and of false positive rates.
    EqualizedOddsRatio,
    /// Difference of true positive rates.
    EqualOpportunityDifference,
    /// Ratio of true positive rates.
    EqualOpportunityRatio,
    /// Difference of precisions.
    PredictiveParityDifference,
}

const NAMES: [(FairnessMetric, &str, &[Rate]); 7] = [
    (FairnessMetric::DemographicParityDifference, "demographic_parity_difference", &[Rate::Selection]),
    (FairnessMetric::DemographicParityRatio, "demographic_parity_ratio", &[Rate::Selection]),
    (FairnessMetric::EqualizedOddsDifference, "equalized_odds_difference", &[Rate::TruePositive, Rate::FalsePositive]),
    (FairnessMetric::EqualizedOddsRatio, "equalized_odds_ratio", &[Rate::TruePositive, Rate::FalsePositive]),
    (FairnessMetric::EqualOpportunityDifference, "equal_opportunity_difference", &[Rate::TruePositive]),
    (FairnessMetric::EqualOpportunityRatio, "equal_opportunity_ratio", &[Rate::TruePositive]),
    (FairnessMetric::PredictiveParityDifference, "predictive_parity_difference", &[Rate::Precision]),
];

impl FairnessMetric {
    /// Every metric.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|row| row.0)
    }

    /// The name, such as `demographic_parity_difference`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|row| row.0 == self).map_or("unknown", |row| row.1)
    }

    /// Whether it is a ratio, best at one, and not a difference, best at zero.
    #[must_use]
    pub fn is_ratio(self) -> bool {
        matches!(self, Self::DemographicParityRatio | Self::EqualizedOddsRatio | Self::EqualOpportunityRatio)
    }

    fn rates(self) -> &'static [Rate] {
        NAMES.iter().find(|row| row.0 == self).map_or(&[], |row| row.2)
    }
}

impl fmt::Display for FairnessMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FairnessMetric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        NAMES.iter().find(|row| row.1 == name).map(|row| row.0).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|row| row.1).collect();
            Error::invalid_argument(format!("fairness metric {name:?} is unknown; there are {}", names.join(", ")))
        })
    }
}

/// A fairness metric with the groups that set it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FairnessGap {
    /// The difference or ratio.
    pub value: f64,
    /// The rate that differs.
    pub rate: Rate,
    /// The group with the highest rate.
    pub highest: String,
    /// The group with the lowest rate.
    pub lowest: String,
    /// Newcombe's interval of the difference or Katz's of the ratio between these two groups, at a
    /// level raised by Bonferroni for the number of pairs it could have been; `None` for a ratio
    /// with a rate of zero.
    pub interval: Option<Interval>,
}

impl GroupOutcomes {
    /// Adds a row.
    ///
    /// # Errors
    /// `ResourceExhausted` for a group beyond [`GROUPS_MAX`].
    pub fn add(&mut self, group: &str, label: bool, called: bool) -> Result<()> {
        if let Some(matrix) = self.groups.get_mut(group) {
            return matrix.add(usize::from(label), usize::from(called), 1.0);
        }
        self.check_room()?;
        let mut matrix = ConfusionMatrix::new(2)?;
        matrix.add(usize::from(label), usize::from(called), 1.0)?;
        self.groups.insert(group.to_owned(), matrix);
        Ok(())
    }

    fn check_room(&self) -> Result<()> {
        if self.groups.len() < GROUPS_MAX {
            return Ok(());
        }
        Err(Error::resource_exhausted(format!("fairness tables hold {GROUPS_MAX} groups; pool rare ones")))
    }

    /// Adds the rows of another table.
    ///
    /// # Errors
    /// As [`GroupOutcomes::add`].
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        for (group, matrix) in &other.groups {
            match self.groups.get_mut(group) {
                Some(own) => own.merge(matrix)?,
                None => {
                    self.check_room()?;
                    self.groups.insert(group.clone(), matrix.clone());
                }
            }
        }
        Ok(())
    }

    /// Names and outcomes of the groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &ConfusionMatrix)> {
        self.groups.iter().map(|(name, matrix)| (name.as_str(), matrix))
    }

    /// A group's rate as (successes, trials); `None` for an unknown group.
    #[must_use]
    pub fn rate(&self, group: &str, rate: Rate) -> Option<(u64, u64)> {
        self.groups.get(group).map(|matrix| rate.of(matrix))
    }

    /// Without groups of fewer rows than `rows_min`.
    #[must_use]
    pub fn with_rows_min(mut self, rows_min: u64) -> Self {
        self.groups.retain(|_, matrix| matrix.total() >= rows_min as f64);
        self
    }

    /// The highest less the lowest rate.
    ///
    /// # Errors
    /// `FailedPrecondition` unless two groups have the rate; `InvalidArgument` when the level is
    /// not between 0 and 1.
    pub fn difference(&self, rate: Rate, level: f64) -> Result<FairnessGap> {
        let extremes = self.extremes(rate)?;
        let interval = newcombe(extremes.highest.1, extremes.lowest.1, extremes.level(level))?;
        let value = share(extremes.highest.1) - share(extremes.lowest.1);
        Ok(extremes.gap(rate, value, Some(interval)))
    }

    /// The lowest over the highest rate; one when both are zero.
    ///
    /// # Errors
    /// As [`GroupOutcomes::difference`].
    pub fn ratio(&self, rate: Rate, level: f64) -> Result<FairnessGap> {
        let extremes = self.extremes(rate)?;
        let (low, high) = (share(extremes.lowest.1), share(extremes.highest.1));
        let interval = katz_ratio(extremes.lowest.1, extremes.highest.1, extremes.level(level));
        Ok(extremes.gap(rate, if high > 0.0 { low / high } else { 1.0 }, interval))
    }

    /// A metric over all groups.
    ///
    /// # Errors
    /// As [`GroupOutcomes::difference`].
    pub fn gap(&self, metric: FairnessMetric, level: f64) -> Result<FairnessGap> {
        let ratio = metric.is_ratio();
        let one = |rate: &Rate| if ratio { self.ratio(*rate, level) } else { self.difference(*rate, level) };
        let gaps = metric.rates().iter().map(one).collect::<Result<Vec<_>>>()?;
        let unfairness = |gap: &FairnessGap| if ratio { -gap.value } else { gap.value };
        let worst = gaps.into_iter().max_by(|a, b| unfairness(a).total_cmp(&unfairness(b)));
        worst.ok_or_else(|| undefined(metric, "it has no rate"))
    }

    fn extremes(&self, rate: Rate) -> Result<Extremes<'_>> {
        let rates = self.groups.iter().map(|(name, matrix)| (name.as_str(), rate.of(matrix)));
        let rates: Vec<(&str, (u64, u64))> = rates.filter(|(_, (_, trials))| *trials > 0).collect();
        let by_share = |a: &&(&str, (u64, u64)), b: &&(&str, (u64, u64))| share(a.1).total_cmp(&share(b.1));
        let extremes = rates.iter().max_by(by_share).zip(rates.iter().min_by(by_share));
        match extremes {
            Some((highest, lowest)) if rates.len() > 1 => {
                Ok(Extremes { highest: *highest, lowest: *lowest, groups: rates.len() as f64 })
            }
            _ => Err(Error::failed_precondition(format!(
                "a comparison of the {rate:?} rate needs two groups that have it, found {}",
                rates.len()
            ))),
        }
    }
}

pub(crate) fn share((successes, trials): (u64, u64)) -> f64 {
    successes as f64 / trials as f64
}

struct Extremes<'a> {
    highest: (&'a str, (u64, u64)),
    lowest: (&'a str, (u64, u64)),
    groups: f64,
}

impl Extremes<'_> {
    fn level(&self, level: f64) -> f64 {
        1.0 - (1.0 - level) / (self.groups * (self.groups - 1.0) / 2.0)
    }

    fn gap(&self, rate: Rate, value: f64, interval: Option<Interval>) -> FairnessGap {
        let (highest, lowest) = (self.highest.0.to_owned(), self.lowest.0.to_owned());
        FairnessGap { value, rate, highest, lowest, interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, bool, bool)]) -> GroupOutcomes {
        let mut outcomes = GroupOutcomes::default();
        rows.iter().for_each(|(group, label, called)| outcomes.add(group, *label, *called).unwrap());
        outcomes
    }

    #[test]
    fn merged_tables_are_those_of_all_rows() {
        let rows = [("a", true, true), ("b", false, true), ("a", false, false), ("c", true, false), ("b", true, true)];
        for cut in 0..=rows.len() {
            let (first, second) = rows.split_at(cut);
            let mut merged = table(first);
            merged.merge(&table(second)).unwrap();
            assert_eq!(merged, table(&rows));
        }
    }

    #[test]
    fn groups_without_a_rate_take_no_part() {
        let outcomes = table(&[("a", true, true), ("a", false, true), ("b", false, false), ("c", true, false)]);
        let gap = outcomes.difference(Rate::TruePositive, 0.95).unwrap();
        assert_eq!((gap.value, gap.highest.as_str(), gap.lowest.as_str()), (1.0, "a", "c"));
        assert!(outcomes.difference(Rate::Precision, 0.95).is_err());
        assert!(GroupOutcomes::default().gap(FairnessMetric::EqualizedOddsRatio, 0.95).is_err());
        assert!(outcomes.ratio(Rate::TruePositive, 0.95).unwrap().interval.is_none());
        assert_eq!(outcomes.with_rows_min(2).groups().count(), 1);
    }

    #[test]
    fn names_read_back() {
        for metric in FairnessMetric::all() {
            assert_eq!(metric.name().parse::<FairnessMetric>().unwrap(), metric);
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }

    #[test]
    fn groups_are_bounded() {
        let mut outcomes = GroupOutcomes::default();
        for group in 0..GROUPS_MAX {
            outcomes.add(&group.to_string(), true, true).unwrap();
        }
        outcomes.add("7", true, false).unwrap();
        assert!(outcomes.add("more", true, true).is_err());
    }
}
