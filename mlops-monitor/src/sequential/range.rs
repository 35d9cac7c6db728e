//! The range that values lie in, its map to 0 to 1, and the checks that all settings share.

use mlops_core::{Error, Result};

/// From a low to a high end, both finite, the high one above.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Range {
    /// Where a value lies between the ends, from 0 to 1.
    pub(super) fn unit(self, value: f64) -> Result<f64> {
        if value >= self.low && value <= self.high {
            return Ok(((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0));
        }
        let found = if value.is_finite() { "one outside" } else { "one that is not finite" };
        let (low, high) = (self.low, self.high);
        Err(Error::invalid_argument(format!(
            "a bounded mean needs values from {low} to {high}, found {found}; widen low and high or drop the value"
        )))
    }

    /// The value at a place from 0 to 1.
    pub(super) fn value(self, unit: f64) -> f64 {
        (self.low + unit * (self.high - self.low)).clamp(self.low, self.high)
    }

    pub(super) fn fault(self) -> Option<String> {
        // The width must be finite as well.
        let accepted = self.low < self.high && (self.high - self.low).is_finite();
        let (low, high) = (self.low, self.high);
        (!accepted).then(|| format!("low must be below high, both and their difference finite, found {low} and {high}"))
    }
}

pub(super) fn alpha_fault(alpha: f64) -> Option<String> {
    (!(alpha > 0.0 && alpha < 1.0)).then(|| format!("alpha must be above 0 and below 1, found {alpha}"))
}

/// All faults as one error.
pub(super) fn refuse<const N: usize>(what: &str, faults: [Option<String>; N]) -> Result<()> {
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{what} settings: {}", faults.join("; "))))
}
