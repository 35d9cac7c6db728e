//! How unsure a model or a committee of models is about a row.
//!
//! Invariant: all scores are in nats or probabilities and higher means more worth a label, but for
//! [`margin`], which is a distance; [`Uncertainty::score`] turns it round. Source: Settles, Active
//! Learning Literature Survey (2009); BALD by Houlsby et al. (2011).

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// One minus the probability of the most probable class.
#[must_use]
pub fn least_confidence(probabilities: &[f64]) -> f64 {
    1.0 - probabilities.iter().copied().fold(0.0, f64::max)
}

/// The most probable class's probability less the second's; small where a model wavers between two.
#[must_use]
pub fn margin(probabilities: &[f64]) -> f64 {
    let (mut first, mut second) = (0.0_f64, 0.0_f64);
    for &p in probabilities {
        if p > first {
            (first, second) = (p, first);
        } else {
            second = second.max(p);
        }
    }
    first - second
}

/// Shannon's entropy in nats.
#[must_use]
pub fn entropy(probabilities: &[f64]) -> f64 {
    -probabilities.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>()
}

/// Probabilities of classes that several models, or passes of one with dropout, give to one row.
///
/// ```
/// use mlops_train::active::Committee;
///
/// let members = [vec![0.9, 0.1], vec![0.1, 0.9]];
/// let committee = Committee::of(&members)?;
/// assert_eq!(committee.mean(), [0.5, 0.5]);
/// assert!(committee.bald() > 0.3 && committee.vote_entropy() > 0.69);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Committee<'a> {
    members: &'a [Vec<f64>],
    mean: Vec<f64>,
}

impl<'a> Committee<'a> {
    /// Checks what the members say.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no member, members differ in classes or a probability is not
    /// within 0 and 1.
    pub fn of(members: &'a [Vec<f64>]) -> Result<Self> {
        let classes = members.first().map_or(0, Vec::len);
        let known = |member: &Vec<f64>| member.len() == classes && member.iter().all(|p| (0.0..=1.0).contains(p));
        if classes == 0 || !members.iter().all(known) {
            return Err(Error::invalid_argument(
                "a committee needs a member, and of each the probabilities within 0 and 1 of the same classes",
            ));
        }
        let mean = |class| members.iter().filter_map(|member| member.get(class)).sum::<f64>() / members.len() as f64;
        Ok(Self { members, mean: (0..classes).map(mean).collect() })
    }

    /// The mean probabilities.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    fn mean_of(&self, of: impl Fn(&[f64]) -> f64) -> f64 {
        self.members.iter().map(|member| of(member)).sum::<f64>() / self.members.len() as f64
    }

    /// What the label would tell about the model: entropy of the mean less mean of the entropies.
    #[must_use]
    pub fn bald(&self) -> f64 {
        (entropy(&self.mean) - self.mean_of(entropy)).max(0.0)
    }

    /// The mean divergence of a member from the mean of all (McCallum and Nigam 1998).
    #[must_use]
    pub fn kl_disagreement(&self) -> f64 {
        let divergence = |member: &[f64]| {
            let pairs = member.iter().zip(&self.mean).filter(|(p, _)| **p > 0.0);
            pairs.map(|(p, mean)| p * (p / mean).ln()).sum::<f64>()
        };
        self.mean_of(divergence).max(0.0)
    }

    /// Share of members for which each class is the most probable, the first of equals.
    #[must_use]
    pub fn votes(&self) -> Vec<f64> {
        let mut votes = vec![0.0; self.mean.len()];
        for member in self.members {
            let mut best = (0, f64::NEG_INFINITY);
            for (class, &p) in member.iter().enumerate() {
                if p > best.1 {
                    best = (class, p);
                }
            }
            if let Some(vote) = votes.get_mut(best.0) {
                *vote += 1.0 / self.members.len() as f64;
            }
        }
        votes
    }

    /// The entropy of the votes.
    #[must_use]
    pub fn vote_entropy(&self) -> f64 {
        entropy(&self.votes())
    }

    /// Share of members that do not vote with the most.
    #[must_use]
    pub fn variation_ratio(&self) -> f64 {
        least_confidence(&self.votes())
    }
}

/// A score by name, for settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Uncertainty {
    /// [`least_confidence`] of the mean.
    LeastConfidence,
    /// One minus the [`margin`] of the mean.
    Margin,
    /// [`entropy`] of the mean.
    #[default]
    Entropy,
    /// [`Committee::bald`].
    Bald,
    /// [`Committee::vote_entropy`].
    VoteEntropy,
    /// [`Committee::kl_disagreement`].
    KlDisagreement,
    /// [`Committee::variation_ratio`].
    VariationRatio,
}

impl Uncertainty {
    /// The score of one row; higher is more worth a label. One model is a committee of one, about
    /// which the scores of disagreement say zero.
    #[must_use]
    pub fn score(self, committee: &Committee<'_>) -> f64 {
        match self {
            Self::LeastConfidence => least_confidence(committee.mean()),
            Self::Margin => 1.0 - margin(committee.mean()),
            Self::Entropy => entropy(committee.mean()),
            Self::Bald => committee.bald(),
            Self::VoteEntropy => committee.vote_entropy(),
            Self::KlDisagreement => committee.kl_disagreement(),
            Self::VariationRatio => committee.variation_ratio(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Uncertainty; 7] = [
        Uncertainty::LeastConfidence,
        Uncertainty::Margin,
        Uncertainty::Entropy,
        Uncertainty::Bald,
        Uncertainty::VoteEntropy,
        Uncertainty::KlDisagreement,
        Uncertainty::VariationRatio,
    ];

    #[test]
    fn certainty_scores_lowest() {
        let sure = [vec![1.0, 0.0, 0.0], vec![1.0, 0.0, 0.0]];
        let torn = [vec![0.6, 0.4, 0.0], vec![0.3, 0.6, 0.1]];
        for score in ALL {
            assert_eq!(score.score(&Committee::of(&sure).unwrap()), 0.0, "{score:?}");
            assert!(score.score(&Committee::of(&torn).unwrap()) > 0.01, "{score:?}");
        }
    }

    #[test]
    fn disagreement_is_one_number_by_two_formulas() {
        let members = [vec![0.6, 0.4, 0.0], vec![0.3, 0.6, 0.1], vec![0.2, 0.2, 0.6]];
        let committee = Committee::of(&members).unwrap();
        assert!((committee.bald() - committee.kl_disagreement()).abs() < 1e-12);
        assert!((committee.vote_entropy() - 3.0_f64.ln()).abs() < 1e-12);
        assert_eq!(margin(&[0.5, 0.5]), 0.0);
    }

    #[test]
    fn wrong_committees_are_refused() {
        assert!(Committee::of(&[]).is_err() && Committee::of(&[vec![]]).is_err());
        assert!(Committee::of(&[vec![0.5, 0.5], vec![1.0]]).is_err() && Committee::of(&[vec![f64::NAN]]).is_err());
    }
}
