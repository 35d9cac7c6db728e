//! How much a streaming profile keeps, and so how exact it is.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The bounds of a [`super::Profile`]. Profiles merge only when these are equal.
///
/// ```
/// use mlops_monitor::SketchSettings;
///
/// let settings: SketchSettings = serde_json::from_str(r#"{"kll_k": 200}"#)?;
/// settings.validate()?;
/// assert!((settings.rank_error() - 0.0133).abs() < 1e-4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SketchSettings {
    /// Accuracy of quantiles, 8 to 32,768: the parameter k of KLL. About 3 k values are kept.
    pub kll_k: u16,
    /// Distinct numbers up to which a numeric column is kept exactly, 1 to 65,536. Fewer rows than that are always exact.
    pub distinct_values_max: u32,
    /// Levels up to which a categorical column is counted exactly, 1 to 65,536; beyond it the most frequent are kept.
    pub levels_max: u32,
    /// Parts up to which merging gives the same numbers in every order and grouping, 1 to 4,096. A part is what one
    /// process observed; memory and stored bytes grow with their number up to this one.
    pub parts_max: u32,
}

impl Default for SketchSettings {
    fn default() -> Self {
        Self { kll_k: 1024, distinct_values_max: 4096, levels_max: 1000, parts_max: 64 }
    }
}

impl SketchSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("kll_k", u32::from(self.kll_k), 8..=32_768),
            ("distinct_values_max", self.distinct_values_max, 1..=65_536),
            ("levels_max", self.levels_max, 1..=65_536),
            ("parts_max", self.parts_max, 1..=4_096),
        ];
        let faults: Vec<String> = ranges
            .into_iter()
            .filter(|(_, value, range)| !range.contains(value))
            .map(|(name, value, range)| {
                format!("{name} must be from {} to {}, found {value}", range.start(), range.end())
            })
            .collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("sketch settings: {}", faults.join("; "))))
    }

    /// How far the share of values up to any point may be off, with 99 % confidence, once a column is no longer exact.
    #[must_use]
    pub fn rank_error(&self) -> f64 {
        super::kll::rank_error(self.kll_k)
    }
}
