//! Rules that a batch must keep before it is stored: expectations, collected in a suite.
//!
//! Invariant: what a null means is part of every rule and written down with it, because the
//! field's tools disagree. Row values never appear in a failure, only counts and row indices.
//!
//! A [`Suite`] is evaluated in one pass over batches ([`SuiteRun`]), or as the gate in front of a
//! store (it is a [`mlops_core::BatchCheck`]). Results are a [`ValidationResult`], also in the JSON
//! of Great Expectations ([`ValidationResult::to_great_expectations`]), whose suites are read as
//! well ([`Suite::from_great_expectations`]). [`suggest`] proposes a suite from reference data.
//!
//! # Rules
//!
//! Every rule has a constructor of its name on [`Rule`]; the name is also its tag when stored.
//! *rows*: about single rows, with `mostly`, `nulls` and row indices. *records*: about the columns
//! of a row, with `mostly` and `ignore_row_if`. *figure*: about a number computed from the column,
//! which fails when there is nothing to compute it from. *schema*: about names and types, where
//! `filter` has no effect.
//!
//! | rule | kind | holds when |
//! |---|---|---|
//! | `not_null`, `is_null` | rows | the row has a value, has none; NaN is a value unless `nan_as_null` |
//! | `completeness` | figure | rows with a value / rows lies within limits |
//! | `unique` | rows | the value occurs once; every row of a repeated value breaks it |
//! | `uniqueness` | figure | values that occur once / rows with a value |
//! | `distinctness` | figure | distinct values / rows with a value |
//! | `unique_value_ratio` | figure | values that occur once / distinct values |
//! | `distinct_count` | figure | number of distinct values, exact |
//! | `compound_unique` | records | the tuple occurs once; nulls in it equal each other |
//! | `unique_within_record` | records | the columns of the row differ; nulls equal each other |
//! | `in_set`, `not_in_set` | rows | the value is, is not, in the set; no casts; NaN is in none |
//! | `distinct_equal_set`, `distinct_contain_set`, `distinct_in_set` | figure | the set of distinct values equals, contains, is contained in the set |
//! | `most_common_in_set` | figure | the most common value is in the set; a tie fails unless `ties_okay` |
//! | `between` (also read as `in_range`) | rows | the value is within limits: exact for integers and decimals, by bytes for text, ISO 8601 limits for dates and timestamps; NaN is not |
//! | `increasing`, `decreasing` (`strictly`) | rows | the value follows the last counted one, across batches; the first holds |
//! | `z_score_less` | rows | (value - mean) / sample deviation of all rows < threshold, on either side if `double_sided` |
//! | `column_type`, `type_in` | schema | the column has this type, one of these |
//! | `regex`, `not_regex`, `any_of_regex`, `all_of_regex`, `none_of_regex` | rows | a match anywhere, of the whole text when `anchored`; linear time |
//! | `like`, `not_like`, `any_of_like`, `none_of_like` | rows | SQL `LIKE` on the whole text: `%`, `_`, escape `\` |
//! | `length_between`, `length_equals` | rows | Unicode scalar values, or bytes of UTF-8 |
//! | `strftime`, `date_parseable`, `json_parseable` | rows | the whole text is a date that exists, ISO 8601 or RFC 2822, RFC 8259 |
//! | `email`, `url`, `credit_card`, `ssn` | rows | strict patterns, see [`Expectation`]; cards by Luhn digit |
//! | `min`, `max`, `sum` | figure | exact for integers and decimals |
//! | `mean`, `median`, `stdev`, `entropy` | figure | in doubles; `stdev` with `ddof` (1 by default), entropy in nats |
//! | `quantiles` | figure | each quantile within its interval; exact, [`Interpolation`] by name |
//! | `pair_greater`, `pair_equal` | records | a > b (>= if `or_equal`), a = b; a null in a counted row breaks it |
//! | `pair_in_set` | records | the pair is listed; a listed null matches a null |
//! | `sum_equals` | records | the columns add up to the total within `tolerance` |
//! | `correlation`, `mutual_information`, `cramers_phi` | figure | over rows where both have values; nats; V = sqrt(X^2 / (n min(r-1, c-1))) |
//! | `row_count_between`, `row_count_equals`, `row_count_equals_table` | figure | rows that the filter keeps |
//! | `column_present`, `column_count_between`, `columns_ordered`, `column_set` | schema | names, their number, order, set |
//! | `schema` | schema | no column is new, missing, retyped (or moved, when `ordered`); each one that is is named |
//! | `references` | records | the tuple occurs in another table ([`Tables`]); rows with a null in it are skipped |
//! | `dataset_match` | figure | rows matched one to one with another table / rows of the larger |
//!
//! # Nulls, `mostly`, `where`, severity
//!
//! `element_count` is the rows that the [`Condition`] keeps, `missing_count` those of them without
//! a value. [`Nulls::Skip`] leaves these out, [`Nulls::Pass`] counts them as kept, [`Nulls::Fail`]
//! as broken. The rule holds when kept / counted >= `mostly`, or nothing was counted. A figure that
//! meets NaN is NaN and within no limits; with [`ValidationSettings::nan_as_null`] every NaN is
//! missing, as in pandas. A broken rule of [`Severity::Warning`] is reported and lets the batch
//! pass.
//!
//! # Types and bounds
//!
//! Integers, floats, decimals, booleans, text in every layout, dictionaries of them,
//! dates, timestamps, times and durations. Nested values and bytes have presence and identity
//! (`not_null`, `unique`, `distinct_count`). A rule that does not fit a column's type, a column that
//! is missing or changes its type, or more distinct values than [`ValidationSettings`] admits is a
//! [`RuleException`] of that rule; the others go on.

//! # Left out
//!
//! A rule that text is JSON of a given JSON Schema: it needs an engine of its own, and drafts differ; `json_parseable` and
//! `regex` go as far as is cheap. A `distinct_count` by sketch: here counts are exact, and beyond
//! [`ValidationSettings::distinct_max`] a rule says that it cannot be judged; [`crate::Profile`] estimates distinct values
//! of any number with its error.

mod check;
mod condition;
mod constructors;
mod expectation;
mod ge;
mod result;
mod rule;
mod run;
mod section;
mod settings;
mod suggest;
mod suite;
#[cfg(test)]
mod tests;
mod validity;
mod value;

pub use check::{ExceptionKind, RuleException, Tables};
pub use condition::{CONDITION_BYTES_MAX, CONDITION_DEPTH_MAX, Comparison, Condition};
pub use expectation::{
    Expectation, IgnoreRowIf, Interpolation, LengthUnit, Limits, PairLimits, QuantileLimits, SchemaField, ValuePair,
};
pub use ge::{ImportedSuite, SkippedExpectation};
pub use result::{Counts, RuleResult, Statistics, ValidationResult};
pub use rule::{Nulls, Rule, Severity};
pub use run::SuiteRun;
pub use settings::ValidationSettings;
pub use suggest::{SuggestSettings, suggest};
pub use suite::{Suite, SuiteBuilder};
pub use value::SetValue;
