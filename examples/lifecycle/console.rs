//! What a person at the terminal sees: progress while it works, a summary at the end.
//!
//! Progress goes to standard error and only to a terminal; the result goes to standard output.

use std::{
    io::IsTerminal as _,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    report::{day, first_few, headline},
    results::{Quality, Results},
};

/// Shows progress.
#[derive(Debug, Clone)]
pub struct Console {
    bars: MultiProgress,
    quiet: bool,
    stop: Arc<AtomicBool>,
}

/// One line of progress; it disappears when done.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Console {
    /// Progress lines unless `quiet`; `stop` is the flag that long computations look at.
    pub fn new(quiet: bool, stop: Arc<AtomicBool>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if terminal && !quiet { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), quiet, stop }
    }

    /// Set when the user wants to stop.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// A bar over `length` steps.
    pub fn bar(&self, title: &str, length: u64) -> Bar {
        let bar = self.bars.add(ProgressBar::new(length));
        if let Ok(style) = ProgressStyle::with_template("{prefix:<22} {bar:32} {pos}/{len} {eta} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    /// One line that stays.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.bars.suspend(|| eprintln!("{line}"));
        }
    }
}

impl Bar {
    /// One step further.
    pub fn step(&self, message: &str) {
        self.0.set_message(message.to_owned());
        self.0.inc(1);
    }

    /// `by` steps further.
    pub fn advance(&self, by: u64) {
        self.0.inc(by);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The summary table.
pub fn summary(results: &Results, report: &std::path::Path) -> String {
    let mut lines = vec![format!("{} (run {})", results.stream.description, results.campaign), String::new()];
    lines.push(format!(
        "{:<11} {:>6} {:>9} {:>9} {:>8}  {:<30} decision",
        "period", "rows", "system", "frozen", "PSI max", "drifted columns"
    ));
    let shown =
        |quality: &Quality| headline(results, quality).map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    for period in &results.periods {
        let columns = if period.drift.detected { first_few(&period.drift.columns) } else { String::new() };
        let columns: String =
            if columns.chars().count() > 30 { columns.chars().take(29).chain(['…']).collect() } else { columns };
        lines.push(format!(
            "{:<11} {:>6} {:>9} {:>9} {:>8.3}  {columns:<30} {}",
            day(period.start),
            period.rows,
            shown(&period.system),
            shown(&period.never_retrained),
            period.drift.psi_max,
            period.decision
        ));
    }
    lines.push(String::new());
    for version in &results.versions {
        lines.push(format!(
            "v{} {} until {} on {} rows: {} {:.4} ± {:.4}, {}",
            version.version,
            version.trainer,
            day(version.trained_until),
            version.training_rows,
            version.cv_metric,
            version.cv_mean,
            version.cv_std,
            version.outcome
        ));
    }
    let total = &results.prequential;
    lines.push(String::new());
    lines.push(format!("{:<34} {:>9} {:>9} {:>9}", "prequential, all live rows", "accuracy", "ROC AUC", "avg prec"));
    let row = |name: &str, quality: &Quality| {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        format!(
            "{name:<34} {:>9.4} {:>9} {:>9}",
            quality.accuracy,
            number(quality.roc_auc),
            number(quality.average_precision)
        )
    };
    lines.push(row("this system", &total.system));
    lines.push(row("first champion, never retrained", &total.never_retrained));
    lines.push(format!("{:<34} {:>9.4}", "same class as the row before", total.same_as_previous_accuracy));
    let (traffic, audit) = (&results.traffic, &results.audit);
    lines.push(String::new());
    lines.push(format!(
        "{} requests over HTTP, {} failed, {} predictions logged; latency p50 {:.2} ms, p99 {:.2} ms",
        traffic.requests, traffic.failed, traffic.logged, traffic.latency_ms_p50, traffic.latency_ms_p99
    ));
    lines.push(format!(
        "audit log: {} entries, hash chain {}",
        audit.entries,
        if audit.verified { "verified" } else { "BROKEN" }
    ));
    lines.push(format!("report: {}", report.display()));
    lines.join("\n")
}
