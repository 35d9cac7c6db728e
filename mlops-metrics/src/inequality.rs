//! Fairness between individuals and of one group against a reference group.
//!
//! Sources: Speicher et al., KDD 2018 (inequality of benefits), Hardt, Price and Srebro, NIPS 2016
//! (odds); as AIF360 computes them.

use mlops_core::{Error, Result};

use crate::{
    fairness::{GroupOutcomes, Rate, share},
    metric::undefined,
};

/// The four-fifths rule of the EEOC's Uniform Guidelines (29 CFR 1607.4 D): a group's selection rate
/// below this share of the highest is evidence of adverse impact.
pub const FOUR_FIFTHS: f64 = 0.8;

/// Generalized entropy of the benefits `call - label + 1` of all rows: zero when all benefit alike.
/// Order 1 is Theil's index, order 2 half the squared coefficient of variation.
///
/// ```
/// // One row wrongly called positive, one wrongly called negative.
/// let theil = mlops_metrics::benefit_entropy(&[0.0, 1.0], &[1.0, 0.0], 1.0)?;
/// assert!((theil - 2.0_f64.ln()).abs() < 1e-12);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when lengths differ or are zero or a number is not 0 or 1; `FailedPrecondition`
/// when nobody benefits, or at order 0 with a benefit of zero.
pub fn benefit_entropy(labels: &[f64], calls: &[f64], order: f64) -> Result<f64> {
    let binary = labels.iter().chain(calls).all(|&value| value == 0.0 || value == 1.0);
    if labels.is_empty() || labels.len() != calls.len() || !binary || !order.is_finite() {
        return Err(Error::invalid_argument("inequality needs as many calls as labels, all 0 or 1, and at least one"));
    }
    let benefits: Vec<f64> = labels.iter().zip(calls).map(|(label, call)| call - label + 1.0).collect();
    let n = benefits.len() as f64;
    let mean = benefits.iter().sum::<f64>() / n;
    if mean <= 0.0 || (order == 0.0 && benefits.contains(&0.0)) {
        return Err(undefined("benefit_entropy", "a benefit or their mean is zero"));
    }
    let of = |benefit: &f64| {
        let ratio = benefit / mean;
        if order == 1.0 {
            if ratio == 0.0 { 0.0 } else { ratio * ratio.ln() }
        } else if order == 0.0 {
            -ratio.ln()
        } else {
            (ratio.powf(order) - 1.0) / (order * (order - 1.0))
        }
    };
    Ok(benefits.iter().map(of).sum::<f64>() / n)
}

impl GroupOutcomes {
    fn share_of(&self, group: &str, rate: Rate) -> Result<f64> {
        let counts = self.rate(group, rate);
        let counts =
            counts.ok_or_else(|| Error::not_found(format!("group {group:?} has no rows")).with("group", group))?;
        if counts.1 == 0 {
            let why = format!("group {group:?} has no rows for the {rate:?} rate");
            return Err(Error::failed_precondition(why).with("group", group));
        }
        Ok(share(counts))
    }

    /// A group's rate over that of a reference group; of the selection rate it is the disparate
    /// impact, which the rule of [`FOUR_FIFTHS`] judges.
    ///
    /// # Errors
    /// `NotFound` for an unknown group; `FailedPrecondition` when a group lacks the rate or that of
    /// the reference is zero.
    pub fn ratio_to(&self, group: &str, reference: &str, rate: Rate) -> Result<f64> {
        let base = self.share_of(reference, rate)?;
        if base <= 0.0 {
            return Err(Error::failed_precondition(format!("the {rate:?} rate of group {reference:?} is zero")));
        }
        Ok(self.share_of(group, rate)? / base)
    }

    /// The mean of a group's differences of true and of false positive rate to a reference group;
    /// zero is fair, negative is to its disadvantage.
    ///
    /// # Errors
    /// As [`GroupOutcomes::ratio_to`].
    pub fn average_odds_difference(&self, group: &str, reference: &str) -> Result<f64> {
        let gap = |rate| Ok::<f64, Error>(self.share_of(group, rate)? - self.share_of(reference, rate)?);
        Ok(f64::midpoint(gap(Rate::TruePositive)?, gap(Rate::FalsePositive)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_benefits_are_no_inequality() {
        for order in [0.0, 0.5, 1.0, 2.0] {
            assert_eq!(benefit_entropy(&[0.0, 1.0, 1.0], &[0.0, 1.0, 1.0], order).unwrap(), 0.0);
        }
        assert!(
            benefit_entropy(&[1.0], &[0.0], 1.0).is_err() && benefit_entropy(&[1.0, 0.0], &[0.0, 1.0], 0.0).is_err()
        );
        assert!(benefit_entropy(&[0.5], &[0.0], 1.0).is_err() && benefit_entropy(&[], &[], 1.0).is_err());
    }

    #[test]
    fn groups_against_a_reference_by_hand() {
        let mut outcomes = GroupOutcomes::default();
        for (group, label, called) in
            [("a", true, true), ("a", false, true), ("b", true, false), ("b", true, true), ("b", false, false)]
        {
            outcomes.add(group, label, called).unwrap();
        }
        assert_eq!(outcomes.ratio_to("b", "a", Rate::Selection).unwrap(), 1.0 / 3.0);
        assert_eq!(outcomes.average_odds_difference("b", "a").unwrap(), (-0.5 - 1.0) / 2.0);
        assert!(outcomes.ratio_to("c", "a", Rate::Selection).is_err());
        assert!(outcomes.ratio_to("a", "b", Rate::FalsePositive).is_err());
    }
}
