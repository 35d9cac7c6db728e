//! NVIDIA's graphics processors, by the library that comes with their driver (NVML).
//!
//! Invariant: the library is loaded while the program runs, never linked; without it, or without a processor that answers,
//! there are no figures and one line in the log.

use nvml_wrapper::{Device, Nvml};

use super::read::Use;

/// Most processors that are looked at.
const DEVICES_MAX: u32 = 64;
const MEGABYTE: f64 = 1e6;

pub(super) struct Gpus {
    nvml: Option<Nvml>,
    count: u32,
}

impl std::fmt::Debug for Gpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpus").field("loaded", &self.nvml.is_some()).field("count", &self.count).finish()
    }
}

impl Gpus {
    pub(super) fn open() -> Self {
        let found = Nvml::init().and_then(|nvml| Ok((nvml.device_count()?, nvml)));
        match found {
            Ok((count, nvml)) => Self { nvml: Some(nvml), count: count.min(DEVICES_MAX) },
            Err(error) => {
                tracing::info!(%error, "no NVIDIA processor is measured");
                Self { nvml: None, count: 0 }
            }
        }
    }

    /// The figures of all processors, by MLflow's names. What one does not tell is left out.
    pub(super) fn figures(&self) -> Vec<(String, f64)> {
        let devices =
            self.nvml.iter().flat_map(|nvml| (0..self.count).map(|index| (index, nvml.device_by_index(index))));
        devices.filter_map(|(index, device)| Some((index, Reading::of(&device.ok()?)))).flat_map(figures_of).collect()
    }
}

/// What one processor tells.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    memory: Option<Use>,
    /// Share of the driver's last sample period in which anything ran, in percent.
    utilization: Option<u32>,
    /// In milliwatts.
    power: Option<u32>,
    /// The most that is allowed, in milliwatts.
    power_limit: Option<u32>,
}

impl Reading {
    fn of(device: &Device<'_>) -> Self {
        // What the driver reserves is in use too, as MLflow has it.
        let memory = device.memory_info().ok();
        Self {
            memory: memory.map(|memory| Use { used: memory.total.saturating_sub(memory.free), all: memory.total }),
            utilization: device.utilization_rates().ok().map(|rates| rates.gpu),
            power: device.power_usage().ok(),
            power_limit: device.enforced_power_limit().ok(),
        }
    }
}

fn figures_of((index, reading): (u32, Reading)) -> Vec<(String, f64)> {
    let power = reading.power.map(f64::from);
    let limit = reading.power_limit.filter(|limit| *limit > 0).map(f64::from);
    let figures = [
        ("memory_usage_percentage", reading.memory.and_then(Use::percentage)),
        ("memory_usage_megabytes", reading.memory.map(|memory| memory.used as f64 / MEGABYTE)),
        ("utilization_percentage", reading.utilization.map(f64::from)),
        ("power_usage_watts", power.map(|power| power / 1_000.0)),
        ("power_usage_percentage", power.zip(limit).map(|(power, limit)| 100.0 * power / limit)),
    ];
    figures.into_iter().filter_map(|(name, value)| Some((format!("gpu_{index}_{name}"), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_go_by_mlflows_names() {
        let reading = Reading {
            memory: Some(Use { used: 20_000_000_000, all: 80_000_000_000 }),
            utilization: Some(97),
            power: Some(350_000),
            power_limit: Some(700_000),
        };
        // mlflow 3.17.2, system_metrics/metrics/gpu_monitor.py.
        let expected = [
            ("gpu_1_memory_usage_percentage", 25.0),
            ("gpu_1_memory_usage_megabytes", 20_000.0),
            ("gpu_1_utilization_percentage", 97.0),
            ("gpu_1_power_usage_watts", 350.0),
            ("gpu_1_power_usage_percentage", 50.0),
        ];
        assert_eq!(figures_of((1, reading)), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(
            figures_of((0, Reading { power: Some(5_000), power_limit: Some(0), ..Reading::default() })).len(),
            1
        );
        assert_eq!(figures_of((0, Reading::default())), []);
    }

    #[test]
    fn a_machine_with_or_without_processors_is_read() {
        let gpus = Gpus::open();
        assert!(gpus.nvml.is_some() || gpus.count == 0);
        assert!(gpus.figures().iter().all(|(name, value)| name.starts_with("gpu_") && value.is_finite()));
    }
}
