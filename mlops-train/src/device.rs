//! Which processor tensors live on, chosen by name and probed before use.
//!
//! Invariant: nothing here panics or reads the environment. Burn's own default follows the variable
//! `BURN_DEVICE` and compiled features without asking whether the hardware is there; it is not used.

use std::{fmt, str::FromStr};

use burn::tensor::Device;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// A kind of processor that a fit runs on.
///
/// ```
/// use mlops_train::DeviceKind;
///
/// assert!(DeviceKind::Cpu.open().is_ok());
/// assert_eq!("cuda".parse::<DeviceKind>()?, DeviceKind::Cuda);
/// assert!("quantum".parse::<DeviceKind>().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Burn's flex backend: always there, and the same bits on every run.
    #[default]
    Cpu,
    /// The first adapter that wgpu finds (Vulkan, Metal, DirectX, OpenGL); feature `wgpu`.
    Wgpu,
    /// The first NVIDIA processor; feature `cuda`.
    Cuda,
}

impl DeviceKind {
    /// All kinds, those that are not compiled in included.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Wgpu, Self::Cuda];

    /// The name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// Whether this build and this machine have one. Opens nothing.
    #[must_use]
    pub fn is_available(self) -> bool {
        self.open().is_ok()
    }

    /// The device, after probing for it.
    ///
    /// # Errors
    /// `FailedPrecondition` when the feature is not compiled in or the machine has no such device.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => first(self, burn::tensor::DeviceType::Wgpu),
            #[cfg(feature = "cuda")]
            Self::Cuda => first(self, burn::tensor::DeviceType::Cuda),
            #[cfg(not(all(feature = "wgpu", feature = "cuda")))]
            other => Err(Error::failed_precondition(format!(
                "device {other} is not available: mlops-train was built without feature {other}"
            ))),
        }
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn first(kind: DeviceKind, device_type: burn::tensor::DeviceType) -> Result<Device> {
    Device::enumerate(device_type).into_iter().next().ok_or_else(|| {
        Error::failed_precondition(format!(
            "device {kind} is not available: this machine has no such adapter or driver"
        ))
    })
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DeviceKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::invalid_argument(format!(
                "device {name:?} is unknown; known are {}",
                Self::ALL.map(Self::name).join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    #[test]
    fn what_is_not_there_is_an_error() {
        for kind in DeviceKind::ALL {
            match kind.open() {
                Ok(_) => assert!(kind.is_available()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
                    assert!(error.message().contains(kind.name()), "{error}");
                }
            }
        }
    }
}
