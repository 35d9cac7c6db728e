//! The kernel's counters, from the text of its files. Pure functions; none when the text is not as expected.
//!
//! Formats: `proc_stat(5)`, `proc_meminfo(5)`, `proc_pid_net(5)` of the Linux manual.

/// Time of all processors since the start, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTimes {
    busy: u64,
    all: u64,
}

/// Processor times from `/proc/stat`. Time of guests is within that of users already; waiting for the disk is idle.
pub(super) fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks = line.split_ascii_whitespace().take(8).map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    let idle = ticks.get(3)?.saturating_add(ticks.get(4).copied().unwrap_or(0));
    let all = ticks.iter().fold(0_u64, |sum, ticks| sum.saturating_add(*ticks));
    Some(CpuTimes { busy: all.saturating_sub(idle), all })
}

impl CpuTimes {
    /// Share of the time since `before` that was not idle, in percent; none when no time went by.
    pub(super) fn utilization_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let busy = self.busy.saturating_sub(before.busy).min(all);
        Some(100.0 * busy as f64 / all as f64)
    }
}

/// Bytes in use and bytes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) used: u64,
    pub(super) all: u64,
}

impl Use {
    /// In percent; none of nothing.
    pub(super) fn percentage(self) -> Option<f64> {
        (self.all > 0).then(|| 100.0 * self.used as f64 / self.all as f64)
    }
}

/// Memory from `/proc/meminfo`: what is there less what is available without swapping.
pub(super) fn memory(meminfo: &str) -> Option<Use> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
    };
    let all = bytes("MemTotal")?;
    Some(Use { used: all.saturating_sub(bytes("MemAvailable")?), all })
}

/// Bytes received and sent by all interfaces since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// Traffic from `/proc/net/dev`, whose first two lines are headings.
pub(super) fn traffic(dev: &str) -> Option<Traffic> {
    let mut sum = None;
    for line in dev.lines().skip(2) {
        let (_, counters) = line.split_once(':')?;
        let mut counters = counters.split_ascii_whitespace().map(str::parse::<u64>);
        let (received, sent) = (counters.next()?.ok()?, counters.nth(7)?.ok()?);
        let before = sum.unwrap_or(Traffic { received: 0, sent: 0 });
        sum = Some(Traffic {
            received: before.received.saturating_add(received),
            sent: before.sent.saturating_add(sent),
        });
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn processor_time_is_busy_or_idle() {
        let before = cpu_times("cpu  100 5 50 800 45 0 0 0 70 0\ncpu0 1 2 3 4\nintr 5").unwrap();
        let after = cpu_times("cpu  150 5 75 870 50 0 0 0 90 0\n").unwrap();
        // 150 ticks of which 70 + 5 were idle.
        assert_eq!(after.utilization_since(before), Some(50.0));
        assert_eq!(after.utilization_since(after), None, "no time went by");
        assert_eq!(before.utilization_since(after), None, "a clock that went back");
        for bad in ["", "cpu0 1 2 3 4", "cpu  1 2", "cpu  1 2 x 4"] {
            assert_eq!(cpu_times(bad), None, "{bad}");
        }
    }

    #[test]
    fn memory_is_what_cannot_be_had() {
        let text = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:   12000 kB\n";
        let found = memory(text).unwrap();
        assert_eq!((found.used, found.all, found.percentage()), (4_000 * 1_024, 16_000 * 1_024, Some(25.0)));
        for bad in ["", "MemTotal: 5 kB", "MemTotal: 5\nMemAvailable: 1 kB", "MemTotal: 5 kB\nMemAvailable: -1 kB"] {
            assert_eq!(memory(bad), None, "{bad}");
        }
        assert_eq!(Use { used: 0, all: 0 }.percentage(), None);
    }

    #[test]
    fn traffic_is_the_sum_of_the_interfaces() {
        let head = "Inter-|   Receive  |  Transmit\n face |bytes packets\n";
        let text =
            format!("{head}    lo: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n  eth0:300 2 0 0 0 0 0 0 4000 1 0 0 0 0 0 0\n");
        assert_eq!(traffic(&text), Some(Traffic { received: 310, sent: 4_020 }));
        for bad in ["", head, "a\nb\neth0: 1 2 3\n", "a\nb\neth0 1\n"] {
            assert_eq!(traffic(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "(cpu |Mem|:|[0-9]{0,25}|[a-z]| |\n|kB){0,80}") {
            let share = cpu_times(&text).zip(cpu_times("cpu  0 0 0 0")).and_then(|(now, then)| now.utilization_since(then));
            prop_assert!(share.is_none_or(|share| (0.0..=100.0).contains(&share)));
            memory(&text);
            traffic(&text);
        }
    }
}
