//! Who answers a request.

use std::fmt;

/// Most candidates of an experiment.
pub const CANDIDATES_MAX: usize = 8;

/// Who answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The version in service.
    Champion,
    /// The candidate of a rollout that has one.
    Canary,
    /// A candidate of an experiment, by its number from 1 to [`CANDIDATES_MAX`].
    Treatment(u8),
    /// The version that the request named.
    Pinned,
}

impl Variant {
    /// Every variant there is.
    pub const ALL: [Self; 3 + CANDIDATES_MAX] = [
        Self::Champion,
        Self::Canary,
        Self::Treatment(1),
        Self::Treatment(2),
        Self::Treatment(3),
        Self::Treatment(4),
        Self::Treatment(5),
        Self::Treatment(6),
        Self::Treatment(7),
        Self::Treatment(8),
        Self::Pinned,
    ];

    /// The word in logs, headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Champion => "champion",
            Self::Canary => "canary",
            Self::Treatment(1) => "treatment-1",
            Self::Treatment(2) => "treatment-2",
            Self::Treatment(3) => "treatment-3",
            Self::Treatment(4) => "treatment-4",
            Self::Treatment(5) => "treatment-5",
            Self::Treatment(6) => "treatment-6",
            Self::Treatment(7) => "treatment-7",
            Self::Treatment(8) => "treatment-8",
            Self::Treatment(_) => "treatment",
            Self::Pinned => "pinned",
        }
    }

    /// The variant of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.as_str() == name)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_a_name_of_its_own() {
        for variant in Variant::ALL {
            assert_eq!(Variant::parse(variant.as_str()), Some(variant));
        }
        assert_eq!(Variant::parse("treatment"), None);
    }
}
