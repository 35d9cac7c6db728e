//! A suite suggested from reference data: a start to be read and edited, not a verdict.
//!
//! Invariant: the reference itself passes. Another sample of the same size from the same
//! distribution breaks a rule about values with a probability of at most about
//! 2^-`tolerated_rows` per end, whatever the distribution: of n new values, the number beyond the
//! extreme of n old ones is k or more with probability at most 2^-k (exchangeability; each of the
//! largest k of 2n must be new). The same count bounds values of levels that were not seen.

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    check::{ColumnFacts, facts},
    rule::Rule,
    settings::ValidationSettings,
    suite::Suite,
};
use crate::stats::{count_of, float};

/// How rules are suggested.
///
/// ```
/// use mlops_monitor::quality::SuggestSettings;
///
/// let settings: SuggestSettings = serde_json::from_str(r#"{"levels_max": 50}"#)?;
/// assert_eq!((settings.levels_max, settings.tolerated_rows), (50, 20));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuggestSettings {
    /// Fewest rows that values are judged by; with fewer, only names and types are suggested.
    pub rows_min: u64,
    /// Columns of text, booleans and integers with at most so many distinct values, each 50 times
    /// on average, get a set.
    pub levels_max: usize,
    /// Ranges are widened on each side by this part of their width, 0 or more.
    pub slack: f64,
    /// Rows of a table of the reference's size that may lie outside a range, a set or a length, or be
    /// null where none was; it becomes `mostly`. Zero makes these rules strict, and false alarms likely.
    pub tolerated_rows: u64,
    /// Standard errors that the share of values may fall below the reference's, 0 or more.
    pub deviations: f64,
    /// How many times fewer or more rows are admitted, 1 or more.
    pub row_count_factor: f64,
}

impl Default for SuggestSettings {
    fn default() -> Self {
        Self { rows_min: 100, levels_max: 20, slack: 0.1, tolerated_rows: 20, deviations: 5.0, row_count_factor: 2.0 }
    }
}

/// Occurrences per level, on average, below which a set is not taken for complete.
const LEVEL_ROWS_MIN: u64 = 50;

/// Suggests a suite named `name` from batches of one table.
///
/// Every column: its presence and type. With enough rows, where they apply: `not_null` where no
/// value was missing, else `completeness` with a margin; `unique` for identifiers (text without
/// repetition; integers without repetition that are dense like a serial number, or so sparse that
/// repetition is unlikely); a set for few levels; else a range of numbers or of lengths. And bounds
/// for the number of rows.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use mlops_monitor::quality::{SuggestSettings, ValidationSettings, suggest};
///
/// let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
/// let batches = [RecordBatch::try_from_iter([("id", ids)])?];
/// let suite = suggest("rides", &batches, &SuggestSettings::default())?;
/// assert!(suite.rules().iter().any(|rule| rule.expectation.name() == "unique"));
/// assert!(suite.validate(&batches, &ValidationSettings::default()).passed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when there is no batch, batches differ in their columns, or a setting is out
/// of range.
pub fn suggest(name: &str, batches: &[RecordBatch], settings: &SuggestSettings) -> Result<Suite> {
    settings.validate()?;
    if batches.is_empty() {
        return Err(Error::invalid_argument("rules are suggested from at least one batch, found none"));
    }
    let facts = facts(batches, settings.levels_max, &ValidationSettings::default())
        .map_err(|exception| Error::invalid_argument(format!("reference data: {exception}")))?;
    let rows = batches.iter().map(|batch| count_of(batch.num_rows())).sum();
    let mut builder = Suite::builder(name);
    if rows >= settings.rows_min {
        builder = builder.with_rule(row_count(rows, settings));
    }
    for column in &facts {
        for rule in column_rules(column, settings) {
            builder = builder.with_rule(rule);
        }
    }
    builder.build()
}

impl SuggestSettings {
    fn validate(&self) -> Result<()> {
        let bounds = [
            ("slack", self.slack, 0.0),
            ("deviations", self.deviations, 0.0),
            ("row_count_factor", self.row_count_factor, 1.0),
        ];
        let faults: Vec<String> = bounds
            .iter()
            .filter(|(_, value, least)| !(value.is_finite() && value >= least))
            .map(|(name, value, least)| format!("{name} must be finite and at least {least}, found {value}"))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(Error::invalid_argument(faults.join("; "))) }
    }

    /// The share of values that must keep a rule made from `n` of them.
    fn mostly(&self, n: u64) -> f64 {
        // At least half, however few they were.
        (1.0 - float(self.tolerated_rows) / float(n.max(1))).max(0.5)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is positive")]
fn row_count(rows: u64, settings: &SuggestSettings) -> Rule {
    let (least, most) = (float(rows) / settings.row_count_factor, float(rows) * settings.row_count_factor);
    Rule::row_count_between((least.floor() as u64).min(rows)..=(most.ceil() as u64).max(rows))
}

fn column_rules(column: &ColumnFacts, settings: &SuggestSettings) -> Vec<Rule> {
    let name = || column.name.clone();
    let mut rules = vec![Rule::type_in(name(), [column.data_type.clone()])];
    if column.rows < settings.rows_min {
        return rules;
    }
    rules.extend(presence(column, settings));
    if column.present < settings.rows_min {
        return rules;
    }
    let mostly = settings.mostly(column.present);
    if is_identifier(column) {
        rules.push(Rule::unique(name()));
    } else if !column.levels.is_empty()
        && count_of(column.levels.len()).saturating_mul(LEVEL_ROWS_MIN) <= column.present
    {
        rules.push(Rule::in_set(name(), column.levels.iter().cloned()).mostly(mostly));
    } else if let Some(range) = column.range.and_then(|range| widened(range, settings.slack)) {
        rules.push(Rule::in_range(name(), range).mostly(mostly));
    }
    if let (Some((shortest, longest)), true) = (column.lengths, column.levels.is_empty()) {
        rules.push(Rule::length_between(name(), shortest..=longest).mostly(mostly));
    }
    rules
}

fn presence(column: &ColumnFacts, settings: &SuggestSettings) -> Option<Rule> {
    if column.present == column.rows {
        return Some(Rule::not_null(column.name.clone()).mostly(settings.mostly(column.rows)));
    }
    let (n, share) = (float(column.rows), float(column.present) / float(column.rows));
    // The difference of two shares of n rows each, with one row more for shares near 0 and 1.
    let margin = settings.deviations * ((2.0 * share * (1.0 - share) / n).sqrt() + 1.0 / n);
    (share > margin).then(|| Rule::completeness(column.name.clone(), share - margin..))
}

/// Whether repetition would be a mistake.
fn is_identifier(column: &ColumnFacts) -> bool {
    if column.distinct != Some(column.present) {
        return false;
    }
    let n = float(column.present);
    match column.range {
        Some((least, greatest)) if column.whole => {
            let width = greatest - least;
            // Sparse: of n values drawn at random from the width, two are equal with a chance of n^2 / (2 width).
            width <= 2.0 * n || width >= 500.0 * n * n
        }
        _ => column.lengths.is_some(),
    }
}

/// The range with slack; `None` when it has no width to speak of.
fn widened((least, greatest): (f64, f64), slack: f64) -> Option<std::ops::RangeInclusive<f64>> {
    let width = greatest - least;
    if !width.is_finite() {
        return None;
    }
    // What was never negative stays so.
    let floor = if least >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
    let (low, high) = ((least - slack * width).max(floor).min(least), greatest + slack * width);
    // Integers beyond 2^53 were rounded to the nearest double.
    let low = if low.abs() > 9e15 { low.next_down() } else { low };
    let high = if high.abs() > 9e15 { high.next_up() } else { high };
    (low.is_finite() && high.is_finite()).then_some(low..=high)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
    use mlops_core::testing::SplitMix64;
    use proptest::prelude::*;

    use super::*;

    /// A table whose columns are drawn from laws that the seed does not change.
    fn sample(seed: u64, rows: usize, levels: u64, null_share: f64) -> RecordBatch {
        let (random, mut index) = (SplitMix64::new(seed), 0);
        let mut uniform = move || {
            index += 1;
            random.uniform(index)
        };
        let heavy: Vec<f64> = (0..rows).map(|_| 1.0 / uniform().max(1e-12)).collect();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let mut level = |k: u64| ((uniform() * float(k)) as u64).min(k - 1);
        let text: Vec<String> = (0..rows).map(|_| format!("level {}", level(levels))).collect();
        let numbers: Vec<Option<i64>> = (0..rows).map(|_| Some(level(1_000_000).cast_signed())).collect();
        let gaps: Vec<Option<f64>> =
            (0..rows).map(|_| (float(level(1_000_000)) / 1e6 >= null_share).then(|| float(level(1_000_000)))).collect();
        let flags: Vec<bool> = (0..rows).map(|_| level(2) == 1).collect();
        let start = (seed % 1000).cast_signed() * 1_000_000;
        RecordBatch::try_from_iter([
            ("heavy", Arc::new(Float64Array::from(heavy)) as ArrayRef),
            ("text", Arc::new(StringArray::from(text))),
            ("numbers", Arc::new(Int64Array::from(numbers))),
            ("gaps", Arc::new(Float64Array::from(gaps))),
            ("flags", Arc::new(BooleanArray::from(flags))),
            ("serial", Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|row| start + row)))),
        ])
        .unwrap()
    }

    fn broken(suite: &Suite, batch: &RecordBatch) -> Vec<String> {
        let result = suite.validate(std::slice::from_ref(batch), &ValidationSettings::default());
        result.results.iter().filter(|result| !result.success).map(|result| result.rule.to_string()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]
        #[test]
        fn the_reference_and_another_sample_pass(
            seed in 0_u64..1 << 40,
            rows in 100_usize..2_000,
            levels in 2_u64..400,
            null_share in 0.0_f64..0.9,
        ) {
            let reference = sample(seed, rows, levels, null_share);
            let suite = suggest("t", std::slice::from_ref(&reference), &SuggestSettings::default()).unwrap();
            prop_assert_eq!(broken(&suite, &reference), Vec::<String>::new());
            let other = sample(seed ^ 0x5555, rows, levels, null_share);
            prop_assert_eq!(broken(&suite, &other), Vec::<String>::new());
            let strict = SuggestSettings { tolerated_rows: 0, slack: 0.0, deviations: 0.0, ..SuggestSettings::default() };
            let strict = suggest("t", std::slice::from_ref(&reference), &strict).unwrap();
            prop_assert_eq!(broken(&strict, &reference), Vec::<String>::new());
        }
    }

    #[test]
    fn suggestions_fit_the_columns_and_catch_what_changed() {
        let reference = sample(1, 2_000, 4, 0.2);
        let suite = suggest("t", &[reference], &SuggestSettings::default()).unwrap();
        let of = |column: &str| -> Vec<&str> {
            let rules = suite.rules().iter().filter(|rule| rule.expectation.column() == Some(column));
            rules.map(|rule| rule.expectation.name()).collect()
        };
        assert_eq!(of("heavy"), ["type_in", "not_null", "between"]);
        assert_eq!(of("text"), ["type_in", "not_null", "in_set"]);
        assert_eq!(of("gaps"), ["type_in", "completeness", "between"]);
        assert_eq!(of("flags"), ["type_in", "not_null", "in_set"]);
        assert_eq!(of("serial"), ["type_in", "not_null", "unique"]);
        let changed = broken(&suite, &sample(2, 2_000, 8, 0.4));
        assert_eq!(changed, ["in_set on column \"text\"", "completeness on column \"gaps\""]);
        assert_eq!(broken(&suite, &sample(2, 900, 4, 0.2)), ["row_count_between"]);
    }

    #[test]
    fn settings_and_data_are_checked() {
        let settings = SuggestSettings { slack: f64::NAN, row_count_factor: 0.5, ..SuggestSettings::default() };
        let message = suggest("t", &[sample(1, 10, 2, 0.0)], &settings).unwrap_err().message().to_owned();
        assert!(message.contains("slack") && message.contains("row_count_factor"), "{message}");
        assert!(suggest("t", &[], &SuggestSettings::default()).is_err());
        let few = suggest("t", &[sample(1, 10, 2, 0.0)], &SuggestSettings::default()).unwrap();
        assert!(few.rules().iter().all(|rule| rule.expectation.name() == "type_in"));
    }
}
