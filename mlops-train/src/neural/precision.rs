//! Computing in half the bits: weights on the device are rounded, the host keeps them in single
//! precision, and gradients that would round to zero are saved by scaling the loss.

use burn::tensor::{DType, Device};
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::device::DeviceKind;

/// What the device computes with. Weights, moments and updates are in single precision regardless.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Eight bits of mantissa and the range of single precision.
    Bf16,
    /// Eleven bits of mantissa and a range up to 65,504.
    F16,
}

impl Precision {
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// Refuses a device that does not compute with it; Burn would compute something else.
    ///
    /// # Errors
    /// `FailedPrecondition`.
    pub(super) fn check(self, device: &Device, kind: DeviceKind) -> Result<()> {
        if self == Self::F32 || device.supports_dtype(self.dtype()) {
            return Ok(());
        }
        let name = match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        };
        Err(Error::failed_precondition(format!("device {kind} does not compute in {name}; set precision to f32")))
    }
}

/// Steps without overflow after which the scale doubles, and its bounds, as in PyTorch 2.
const STEPS_TO_GROW: u32 = 2_000;
const SCALE_START: f32 = 65_536.0;
const SCALE_MAX: f32 = 16_777_216.0;

/// What the loss is multiplied by before it is differentiated; a power of two, so that dividing the
/// gradients by it loses nothing (Micikevicius et al. 2018).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LossScale {
    pub(super) factor: f32,
    good_steps: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { factor: 1.0, good_steps: 0 }
    }
}

impl LossScale {
    pub(super) fn new(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::default(),
            Precision::Bf16 | Precision::F16 => Self { factor: SCALE_START, good_steps: 0 },
        }
    }

    /// Takes the scale out of a gradient and says whether to step by it: after an overflow the step
    /// is skipped and the scale halved, after many without one it is doubled. None when halving does
    /// not help any more.
    pub(super) fn settle(&mut self, precision: Precision, gradients: &mut [f32]) -> Option<bool> {
        if precision == Precision::F32 {
            return gradients.iter().all(|value| value.is_finite()).then_some(true);
        }
        let divisor = self.factor;
        gradients.iter_mut().for_each(|value| *value /= divisor);
        if gradients.iter().any(|value| !value.is_finite()) {
            self.good_steps = 0;
            self.factor /= 2.0;
            return (self.factor >= 1.0).then_some(false);
        }
        self.good_steps += 1;
        if self.good_steps == STEPS_TO_GROW {
            self.good_steps = 0;
            self.factor = (self.factor * 2.0).min(SCALE_MAX);
        }
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_on_overflow_and_doubles_after_many_good_steps() {
        let mut scale = LossScale::new(Precision::Bf16);
        let mut gradient = [65_536.0_f32, -131_072.0];
        assert_eq!(scale.settle(Precision::Bf16, &mut gradient), Some(true));
        assert_eq!(gradient, [1.0, -2.0]);
        assert_eq!(scale.settle(Precision::Bf16, &mut [f32::INFINITY]), Some(false));
        assert_eq!(scale.factor, 32_768.0);
        for _ in 0..STEPS_TO_GROW {
            assert_eq!(scale.settle(Precision::Bf16, &mut [1.0]), Some(true));
        }
        assert_eq!(scale.factor, 65_536.0);
        let halvings = (0..100).take_while(|_| scale.settle(Precision::Bf16, &mut [f32::NAN]) == Some(false)).count();
        assert_eq!(halvings, 16);
    }

    #[test]
    fn single_precision_is_not_scaled() {
        let mut scale = LossScale::new(Precision::F32);
        let mut gradient = [3.0_f32];
        assert_eq!(scale.settle(Precision::F32, &mut gradient), Some(true));
        assert_eq!((gradient, scale.factor), ([3.0], 1.0));
        assert_eq!(scale.settle(Precision::F32, &mut [f32::NAN]), None);
    }
}
