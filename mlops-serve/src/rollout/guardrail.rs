//! What a candidate must not do, as data.

use mlops_metrics::Direction;
use serde::{Deserialize, Serialize};

/// A limit that a candidate is held to, at every look.
///
/// The comparing ones fail a candidate that is worse than the champion beyond chance, however little; `margin` is the
/// most by which it may be worse when it is called no worse, and the size of an effect worth detecting. The absolute
/// ones need no champion.
///
/// ```
/// use mlops_serve::rollout::Guardrail;
///
/// let guardrail: Guardrail = serde_json::from_str(r#"{"kind": "errors", "margin": 0.005}"#)?;
/// assert_eq!(guardrail, Guardrail::Errors { margin: 0.005 });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Guardrail {
    /// Errors per request, against the champion's.
    Errors {
        /// Difference of the rates.
        margin: f64,
    },
    /// Share of answers slower than [`RolloutSettings::slow_above_us`](super::RolloutSettings::slow_above_us), against
    /// the champion's. A quantile below the limit is a share above it: p99 < limit means a share below 0.01.
    Slow {
        /// Difference of the shares.
        margin: f64,
    },
    /// Errors per request, whatever the champion does.
    ErrorsAtMost {
        /// The objective.
        share: f64,
    },
    /// Share of slow answers, whatever the champion does.
    SlowAtMost {
        /// The objective.
        share: f64,
    },
    /// The mean of a figure that is reported for answers, against the champion's.
    Kpi {
        /// Its name.
        name: String,
        /// Which values are better.
        direction: Direction,
        /// Difference of the means, in the figure's unit.
        margin: f64,
    },
}

impl Guardrail {
    /// In words, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Errors { .. } => "errors".into(),
            Self::Slow { .. } => "slow answers".into(),
            Self::ErrorsAtMost { share } => format!("errors at most {share}"),
            Self::SlowAtMost { share } => format!("slow answers at most {share}"),
            Self::Kpi { name, .. } => format!("kpi {name}"),
        }
    }

    pub(super) fn fault(&self) -> Option<String> {
        let (what, value, fits) = match self {
            Self::Errors { margin } | Self::Slow { margin } => ("margin", *margin, *margin > 0.0 && *margin < 1.0),
            Self::ErrorsAtMost { share } | Self::SlowAtMost { share } => {
                ("share", *share, *share > 0.0 && *share < 1.0)
            }
            Self::Kpi { margin, .. } => ("margin", *margin, *margin > 0.0 && margin.is_finite()),
        };
        (!fits).then(|| format!("guardrail \"{}\": {what} {value} is out of range", self.describe()))
    }
}

/// What a guardrail says of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Kept, with the confidence that was asked for.
    Pass,
    /// Not known yet; also when there is no data.
    Undecided,
    /// Broken, with the confidence that was asked for.
    Fail,
}

/// A verdict with its evidence, for people and for the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The guardrail in words.
    pub guardrail: String,
    /// The version that was judged; none where all arms were.
    pub candidate: Option<mlops_core::Version>,
    /// The outcome.
    pub verdict: Verdict,
    /// What was measured: a difference to the champion (positive is more), or a share. None without data.
    pub value: Option<f64>,
    /// Ends of its interval, which holds at every look at once; none where there is no end.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// What it is compared with: the margin or the objective.
    pub limit: f64,
    /// The always-valid p-value of the guardrail being broken, where it has one.
    pub p_value: Option<f64>,
    /// What the candidate's side rests on: requests or reported figures.
    pub samples: u64,
    /// What the champion's side rests on; 0 where it is not asked.
    pub champion_samples: u64,
    /// The same in words.
    pub reason: String,
}
