//! Which processor tensors live on, chosen by name and probed before use, and what it says when it fails.
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
/// assert_eq!(DeviceKind::choose(Some("flex"))?, DeviceKind::Cpu);
/// assert!(DeviceKind::choose(None)?.is_available());
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

    /// The kind that is named, or where none is the first that is there of an NVIDIA processor, another graphics
    /// processor and the CPU.
    ///
    /// Names are `cpu` or `flex`, `wgpu`, and `cuda`. For `wgpu` may stand `vulkan`, `metal` or `webgpu`, which Burn's
    /// variable `BURN_DEVICE` knows, too; wgpu chooses the interface all the same. Other words of that variable
    /// (`rocm`, `tch`, `remote`, `ndarray`) are unknown here, and its `cpu` is another backend than flex.
    ///
    /// A driver that imitates a graphics processor on the CPU (lavapipe, WARP) is taken only where [`DeviceKind::Wgpu`]
    /// is named.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is unknown, `FailedPrecondition` for a kind that is not available.
    pub fn choose(named: Option<&str>) -> Result<Self> {
        if let Some(name) = named {
            let kind: Self = name.parse()?;
            return kind.open().map(|_| kind);
        }
        Ok([Self::Cuda, Self::Wgpu].into_iter().find(|kind| kind.is_real()).unwrap_or(Self::Cpu))
    }

    /// Whether there is one that is no imitation on the CPU.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    fn is_real(self) -> bool {
        let is_card = |device: Device| device.identity().is_some_and(|identity| identity.physical.is_some());
        self.open().is_ok_and(|device| guarded(|| is_card(device)).unwrap_or(false))
    }

    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    fn is_real(self) -> bool {
        false
    }

    /// Whether this build and this machine have one that can be opened.
    #[must_use]
    pub fn is_available(self) -> bool {
        self.open().is_ok()
    }

    /// The device, after probing for it and opening it.
    ///
    /// # Errors
    /// `FailedPrecondition` when the feature is not compiled in, the machine has no such device, or its driver fails.
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
    let unavailable = |why: &str| Error::failed_precondition(format!("device {kind} is not available: {why}"));
    let broken = |said: String| unavailable("its driver failed while it was opened").with_source(said);
    let device = guarded(|| Device::enumerate(device_type).into_iter().next())
        .map_err(broken)?
        .ok_or_else(|| unavailable("this machine has no such adapter or driver"))?;
    guarded(|| device.sync()).map_err(broken)?.map_err(|error| broken(error.to_string()))?;
    Ok(device)
}

/// Asks Burn, which panics where a driver does not keep its word; gives what it said then.
pub(crate) fn guarded<T>(ask: impl FnOnce() -> T) -> std::result::Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask)).map_err(|said| {
        let said = said.downcast::<String>().map(|text| *text);
        said.or_else(|said| said.downcast::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Computes on a device of a kind. Drivers of graphics processors fail by panics in the middle of an operation; what
/// runs on the CPU panics for reasons of its own, which are left to the caller.
///
/// # Errors
/// Those of `compute`; as [`failure`].
pub(crate) fn on<T>(kind: DeviceKind, compute: impl FnOnce() -> Result<T>) -> Result<T> {
    if kind == DeviceKind::Cpu {
        return compute();
    }
    guarded(compute).unwrap_or_else(|said| Err(failure(&said)))
}

/// How Burn's runtimes and their drivers word that memory is used up.
const NO_MEMORY: [&str; 4] = ["out of device memory", "can't allocate buffer", "out of memory", "not enough memory"];

/// What a panic said during work on a device, as an error: `ResourceExhausted` when its memory is used up, else
/// `FailedPrecondition`. Whether the driver panicked or code that a caller gave cannot be told apart.
pub(crate) fn failure(said: &str) -> Error {
    let cause = said.rsplit("Caused by:").next().unwrap_or(said).trim();
    let cause = cause.lines().next().unwrap_or("it gave no reason");
    let lower = said.to_lowercase();
    if NO_MEMORY.iter().any(|words| lower.contains(words)) {
        let fix = "lower batch_rows or make the network smaller";
        return Error::resource_exhausted(format!("the memory of the device is used up: {cause}; {fix}"));
    }
    let hint = if lower.contains("poisoned") {
        "the device is lost to this process until it is started again"
    } else {
        "unless a driver says so, the learner, the loader or an observer of the fit panicked"
    };
    Error::failed_precondition(format!("the device failed: {cause}; {hint}")).with_source(said.to_owned())
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DeviceKind {
    type Err = Error;

    /// Besides the names of [`DeviceKind::name`] `flex` for the CPU, and for wgpu the interfaces that it chooses from.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cpu" | "flex" => Ok(Self::Cpu),
            "wgpu" | "vulkan" | "metal" | "webgpu" => Ok(Self::Wgpu),
            "cuda" => Ok(Self::Cuda),
            _ => Err(Error::invalid_argument(format!(
                "device {name:?} is unknown; known are cpu (or flex), wgpu (or vulkan, metal, webgpu), cuda"
            ))),
        }
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

    #[test]
    fn names_are_taken_at_their_word_and_no_name_always_finds_one() {
        for kind in DeviceKind::ALL {
            assert_eq!(kind.name().parse::<DeviceKind>().unwrap(), kind);
            let chosen = DeviceKind::choose(Some(kind.name()));
            assert_eq!(chosen.ok(), kind.is_available().then_some(kind));
        }
        assert!(DeviceKind::choose(None).unwrap().is_available());
    }

    #[test]
    fn the_error_of_an_unknown_name_tells_all_that_are_known() {
        let names = [
            ("cpu", DeviceKind::Cpu),
            ("flex", DeviceKind::Cpu),
            ("wgpu", DeviceKind::Wgpu),
            ("vulkan", DeviceKind::Wgpu),
            ("metal", DeviceKind::Wgpu),
            ("webgpu", DeviceKind::Wgpu),
            ("cuda", DeviceKind::Cuda),
        ];
        for unknown in ["quantum", "rocm", "tch", "remote", "ndarray"] {
            let error = DeviceKind::choose(Some(unknown)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            for (name, kind) in names {
                assert!(error.message().contains(name), "{error}");
                assert_eq!(name.parse::<DeviceKind>().unwrap(), kind);
            }
        }
    }

    #[test]
    fn a_driver_that_panics_is_an_error() {
        assert_eq!(guarded(|| panic!("no driver")).unwrap_err(), "no driver");
        assert_eq!(guarded(|| panic!("no driver {}", 7)).unwrap_err(), "no driver 7");
        assert_eq!(guarded(|| 7), Ok(7));
    }

    #[test]
    fn a_panic_on_a_graphics_processor_is_an_error_and_one_on_the_cpu_is_not() {
        let full = || -> Result<()> { panic!("wgpu error: Out of Memory") };
        assert_eq!(on(DeviceKind::Wgpu, full).unwrap_err().kind(), ErrorKind::ResourceExhausted);
        assert!(guarded(|| on(DeviceKind::Cpu, full)).is_err());
        assert_eq!(on(DeviceKind::Cuda, || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn used_up_memory_is_told_from_other_failures() {
        let check = |said: &str, kind: ErrorKind, part: &str| {
            let error = failure(said);
            assert!(error.kind() == kind && error.message().contains(part), "{error}");
        };
        let full =
            "An error happened during execution\nCaused by:\n  out of device memory allocating 7 bytes\n  at main";
        check(full, ErrorKind::ResourceExhausted, "allocating 7 bytes; lower batch_rows");
        check("can't allocate buffer of size: 9\nmain", ErrorKind::ResourceExhausted, "of size: 9; lower");
        check("wgpu error: Out of Memory\n", ErrorKind::ResourceExhausted, "Out of Memory; lower");
        check(
            "Caused by:\n  the kernel trapped",
            ErrorKind::FailedPrecondition,
            "the device failed: the kernel trapped",
        );
        check("", ErrorKind::FailedPrecondition, "it gave no reason");
        check(
            "my loader broke",
            ErrorKind::FailedPrecondition,
            "my loader broke; unless a driver says so, the learner",
        );
        check("the server is poisoned", ErrorKind::FailedPrecondition, "poisoned; the device is lost");
    }
}
