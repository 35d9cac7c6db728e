//! CPU seconds of this process.

/// Ticks per second in `/proc`, which Linux has fixed for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time so far, to ten milliseconds; none where there is no `/proc`.
pub(crate) fn seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold blanks; twelve fields later come both times.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}
