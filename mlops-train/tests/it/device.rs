//! Devices that are chosen, missing, or imitated by the CPU.

use std::process::Command;

use mlops_core::ErrorKind;
use mlops_train::{DeviceKind, FitContext, MlpModel, MlpSettings, MlpTrainer};

use crate::common::xor;

/// Tells a child process that it is one.
const CHILD: &str = "MLOPS_TRAIN_DEVICE_CHILD";

fn fit(device: DeviceKind) -> mlops_core::Result<MlpModel> {
    let settings = MlpSettings { epochs: 8, batch_rows: 64, learning_rate: 0.01, ..MlpSettings::default() };
    MlpTrainer.fit_settings(&xor(600, 4), &settings, &FitContext::new(1).with_device(device))
}

/// Not a test of its own: what a child process runs where no driver can be found.
#[test]
#[allow(clippy::disallowed_methods, reason = "the environment is how a test binary tells its child what to do")]
fn child_process() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    for kind in DeviceKind::ALL {
        match fit(kind) {
            Ok(_) => println!("{kind} is there"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
                assert!(kind != DeviceKind::Cpu && error.message().contains(kind.name()), "{error}");
                println!("{error}");
            }
        }
    }
    let chosen = DeviceKind::choose(None).unwrap();
    println!("chosen: {chosen}");
    assert!(chosen.is_available());
}

#[test]
fn neither_missing_drivers_nor_the_variable_of_burn_end_the_process() {
    for variable in ["wgpu", "cuda", "quantum"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["device::child_process", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, "1")
            .env("BURN_DEVICE", variable)
            // The loader of Vulkan finds no driver; nor does that of CUDA find a device.
            .env("VK_DRIVER_FILES", "/nonexistent")
            .env("VK_ICD_FILENAMES", "/nonexistent")
            .env("CUDA_VISIBLE_DEVICES", "")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success() && said.contains("cpu is there"), "BURN_DEVICE={variable}: {said}");
        assert!(!said.contains("panicked"), "BURN_DEVICE={variable}: {said}");
        println!("BURN_DEVICE={variable}: {said}");
    }
}

#[test]
fn a_network_learns_on_an_adapter_what_it_learns_on_the_cpu() {
    if let Err(error) = DeviceKind::Wgpu.open() {
        println!("skipped: {error}");
        return;
    }
    let losses = |device| -> Vec<(f64, f64)> {
        let model = fit(device).unwrap();
        model.history().iter().map(|epoch| (epoch.train_loss, epoch.valid_loss.unwrap())).collect()
    };
    let (cpu, adapter) = (losses(DeviceKind::Cpu), losses(DeviceKind::Wgpu));
    println!("loss on the CPU and on the adapter: {cpu:.6?} {adapter:.6?}");
    assert_eq!(cpu.len(), adapter.len());
    assert!(adapter[adapter.len() - 1].0 < 0.8 * adapter[0].0, "it does not fall: {adapter:?}");
    // The adapter adds in another order.
    for (cpu, adapter) in cpu.iter().zip(&adapter) {
        assert!((cpu.0 - adapter.0).abs() < 2e-3 && (cpu.1 - adapter.1).abs() < 2e-3, "{cpu:?} {adapter:?}");
    }
}
