//! The knobs of a monitor and where their defaults come from.

use mlops_core::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    correction::Correction,
    detector::{Binning, Thresholds},
    stats::{Continuity, KsMode, ZeroRule},
};

/// Kolmogorov distance that matters: one row in ten lies elsewhere. About the distance that a
/// shift of a quarter standard deviation makes (2 Phi(0.125) - 1 = 0.0995), Cohen's small effect
/// being 0.2 and medium 0.5 (Statistical Power Analysis, 1988).
pub const KS_D_MIN: f64 = 0.1;
/// PSI that matters. Credit-risk practice reads below 0.1 as stable, 0.1 to 0.2 (or 0.25) as
/// worth a look, above as changed (Siddiqi, Credit Risk Scorecards, 2006).
pub const PSI_MIN: f64 = 0.2;
/// Cramer's V that matters: Cohen's small effect w = 0.1 (1988, chapter 7).
pub const CRAMERS_V_MIN: f64 = 0.1;
/// Change of the share of missing values that matters: one percentage point.
pub const NULL_SHARE_MIN: f64 = 0.01;

/// What a [`crate::Monitor`] tests and when it speaks up.
///
/// ```
/// use mlops_monitor::MonitorSettings;
///
/// let settings: MonitorSettings = serde_json::from_str(r#"{"fdr": 0.01}"#)?;
/// assert_eq!((settings.fdr, settings.n_min), (0.01, 100));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorSettings {
    /// Share of false alarms among the alarms of one run, above 0 and below 1; under
    /// [`Correction::Bonferroni`] and [`Correction::Holm`] the chance of any.
    pub fdr: f64,
    /// How p-values are corrected over all tests of a run.
    pub correction: Correction,
    /// Fewest values on each side for a verdict.
    pub n_min: u64,
    /// Smallest Kolmogorov distance that counts, see [`KS_D_MIN`].
    pub ks_d_min: f64,
    /// Smallest PSI (less its chance part) that counts, see [`PSI_MIN`].
    pub psi_min: f64,
    /// Smallest Cramer's V that counts, see [`CRAMERS_V_MIN`].
    pub cramers_v_min: f64,
    /// Smallest change in the share of missing values that counts, see [`NULL_SHARE_MIN`].
    pub null_share_min: f64,
    /// Null law of the Kolmogorov-Smirnov test.
    pub ks_mode: KsMode,
    /// Bins of PSI on numbers.
    pub psi_binning: Binning,
    /// What PSI makes of empty bins.
    pub psi_zero_rule: ZeroRule,
    /// Correction of 2x2 tables.
    pub continuity: Continuity,
    /// Rare levels are pooled up to this expected count.
    pub expected_min: f64,
    /// How many levels that the reference does not know a report names; zero names none, for
    /// columns whose levels are private.
    pub unseen_levels_max: usize,
}

impl Default for MonitorSettings {
    fn default() -> Self {
        Self {
            fdr: 0.05,
            correction: Correction::default(),
            n_min: 100,
            ks_d_min: KS_D_MIN,
            psi_min: PSI_MIN,
            cramers_v_min: CRAMERS_V_MIN,
            null_share_min: NULL_SHARE_MIN,
            ks_mode: KsMode::default(),
            psi_binning: Binning::default(),
            psi_zero_rule: ZeroRule::default(),
            continuity: Continuity::default(),
            expected_min: 5.0,
            unseen_levels_max: 5,
        }
    }
}

impl MonitorSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        if !(self.fdr > 0.0 && self.fdr < 1.0) {
            faults.push(format!("fdr must be above 0 and below 1, found {}", self.fdr));
        }
        let at_least_zero = [
            ("ks_d_min", self.ks_d_min),
            ("psi_min", self.psi_min),
            ("cramers_v_min", self.cramers_v_min),
            ("null_share_min", self.null_share_min),
            ("expected_min", self.expected_min),
        ];
        for (name, value) in at_least_zero {
            if !(value.is_finite() && value >= 0.0) {
                faults.push(format!("{name} must be finite and at least 0, found {value}"));
            }
        }
        if let Some(fault) = self.psi_binning.fault() {
            faults.push(format!("psi_binning {fault}"));
        }
        if let ZeroRule::Floor(floor) = self.psi_zero_rule
            && !(floor > 0.0 && floor < 1.0)
        {
            faults.push(format!("the floor of psi_zero_rule must be above 0 and below 1, found {floor}"));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("monitor settings: {}", faults.join("; "))))
    }

    pub(crate) fn thresholds(&self, effect_min: f64) -> Thresholds {
        Thresholds { effect_min, alpha: self.fdr, n_min: self.n_min }
    }
}

/// Settings that can be checked where a state that holds them is read back.
pub(crate) trait Validate {
    /// Names all that is out of range.
    fn validate(&self) -> Result<()>;
}

/// Reads settings and refuses those that are out of range, for `#[serde(deserialize_with)]`.
pub(crate) fn valid<'de, D: Deserializer<'de>, S: Deserialize<'de> + Validate>(
    deserializer: D,
) -> std::result::Result<S, D::Error> {
    let settings = S::deserialize(deserializer)?;
    settings.validate().map_err(de::Error::custom)?;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        let settings = MonitorSettings {
            fdr: 0.0,
            ks_d_min: f64::NAN,
            psi_binning: Binning::ReferenceQuantiles(1),
            psi_zero_rule: ZeroRule::Floor(0.0),
            ..MonitorSettings::default()
        };
        let error = settings.validate().unwrap_err();
        for word in ["fdr", "ks_d_min", "psi_binning", "psi_zero_rule"] {
            assert!(error.message().contains(word), "{error}");
        }
        MonitorSettings::default().validate().unwrap();
    }
}
