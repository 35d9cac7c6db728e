//! One sample after the other, with what counters need to remember.
//!
//! Invariant: a figure that could not be read is left out of this sample and said the first time.

use std::{borrow::Cow, collections::BTreeSet, fs, io::Read as _};

use mlops_core::{Metric, Timestamp};

#[cfg(feature = "nvml")]
use super::gpu::Gpus;
use super::{
    SystemSettings,
    read::{CpuTimes, Traffic, Use, cpu_times, memory, traffic},
};

/// Longest file of the kernel that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
const MEGABYTE: f64 = 1e6;

#[derive(Debug)]
pub(super) struct Sampler {
    settings: SystemSettings,
    cpu: Option<CpuTimes>,
    traffic: Option<Traffic>,
    said: BTreeSet<&'static str>,
    #[cfg(feature = "nvml")]
    gpus: Gpus,
}

impl Sampler {
    /// Counters count from now.
    pub(super) fn new(settings: SystemSettings) -> Self {
        let mut sampler = Self {
            settings,
            cpu: None,
            traffic: None,
            said: BTreeSet::new(),
            #[cfg(feature = "nvml")]
            gpus: Gpus::open(),
        };
        sampler.cpu = sampler.read("stat", cpu_times);
        sampler.traffic = sampler.read("net/dev", traffic);
        sampler
    }

    pub(super) fn sample(&mut self, at: Timestamp, step: u64) -> Vec<Metric> {
        let mut values: Vec<(Cow<'static, str>, f64)> = Vec::new();
        let mut add = |name: &'static str, value: f64| values.push((name.into(), value));
        if let Some(now) = self.read("stat", cpu_times) {
            let share = self.cpu.replace(now).and_then(|before| now.utilization_since(before));
            share.into_iter().for_each(|share| add("cpu_utilization_percentage", share));
        }
        if let Some(memory) = self.read("meminfo", memory) {
            add("system_memory_usage_megabytes", memory.used as f64 / MEGABYTE);
            memory.percentage().into_iter().for_each(|share| add("system_memory_usage_percentage", share));
        }
        if let Some((used, available)) = self.disk() {
            add("disk_usage_megabytes", used as f64 / MEGABYTE);
            add("disk_available_megabytes", available as f64 / MEGABYTE);
            let all = used.saturating_add(available);
            Use { used, all }.percentage().into_iter().for_each(|share| add("disk_usage_percentage", share));
        }
        if let (Some(now), Some(first)) = (self.read("net/dev", traffic), self.traffic) {
            let since = |now: u64, first: u64| now.saturating_sub(first) as f64 / MEGABYTE;
            add("network_receive_megabytes", since(now.received, first.received));
            add("network_transmit_megabytes", since(now.sent, first.sent));
        }
        #[cfg(feature = "nvml")]
        values.extend(self.gpus.figures().into_iter().map(|(name, value)| (name.into(), value)));
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let metric = |(name, value)| Metric { key: format!("system/{name}"), value, timestamp: at, step };
        values.into_iter().map(metric).collect()
    }

    fn read<T>(&mut self, file: &'static str, parse: fn(&str) -> Option<T>) -> Option<T> {
        let mut text = String::new();
        let opened = fs::File::open(self.settings.proc.join(file));
        let read = opened.and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text));
        let found = read.ok().and_then(|_| parse(&text));
        if found.is_none() {
            self.say(file);
        }
        found
    }

    /// Bytes that are used, and that an ordinary user can still use.
    fn disk(&mut self) -> Option<(u64, u64)> {
        #[cfg(unix)]
        if let Ok(found) = rustix::fs::statvfs(&self.settings.disk) {
            let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
            return Some((bytes(found.f_blocks.saturating_sub(found.f_bfree)), bytes(found.f_bavail)));
        }
        self.say("disk");
        None
    }

    fn say(&mut self, what: &'static str) {
        if self.said.insert(what) {
            tracing::warn!(what, "this part of the system metrics cannot be read here and is left out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_what_can_be_read() {
        let proc = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(proc.path().join(file), text).unwrap();
        fs::create_dir(proc.path().join("net")).unwrap();
        write("stat", "cpu  0 0 0 0 0 0 0 0\n");
        write("net/dev", "\n\neth0: 1000000 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
        let disk = proc.path().to_owned();
        let mut sampler = Sampler::new(SystemSettings { proc: proc.path().to_owned(), disk, interval_ms: 1_000 });
        write("stat", "cpu  30 0 0 70 0 0 0 0\n");
        write("net/dev", "\n\neth0: 3500000 0 0 0 0 0 0 0 1000000 0 0 0 0 0 0 0\n");
        let values = |sampler: &mut Sampler| -> Vec<(String, f64)> {
            let sample = sampler.sample(Timestamp::from_millis(1), 4);
            sample
                .into_iter()
                .filter(|m| !m.key.contains("disk") && !m.key.contains("gpu"))
                .map(|m| (m.key, m.value))
                .collect()
        };
        let expected = [
            ("system/cpu_utilization_percentage".to_owned(), 30.0),
            ("system/network_receive_megabytes".to_owned(), 2.5),
            ("system/network_transmit_megabytes".to_owned(), 1.0),
        ];
        assert_eq!(values(&mut sampler), expected);
        assert_eq!(values(&mut sampler), expected[1..], "no time went by");
        assert_eq!(sampler.said.iter().copied().collect::<Vec<_>>(), ["meminfo"]);
        let disk = sampler.sample(Timestamp::from_millis(1), 4);
        let share = disk.iter().find(|metric| metric.key == "system/disk_usage_percentage").unwrap();
        assert!((0.0..=100.0).contains(&share.value) && share.step == 4, "{}", share.value);
    }
}
