//! What a task costs in processor time, printed in the form of the programs it is compared with.
//!
//! Invariant: a line has the median over repetitions of processor time and of wall time, and the peak memory of the
//! process so far. Linux only: it reads `/proc`.

use std::{fs, time::Instant};

use mlops_core::{Error, Result};
use serde_json::json;

/// Runs `task` `repetitions` times on inputs made outside the measurement and prints one JSON line.
///
/// # Errors
/// `Unavailable` when the system does not tell processor times.
#[allow(clippy::disallowed_methods, reason = "measuring is what the system's clock is for")]
pub fn measure<I, T>(
    name: &str,
    repetitions: usize,
    input: impl Fn() -> I,
    mut task: impl FnMut(I) -> T,
) -> Result<()> {
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    let before = peak_mib()?;
    for _ in 0..repetitions {
        let input = input();
        let (cpu_start, wall_start) = (cpu_seconds()?, Instant::now());
        let output = task(input);
        wall.push(wall_start.elapsed().as_secs_f64());
        cpu.push(cpu_seconds()? - cpu_start);
        drop(output);
    }
    let line = json!({
        "name": name, "reps": repetitions, "cpu_s": median(&mut cpu), "wall_s": median(&mut wall),
        "rss_before_mib": before, "rss_peak_mib": peak_mib()?,
    });
    println!("{line}");
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Time that the calling thread has spent on a processor.
fn cpu_seconds() -> Result<f64> {
    let text = read("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.map(|ns| ns / 1e9).ok_or_else(|| Error::unavailable(format!("schedstat is not readable: {text:?}")))
}

/// The most memory that the process has had, in MiB.
fn peak_mib() -> Result<f64> {
    let text = read("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|field| field.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| Error::unavailable("the status of the process has no VmHWM"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::unavailable(format!("{path} cannot be read: {error}")))
}
