//! How the learning rate changes over the steps of a fit.

use serde::{Deserialize, Serialize};

use super::settings::BurnSettings;

/// The shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The same throughout.
    #[default]
    Constant,
    /// Multiplied by `decay_factor` after every `decay_epochs`.
    Step,
    /// Down to zero on half a cosine, `(1 + cos(pi t / T)) / 2` (Loshchilov and Hutter 2017,
    /// without restarts).
    Cosine,
}

/// The learning rate of one step.
///
/// The first `warmup_steps` rise in equal parts to the full rate. `step` counts updates from zero.
pub(super) fn learning_rate(settings: &BurnSettings, step: u64, steps_per_epoch: u64) -> f64 {
    let warmup = settings.warmup_steps as u64;
    if step < warmup {
        return settings.learning_rate * (step + 1) as f64 / warmup as f64;
    }
    let factor = match settings.schedule {
        Schedule::Constant => 1.0,
        Schedule::Step => {
            let epoch = step / steps_per_epoch.max(1);
            let decays = epoch / settings.decay_epochs.max(1) as u64;
            settings.decay_factor.powi(i32::try_from(decays).unwrap_or(i32::MAX))
        }
        Schedule::Cosine => {
            let total = (steps_per_epoch * settings.epochs as u64).saturating_sub(warmup).max(1);
            let done = (step - warmup).min(total) as f64 / total as f64;
            0.5 * (1.0 + (std::f64::consts::PI * done).cos())
        }
    };
    settings.learning_rate * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(settings: &BurnSettings) -> Vec<f64> {
        (0..8).map(|step| learning_rate(settings, step, 2)).collect()
    }

    #[test]
    fn shapes_by_hand() {
        let base = BurnSettings { epochs: 4, learning_rate: 1.0, ..BurnSettings::default() };
        assert_eq!(rates(&base), [1.0; 8]);
        let warm = BurnSettings { warmup_steps: 4, ..base.clone() };
        assert_eq!(rates(&warm), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let step = BurnSettings { schedule: Schedule::Step, decay_epochs: 1, decay_factor: 0.5, ..base.clone() };
        assert_eq!(rates(&step), [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]);
        let cosine = BurnSettings { schedule: Schedule::Cosine, warmup_steps: 4, ..base };
        let found = rates(&cosine);
        let expected = [0.25, 0.5, 0.75, 1.0, 1.0, 0.853_553_390_593_273_8, 0.5, 0.146_446_609_406_726_24];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{found:?}");
    }
}
