//! Successive halving with several first rungs side by side, for when it is unknown how early reports tell.
//!
//! Li et al., "Hyperband" (JMLR 18, 2018), in Optuna's asynchronous form: a trial belongs to a bracket by a hash of the
//! study's name and its number, with probabilities in proportion to the brackets' budgets, and competes within it.

use serde::{Deserialize, Serialize};

use super::{HalvingSettings, Judgement};
use crate::search::{sampler::StudyView, trial::Trial};

/// Settings of Hyperband.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HyperbandSettings {
    /// Step at which the first rung of the first bracket ends, at least 1. Default 1.
    pub min_resource: u64,
    /// Steps of a whole trial, at least `min_resource`. Default 100.
    pub max_resource: u64,
    /// How many times the steps the next rung takes, and of how many trials one goes on; at least 2. Default 3.
    pub factor: u64,
}

impl Default for HyperbandSettings {
    fn default() -> Self {
        Self { min_resource: 1, max_resource: 100, factor: 3 }
    }
}

impl HyperbandSettings {
    pub(super) fn fault(&self) -> Option<&'static str> {
        let sound = self.min_resource > 0 && self.min_resource <= self.max_resource && self.factor >= 2;
        (!sound).then_some("hyperband needs 1 <= min_resource <= max_resource and factor >= 2")
    }

    /// `floor(log_factor(max / min)) + 1`.
    fn brackets(&self) -> u32 {
        let mut steps = self.min_resource;
        let mut brackets = 1;
        while let Some(next) = steps.checked_mul(self.factor).filter(|&next| next <= self.max_resource) {
            (steps, brackets) = (next, brackets + 1);
        }
        brackets
    }

    /// The bracket of a trial.
    pub(super) fn bracket(&self, study: &str, number: usize) -> u64 {
        let count = self.brackets();
        let budget = |bracket: u32| {
            let left = count - 1 - bracket;
            (f64::from(count) * (self.factor as f64).powf(f64::from(left)) / f64::from(left + 1)).ceil() as u64
        };
        let total: u64 = (0..count).map(budget).sum();
        let mut place = u64::from(crc32(format!("{study}_{number}").as_bytes())) % total.max(1);
        for bracket in 0..count {
            match place.checked_sub(budget(bracket)) {
                Some(left) => place = left,
                None => return u64::from(bracket),
            }
        }
        0
    }

    pub(super) fn judge(&self, view: &StudyView<'_>, study: &str, trial: &Trial) -> Judgement {
        let bracket = self.bracket(study, trial.number);
        let halving = HalvingSettings {
            min_resource: Some(self.min_resource),
            factor: self.factor,
            rate: bracket as u32,
            ..HalvingSettings::default()
        };
        halving.judge(view, trial, |other| self.bracket(study, other.number) == bracket)
    }
}

/// CRC-32 of ISO 3309, as zlib computes it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_those_of_the_reference() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let settings = HyperbandSettings { max_resource: 81, ..HyperbandSettings::default() };
        assert_eq!(settings.brackets(), 5);
        let mut counts = [0; 5];
        (0..4_000).for_each(|number| counts[settings.bracket("s", number) as usize] += 1);
        // Budgets 81, 34, 15, 8, 5 of 143.
        let expected = [81.0, 34.0, 15.0, 8.0, 5.0].map(|budget: f64| budget / 143.0 * 4_000.0);
        assert!(counts.iter().zip(expected).all(|(&count, e)| (f64::from(count) - e).abs() < 5.0 * e.sqrt()));
    }
}
