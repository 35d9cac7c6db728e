//! Where to cut a range of event time, so that a part holds about as many rows as fit in memory.
//!
//! Cut by the statistics of the files alone, with rows taken to be spread evenly over their file's range. A wrong guess
//! makes a chunk larger or smaller and changes nothing else.

use mlops_core::{Result, Timestamp};

use crate::table::{FileSpan, Table};

/// The last moments of the chunks of `(after, until]`, ascending, the last of them `until`.
pub(super) async fn ends(
    table: &Table,
    version: u64,
    column: &str,
    after: Option<Timestamp>,
    until: Timestamp,
    rows_max: usize,
) -> Result<Vec<Timestamp>> {
    let spans = table.spans(version, column).await?;
    let after = after.map_or(i64::MIN, Timestamp::as_micros);
    Ok(cut(&spans, after, until.as_micros(), rows_max).into_iter().map(Timestamp::from_micros).collect())
}

fn cut(spans: &[Option<FileSpan>], after: i64, until: i64, rows_max: usize) -> Vec<i64> {
    // A file that does not say where its rows are may have them anywhere.
    let Some(spans) = spans.iter().copied().collect::<Option<Vec<FileSpan>>>() else { return vec![until] };
    let low = spans.iter().map(|span| span.least).min().unwrap_or(until).max(after.saturating_add(1));
    let high = spans.iter().map(|span| span.greatest).max().unwrap_or(until).min(until);
    if low >= high {
        return vec![until];
    }
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let rows_max = rows_max.max(1) as f64;
    let (mut ends, mut held) = (Vec::new(), 0.0);
    let mut ranges = vec![(low, high)];
    while let Some((low, high)) = ranges.pop() {
        let rows: f64 = spans.iter().map(|span| span.rows_within(low, high)).sum();
        if rows > rows_max && low < high {
            // The sum of both could exceed 64 bits, and must be rounded down below zero too.
            let middle = (i128::from(low) + i128::from(high)).div_euclid(2);
            let middle = i64::try_from(middle).unwrap_or(low);
            ranges.extend([(middle + 1, high), (low, middle)]);
            continue;
        }
        if held > 0.0 && held + rows > rows_max {
            ends.push(low - 1);
            held = 0.0;
        }
        held += rows;
    }
    ends.push(until);
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(least: i64, greatest: i64, rows: u64) -> Option<FileSpan> {
        Some(FileSpan { least, greatest, rows })
    }

    #[test]
    fn ranges_are_cut_where_rows_are() {
        assert_eq!(cut(&[span(0, 99, 100)], i64::MIN, 1_000, 1_000), [1_000]);
        assert_eq!(cut(&[span(0, 99, 100)], i64::MIN, 99, 50), [49, 99]);
        let ends = cut(&[span(0, 99, 100), span(1_000_000, 1_000_099, 100)], i64::MIN, i64::MAX, 100);
        assert_eq!((ends.len(), ends[1]), (2, i64::MAX));
        assert!((99..1_000_000).contains(&ends[0]), "{ends:?}");
        // What lies outside the range does not count.
        assert_eq!(cut(&[span(0, 99, 100)], 89, 99, 50), [99]);
    }

    #[test]
    fn extremes_and_unknown_files_end() {
        assert_eq!(cut(&[], i64::MIN, 5, 10), [5]);
        assert_eq!(cut(&[None, span(0, 9, 9)], i64::MIN, 5, 1), [5]);
        assert_eq!(cut(&[span(7, 7, 1_000)], i64::MIN, 9, 10), [9]);
        let ends = cut(&[span(i64::MIN, i64::MAX, 1_000)], i64::MIN, i64::MAX, 100);
        assert!(ends.len() < 64 && ends.is_sorted_by(|one, next| one < next), "{ends:?}");
    }
}
