//! Devices that are chosen, missing, or imitated by the CPU.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use mlops_core::ErrorKind;
use mlops_train::{BurnSettings, Checkpoints, DeviceKind, FitContext, MlpModel, MlpSettings, MlpTrainer, Precision};

use crate::common::xor;

/// Tells a child process that it is one.
const CHILD: &str = "MLOPS_TRAIN_DEVICE_CHILD";

fn fit(device: DeviceKind) -> mlops_core::Result<MlpModel> {
    fit_in(&FitContext::new(1).with_device(device))
}

fn fit_in(context: &FitContext) -> mlops_core::Result<MlpModel> {
    let training = BurnSettings { epochs: 8, batch_rows: 64, learning_rate: 0.01, ..BurnSettings::default() };
    let settings = MlpSettings { training, ..MlpSettings::default() };
    MlpTrainer.fit_settings(&xor(600, 4), &settings, context)
}

/// Losses of the training and of the held-out rows by epoch.
fn losses(model: &MlpModel) -> Vec<(f64, f64)> {
    model.history().iter().map(|epoch| (epoch.train_loss, epoch.valid_loss.unwrap())).collect()
}

/// Adapters add in another order.
fn check_alike(cpu: &[(f64, f64)], adapter: &[(f64, f64)]) {
    assert_eq!(cpu.len(), adapter.len());
    for (cpu, adapter) in cpu.iter().zip(adapter) {
        assert!((cpu.0 - adapter.0).abs() < 2e-3 && (cpu.1 - adapter.1).abs() < 2e-3, "{cpu:?} {adapter:?}");
    }
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

/// Whether there is an adapter, or a line that says there is none.
fn adapter() -> bool {
    DeviceKind::Wgpu.open().inspect_err(|error| println!("skipped: {error}")).is_ok()
}

#[test]
fn an_adapter_computes_in_half_precision_or_says_that_it_does_not() {
    if !adapter() {
        return;
    }
    for precision in [Precision::Bf16, Precision::F16] {
        let training =
            BurnSettings { epochs: 12, batch_rows: 64, learning_rate: 0.01, precision, ..BurnSettings::default() };
        let settings = MlpSettings { training, ..MlpSettings::default() };
        let context = FitContext::new(1).with_device(DeviceKind::Wgpu);
        match MlpTrainer.fit_settings(&xor(600, 4), &settings, &context) {
            Ok(model) => {
                let losses: Vec<f64> = model.history().iter().map(|epoch| epoch.train_loss).collect();
                println!("{precision:?}: {losses:.4?}");
                assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{precision:?} does not learn: {losses:?}");
            }
            Err(error) => {
                println!("{error}");
                assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
                assert!(error.message().contains("does not compute in"), "{error}");
            }
        }
    }
}

#[test]
fn what_has_no_room_on_an_adapter_is_an_error_and_the_next_fit_works() {
    if !adapter() {
        return;
    }
    // The outputs of the layer take 256 MiB, more than some drivers let one buffer have.
    let batches = BurnSettings { batch_rows: 65_536, ..BurnSettings::default() };
    let training = BurnSettings { epochs: 1, early_stopping_epochs: 0, ..batches };
    let settings = MlpSettings { hidden_layers: 1, hidden_units: 1_024, training, ..MlpSettings::default() };
    let context = FitContext::new(1).with_device(DeviceKind::Wgpu);
    match MlpTrainer.fit_settings(&xor(65_536, 4), &settings, &context) {
        Ok(_) => println!("it has the room"),
        Err(error) => {
            println!("{error}");
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        }
    }
    fit(DeviceKind::Wgpu).unwrap();
}

#[test]
fn memory_stays_flat_over_epochs_on_an_adapter() {
    let resident = || -> Option<u64> {
        let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
        pages.split(' ').nth(1)?.parse().ok()
    };
    let (true, Some(_)) = (adapter(), resident()) else { return };
    let after = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&after);
    let training = BurnSettings { epochs: 50, batch_rows: 64, early_stopping_epochs: 0, ..BurnSettings::default() };
    let settings = MlpSettings { training, ..MlpSettings::default() };
    let context = FitContext::new(1)
        .with_device(DeviceKind::Wgpu)
        .with_progress(move |_| seen.lock().unwrap().push(resident().unwrap_or(0) * 4 / 1024));
    MlpTrainer.fit_settings(&xor(600, 4), &settings, &context).unwrap();
    let mib = after.lock().unwrap().clone();
    println!("resident MiB after each epoch: {mib:?}");
    assert!(mib.len() == 50 && mib[49] < mib[9] + 64, "it grows: {mib:?}");
}

#[test]
fn a_network_learns_on_an_adapter_what_it_learns_on_the_cpu() {
    if !adapter() {
        return;
    }
    let (cpu, adapter) = (losses(&fit(DeviceKind::Cpu).unwrap()), losses(&fit(DeviceKind::Wgpu).unwrap()));
    println!("loss on the CPU and on the adapter: {cpu:.6?} {adapter:.6?}");
    assert!(adapter[adapter.len() - 1].0 < 0.8 * adapter[0].0, "it does not fall: {adapter:?}");
    check_alike(&cpu, &adapter);
}

#[test]
fn a_checkpoint_of_one_device_goes_on_on_another() {
    if !adapter() {
        return;
    }
    let whole = losses(&fit(DeviceKind::Cpu).unwrap());
    for (first, second) in [(DeviceKind::Cpu, DeviceKind::Wgpu), (DeviceKind::Wgpu, DeviceKind::Cpu)] {
        let home = tempfile::tempdir().unwrap();
        let context = |device| FitContext::new(1).with_device(device).with_checkpoints(Checkpoints::new(home.path()));
        let (flag, epochs) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let raised = Arc::clone(&flag);
        let cancelled = context(first).with_cancel(flag).with_progress(move |_| {
            raised.store(epochs.fetch_add(1, Ordering::Relaxed) >= 2, Ordering::Relaxed);
        });
        assert_eq!(fit_in(&cancelled).unwrap_err().kind(), ErrorKind::Cancelled, "{first}");
        let ended = losses(&fit_in(&context(second)).unwrap());
        println!("{first}, then {second}: {ended:.6?}");
        check_alike(&whole, &ended);
    }
}
