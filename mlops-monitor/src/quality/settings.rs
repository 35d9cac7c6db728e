//! How much a run keeps, and what it may show.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a suite is evaluated.
///
/// ```
/// use mlops_monitor::quality::ValidationSettings;
///
/// let settings: ValidationSettings = serde_json::from_str(r#"{"include_values": true}"#)?;
/// assert!(settings.include_values && settings.rows_max == 1000);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationSettings {
    /// Whether results show values out of the data (examples of what breaks a rule, extremes,
    /// sums, quantiles). Off by default, because results travel further than the data may.
    pub include_values: bool,
    /// Indices of rows kept per rule: the first ones.
    pub rows_max: usize,
    /// Distinct values kept per column, at about 32 bytes each, at least 1.
    pub distinct_max: usize,
    /// Bytes of distinct text kept per column.
    pub distinct_bytes_max: usize,
    /// Values kept per column for medians, quantiles and z-scores, at 8 to 16 bytes each.
    pub values_max: usize,
    /// Whether NaN counts as no value in every rule, as in pandas. In Arrow it is a value.
    pub nan_as_null: bool,
}

impl Default for ValidationSettings {
    fn default() -> Self {
        Self {
            include_values: false,
            rows_max: 1_000,
            distinct_max: 2_000_000,
            distinct_bytes_max: 256 << 20,
            values_max: 10_000_000,
            nan_as_null: false,
        }
    }
}

impl ValidationSettings {
    /// Checks every setting.
    ///
    /// # Errors
    /// `InvalidArgument` naming all settings out of range.
    pub fn validate(&self) -> Result<()> {
        let bounds = [("distinct_max", self.distinct_max), ("values_max", self.values_max)];
        let faults: Vec<String> = bounds
            .iter()
            .filter(|(_, value)| *value == 0)
            .map(|(name, _)| format!("{name} must be at least 1, found 0"))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(Error::invalid_argument(faults.join("; "))) }
    }
}
