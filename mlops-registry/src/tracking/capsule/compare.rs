//! Two runs side by side.
//!
//! Invariant: what the first run has must be in the second and agree; what only the second has is no difference.

use std::{collections::BTreeMap, fmt};

use mlops_core::{Digest, Error, Metric, Result};
use serde::{Deserialize, Serialize};

/// How far two values of a metric may be apart: `|a - b| <= absolute + relative * |a|`, where a is the original's. NaN
/// agrees with NaN, an infinity with itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// In the metric's unit, from 0. Default: 0.
    pub absolute: f64,
    /// As a share of the original's value, from 0. Default: 1e-9.
    pub relative: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { absolute: 0.0, relative: 1e-9 }
    }
}

impl Tolerance {
    /// Refuses what is no distance.
    ///
    /// # Errors
    /// `InvalidArgument` when one of both is negative or not finite.
    pub fn check(self) -> Result<()> {
        let bad = |(_, value): &(&str, f64)| !(value.is_finite() && *value >= 0.0);
        match [("absolute", self.absolute), ("relative", self.relative)].into_iter().find(bad) {
            Some((name, value)) => {
                Err(Error::invalid_argument(format!("{name} tolerance is {value}; it must be a finite number from 0")))
            }
            None => Ok(()),
        }
    }

    /// Whether two values agree.
    #[must_use]
    pub fn admits(self, original: f64, again: f64) -> bool {
        let same = original == again || original.is_nan() && again.is_nan();
        let finite = original.is_finite() && again.is_finite();
        same || finite && (original - again).abs() <= self.absolute + self.relative * original.abs()
    }
}

/// Something that came out differently.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// A param has another value, or none.
    Param {
        /// Its name.
        name: String,
        /// The original's value.
        original: String,
        /// The new value.
        again: Option<String>,
    },
    /// The latest value of a metric is further away than tolerated, or missing.
    Metric {
        /// Its name.
        name: String,
        /// The original's value.
        original: f64,
        /// The new value.
        again: Option<f64>,
    },
    /// A file has other contents, or is missing.
    File {
        /// Its path.
        path: String,
        /// The original's digest.
        original: Digest,
        /// The new digest.
        again: Option<Digest>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn again<T: fmt::Display>(again: Option<&T>) -> String {
            again.map_or_else(|| "nothing".to_owned(), T::to_string)
        }
        match self {
            Self::Param { name, original, again: now } => {
                write!(f, "param {name}: {original}, now {}", again(now.as_ref()))
            }
            Self::Metric { name, original, again: now } => {
                write!(f, "metric {name}: {original}, now {}", again(now.as_ref()))
            }
            Self::File { path, original, again: now } => {
                let now = now.as_ref().map(Digest::short);
                write!(f, "file {path}: {}, now {}", original.short(), again(now.as_ref()))
            }
        }
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) params: BTreeMap<String, String>,
    pub(super) metrics: BTreeMap<String, Metric>,
    pub(super) files: BTreeMap<String, Digest>,
}

/// How much of the original agrees with the second run, and what does not.
pub(super) fn compare(original: &Results, again: &Results, tolerance: Tolerance) -> (usize, Vec<Difference>) {
    let params = original.params.iter().filter_map(|(name, value)| {
        let now = again.params.get(name);
        let same = now == Some(value);
        (!same).then(|| Difference::Param { name: name.clone(), original: value.clone(), again: now.cloned() })
    });
    let metrics = original.metrics.iter().filter_map(|(name, metric)| {
        let now = again.metrics.get(name).map(|metric| metric.value);
        let same = now.is_some_and(|now| tolerance.admits(metric.value, now));
        (!same).then(|| Difference::Metric { name: name.clone(), original: metric.value, again: now })
    });
    let files = original.files.iter().filter_map(|(path, digest)| {
        let now = again.files.get(path);
        (now != Some(digest)).then(|| Difference::File { path: path.clone(), original: *digest, again: now.copied() })
    });
    let differences: Vec<_> = params.chain(metrics).chain(files).collect();
    let all = original.params.len() + original.metrics.len() + original.files.len();
    (all - differences.len(), differences)
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    #[test]
    fn tolerance_admits_what_is_near() {
        // Exact in binary: 4 may be 0.5 + 0.25 * 4 = 1.5 away.
        let near = Tolerance { absolute: 0.5, relative: 0.25 };
        let (nan, infinity) = (f64::NAN, f64::INFINITY);
        for (original, again) in [(4.0, 5.5), (4.0, 2.5), (-4.0, -5.5), (0.0, 0.5), (nan, nan), (infinity, infinity)] {
            assert!(near.admits(original, again), "{original} {again}");
        }
        for (original, again) in [
            (4.0, 5.625),
            (0.0, 0.625),
            (nan, 1.0),
            (1.0, nan),
            (infinity, 1.0),
            (1.0, infinity),
            (infinity, -infinity),
        ] {
            assert!(!near.admits(original, again), "{original} {again}");
        }
        assert!(near.check().is_ok());
        for bad in [-1.0, nan, infinity] {
            let kind = |tolerance: Tolerance| tolerance.check().unwrap_err().kind();
            assert_eq!(kind(Tolerance { absolute: bad, relative: 0.0 }), ErrorKind::InvalidArgument);
            assert_eq!(kind(Tolerance { absolute: 0.0, relative: bad }), ErrorKind::InvalidArgument);
        }
    }
}
