//! Every rule through the public API: what breaks it, on which rows, for which types.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray,
    TimestampMillisecondArray, UInt64Array,
    types::{Int32Type, Int64Type},
};
use mlops_core::BatchCheck;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn floats(values: impl IntoIterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Float64Array>())
}

fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn table() -> RecordBatch {
    batch(vec![
        ("i", Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(2), None, Some(5)]))),
        ("x", floats([Some(0.5), Some(f64::NAN), Some(9.0), None, Some(-1.0)])),
        ("s", texts([Some("a"), Some("bb"), None, Some("a%c"), Some("é")])),
        ("b", Arc::new(BooleanArray::from(vec![true, false, true, true, true]))),
    ])
}

fn result_with(rule: Rule, batch: &RecordBatch, settings: &ValidationSettings) -> RuleResult {
    let suite = Suite::builder("t").with_rule(rule).build().unwrap();
    suite.validate(std::slice::from_ref(batch), settings).results.remove(0)
}

fn result(rule: Rule, batch: &RecordBatch) -> RuleResult {
    result_with(rule, batch, &ValidationSettings::default())
}

fn rows(rule: Rule, batch: &RecordBatch) -> Vec<u64> {
    let result = result(rule, batch);
    assert_eq!(result.exception, None, "{}", result.rule);
    result.unexpected_rows
}

fn kind(rule: Rule, batch: &RecordBatch) -> ExceptionKind {
    result(rule, batch).exception.unwrap().kind
}

#[test]
fn bounds_are_exact_in_every_type() {
    let big = 1_i64 << 53;
    let numbers = batch(vec![
        ("int", Arc::new(Int64Array::from(vec![big, big + 1, big + 2]))),
        ("unsigned", Arc::new(UInt64Array::from(vec![0, u64::MAX, 7]))),
        ("decimal", Arc::new(Decimal128Array::from(vec![9, 10, 11]).with_precision_and_scale(5, 2).unwrap())),
        ("single", Arc::new(Float32Array::from(vec![0.5, 1.5, f32::INFINITY]))),
        ("day", Arc::new(Date32Array::from(vec![0, 1, 19_782]))),
        ("time", Arc::new(TimestampMillisecondArray::from(vec![0, 1, 1_500]).with_timezone("UTC"))),
        ("view", Arc::new(StringViewArray::from(vec!["a", "b", "c"]))),
        ("large", Arc::new(LargeStringArray::from(vec!["a", "b", "c"]))),
        ("coded", Arc::new(["x", "y", "z"].into_iter().collect::<DictionaryArray<Int32Type>>())),
    ]);
    assert_eq!(rows(Rule::between("int", (big + 1)..), &numbers), [0]);
    assert_eq!(rows(Rule::between("int", ..(big + 2)), &numbers), [2]);
    assert_eq!(rows(Rule::between("unsigned", 1..), &numbers), [0]);
    assert_eq!(rows(Rule::between("decimal", 0.1..), &numbers), [0]);
    assert_eq!(rows(Rule::between("decimal", ..=0.105), &numbers), [2]);
    assert_eq!(rows(Rule::between("single", 1..=2), &numbers), [0, 2]);
    assert_eq!(rows(Rule::between("day", "1970-01-02".."2024-02-29"), &numbers), [0, 2]);
    assert_eq!(rows(Rule::between("time", "1970-01-01T00:00:00.001Z"..="1970-01-01T00:00:01Z"), &numbers), [0, 2]);
    for column in ["view", "large"] {
        assert_eq!(rows(Rule::between(column, "b".."c"), &numbers), [0, 2]);
    }
    assert_eq!(rows(Rule::in_set("coded", ["x"]), &numbers), [1, 2]);
    assert_eq!(rows(Rule::in_set("decimal", [0.1]), &numbers), [0, 2]);
    assert_eq!(rows(Rule::in_set("day", ["1970-01-01"]), &numbers), [1, 2]);
    assert_eq!(kind(Rule::between("day", 1..), &numbers), ExceptionKind::UnsupportedType);
    assert_eq!(kind(Rule::between("view", 1..), &numbers), ExceptionKind::UnsupportedType);
}

#[test]
fn conditions_follow_sql() {
    let rows = |condition: &str| {
        let rule = Rule::is_null("b").filter(condition.parse().unwrap());
        let result = result(rule, &table());
        assert_eq!(result.exception, None, "{condition}");
        result.unexpected_rows
    };
    assert_eq!(rows("i > 1"), [1, 2, 4]);
    assert_eq!(rows("not i > 1"), [0]);
    assert_eq!(rows("i != 2"), [0, 4]);
    assert_eq!(rows("not i in (2, 5)"), [0]);
    assert_eq!(rows("i is null or x >= 9"), [2, 3]);
    assert_eq!(rows("i is not null and (s = 'a' or b = false)"), [0, 1]);
    // Unknown or true is true; unknown and false is false, so its negation is true.
    assert_eq!(rows("i = 1 or s = 'a%c'"), [0, 3]);
    assert_eq!(rows("not (i = 1 and b = false)"), [0, 1, 2, 3, 4]);
    let fails = |condition: &str| kind(Rule::not_null("b").filter(condition.parse().unwrap()), &table());
    assert_eq!(fails("gone = 1"), ExceptionKind::MissingColumn);
    assert_eq!(fails("s > 1"), ExceptionKind::UnsupportedType);
}

#[test]
fn filters_nulls_and_mostly_make_the_counts() {
    let counts = |rule: Rule| {
        let counts = result(rule, &table()).counts.unwrap();
        (counts.element_count, counts.missing_count, counts.counted_count, counts.unexpected_count)
    };
    let rule = || Rule::between("i", ..=1);
    assert_eq!(counts(rule()), (5, 1, 4, 3));
    assert_eq!(counts(rule().nulls(Nulls::Pass)), (5, 1, 5, 3));
    assert_eq!(counts(rule().nulls(Nulls::Fail)), (5, 1, 5, 4));
    assert_eq!(counts(rule().filter("b = true".parse().unwrap())), (4, 1, 3, 2));
    assert_eq!(counts(Rule::unique("i").nulls(Nulls::Fail)), (5, 1, 5, 3));
    assert_eq!(counts(Rule::z_score_less("i", 1.2).nulls(Nulls::Fail)), (5, 1, 5, 2));
}

#[test]
fn text_rules_name_their_rows() {
    let rows = |rule: Rule| rows(rule, &table());
    assert_eq!(rows(Rule::regex("s", "b")), [0, 3, 4]);
    assert_eq!(rows(Rule::full_regex("s", "a|b")), [1, 3, 4]);
    assert_eq!(rows(Rule::not_regex("s", "a")), [0, 3]);
    assert_eq!(rows(Rule::any_of_regex("s", ["^a$", "b"])), [3, 4]);
    assert_eq!(rows(Rule::all_of_regex("s", ["a", "c"])), [0, 1, 4]);
    assert_eq!(rows(Rule::none_of_regex("s", ["^a$", "b"])), [0, 1]);
    assert_eq!(rows(Rule::like("s", r"a\%_")), [0, 1, 4]);
    assert_eq!(rows(Rule::not_like("s", "a%")), [0, 3]);
    assert_eq!(rows(Rule::any_of_like("s", ["a", "_"])), [1, 3]);
    assert_eq!(rows(Rule::none_of_like("s", ["b%", "%c"])), [1, 3]);
    assert_eq!(rows(Rule::length_between("s", 2..=2)), [0, 3, 4]);
    assert_eq!(rows(Rule::length_equals("s", 1)), [1, 3]);
    let bytes = Expectation::LengthEquals { column: "s".into(), length: 2, unit: LengthUnit::Bytes };
    assert_eq!(rows(bytes.into()), [0, 3]);
    assert_eq!(rows(Rule::json_parseable("s")), [0, 1, 3, 4]);
    assert_eq!(kind(Rule::regex("i", "1"), &table()), ExceptionKind::UnsupportedType);
}

#[test]
fn figures_are_judged_and_shown() {
    let t = table();
    let figure = |rule: Rule| {
        let result = result(rule, &t);
        assert_eq!(result.exception, None, "{}", result.rule);
        (result.success, result.observed.unwrap_or_default())
    };
    assert_eq!(figure(Rule::completeness("i", 0.8..)), (true, json!(0.8)));
    assert!(!figure(Rule::completeness("i", 0.81..)).0);
    assert_eq!(figure(Rule::uniqueness("i", ..0.5)), (false, json!(0.5)));
    assert_eq!(figure(Rule::distinctness("i", 0.75..=0.75)), (true, json!(0.75)));
    assert_eq!(figure(Rule::unique_value_ratio("i", 0.6..0.7)), (true, json!(2.0 / 3.0)));
    assert_eq!(figure(Rule::distinct_count("i", 3..=3)), (true, json!(3)));
    assert_eq!(figure(Rule::mean("i", 2.5..=2.5)), (true, json!(2.5)));
    assert!(figure(Rule::entropy("i", 1.03..1.04)).0);
    assert!(figure(Rule::stdev("i", 1.73..=1.74, 1)).0);
    assert_eq!(figure(Rule::stdev("i", 1.5..=1.5, 0)), (true, json!(1.5)));
    // NaN makes the figure NaN, unless it counts as missing.
    assert_eq!(figure(Rule::mean("x", -1e9..)), (false, json!("NaN")));
    let as_null = ValidationSettings { nan_as_null: true, include_values: true, ..ValidationSettings::default() };
    let cleaned = |rule: Rule| {
        let result = result_with(rule, &t, &as_null);
        (result.success, result.observed.unwrap())
    };
    assert_eq!(cleaned(Rule::sum("x", 8.5..=8.5)), (true, json!(8.5)));
    assert_eq!(cleaned(Rule::max("x", ..9.0)), (false, json!(9.0)));
    assert_eq!(cleaned(Rule::min("s", "a".."b")), (true, json!("a")));
    assert_eq!(cleaned(Rule::median("x", 0.5..=0.5)), (true, json!(0.5)));
    // Values out of the data are private; figures are not.
    assert_eq!(figure(Rule::max("i", ..=5)), (true, json!(null)));
    assert_eq!(figure(Rule::distinct_equal_set("i", [1, 2, 5])), (true, json!(null)));
}

#[test]
fn associations_match_independent_values() {
    // numpy 2.4.6 corrcoef([1,2,3,4,6], [2,1,4,3,7]); scipy 1.17.1 contingency.association(method="cramer")
    // of [[2,1],[0,3]], and sum p ln(p / (p_row p_column)) of it by numpy.
    let t = batch(vec![
        ("a", Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(3), Some(4), Some(6), None]))),
        ("b", floats([Some(2.0), Some(1.0), Some(4.0), Some(3.0), Some(7.0), Some(1.0)])),
        ("c", texts([Some("u"), Some("u"), Some("v"), Some("v"), Some("v"), Some("u")])),
        ("d", texts([Some("p"), Some("q"), Some("q"), Some("q"), Some("q"), Some("p")])),
    ]);
    let figure = |rule: Rule| {
        let suite = Suite::builder("t").with_rule(rule).build().unwrap();
        let parts: Vec<RecordBatch> = vec![t.slice(0, 1), t.slice(1, 3), t.slice(4, 2)];
        suite.validate(&parts, &ValidationSettings::default()).results[0].observed.clone().unwrap().as_f64().unwrap()
    };
    let all = f64::NEG_INFINITY..=1.0;
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    close(figure(Rule::correlation("a", "b", all.clone())), 0.880_695_566_745_432_5);
    close(figure(Rule::cramers_phi("c", "d", all.clone())), 0.707_106_781_186_547_5);
    close(figure(Rule::mutual_information("c", "d", all)), 0.318_257_084_147_406_4);
    assert!(!result(Rule::cramers_phi("c", "c", 0.0..=0.9), &t).success);
    let constant = batch(vec![("a", floats([Some(1.0), Some(1.0)])), ("b", floats([Some(1.0), Some(2.0)]))]);
    assert_eq!(result(Rule::correlation("a", "b", -1.0..=1.0), &constant).observed, Some(json!(null)));
}

#[test]
fn order_holds_across_batches() {
    let run = |rule: Rule, parts: Vec<ArrayRef>| {
        let suite = Suite::builder("t").with_rule(rule).build().unwrap();
        let batches: Vec<RecordBatch> = parts.into_iter().map(|part| batch(vec![("c", part)])).collect();
        suite.validate(&batches, &ValidationSettings::default()).results.remove(0)
    };
    let parts = || vec![floats([Some(1.0), None]), floats([Some(0.5), Some(2.0)]), floats([None]), floats([Some(2.0)])];
    assert_eq!(run(Rule::increasing("c"), parts()).unexpected_rows, [2]);
    assert_eq!(run(Rule::strictly_increasing("c"), parts()).unexpected_rows, [2, 5]);
    assert_eq!(run(Rule::decreasing("c"), parts()).unexpected_rows, [3]);
    assert_eq!(run(Rule::increasing("c"), vec![texts([Some("b")]), texts([Some("a")])]).unexpected_rows, [1]);
    let changed = run(Rule::increasing("c"), vec![texts([Some("b")]), floats([Some(1.0)])]);
    assert_eq!(changed.exception.unwrap().kind, ExceptionKind::TypeChanged);
    let changed = run(Rule::unique("c"), vec![texts([Some("b")]), floats([Some(1.0)])]);
    assert_eq!(changed.exception.unwrap().kind, ExceptionKind::TypeChanged);
    assert_eq!(run(Rule::unique("c"), parts()).unexpected_rows, [3, 5]);
    assert!(run(Rule::max("c", ..=2.0), parts()).success);
}

#[test]
fn pairs_compare_across_types() {
    let t = batch(vec![
        ("i", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("x", floats([Some(1.0), Some(2.5), None])),
        ("d", Arc::new(Decimal128Array::from(vec![100, 250, 300]).with_precision_and_scale(5, 2).unwrap())),
        ("s", texts([Some("a"), Some("b"), Some("c")])),
    ]);
    assert_eq!(rows(Rule::pair_equal("i", "d"), &t), [1]);
    assert_eq!(rows(Rule::pair_greater_or_equal("x", "i"), &t), [2]);
    assert_eq!(rows(Rule::pair_greater("i", "x"), &t), [0, 1, 2]);
    assert_eq!(rows(Rule::sum_equals(["i", "x"], 2.0), &t), [1, 2]);
    let pairs = [(Some(1.into()), Some("a".into())), (Some(3.into()), Some("c".into()))];
    assert_eq!(rows(Rule::pair_in_set("i", "s", pairs), &t), [1]);
    assert_eq!(rows(Rule::pair_in_set("x", "s", [(None, Some("c".into()))]), &t), [0, 1]);
    assert_eq!(kind(Rule::pair_equal("i", "s"), &t), ExceptionKind::UnsupportedType);
    assert_eq!(rows(Rule::unique_within_record(["i", "d"]), &t), [0, 2]);
    assert_eq!(rows(Rule::compound_unique(["i", "s"]), &t), [0_u64; 0]);
}

#[test]
fn other_tables_are_compared_by_value() {
    let orders = batch(vec![
        ("customer", Arc::new(Int32Array::from(vec![Some(1), Some(4), None, Some(2)]))),
        ("note", texts([Some("a"), Some("b"), None, Some("c")])),
    ]);
    let customers = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("customer", Arc::new(Int64Array::from(vec![2, 1, 9]))),
        ("note", Arc::new(LargeStringArray::from(vec!["c", "a", "z"]))),
    ]);
    let tables = Tables::default().with("customers", vec![customers.slice(0, 2), customers.slice(2, 1)]);
    let run = |rule: Rule| {
        let suite = Suite::builder("t").with_rule(rule).build().unwrap();
        let mut run = suite.start(&ValidationSettings::default(), &tables);
        run.observe(&orders);
        run.finish().results.remove(0)
    };
    let references = run(Rule::references("customer", "customers", "id"));
    assert_eq!((references.unexpected_rows, references.counts.unwrap().missing_count), (vec![1], 1));
    assert_eq!(
        run(Rule::references("note", "customers", "id")).exception.unwrap().kind,
        ExceptionKind::UnsupportedType
    );
    assert_eq!(run(Rule::references("note", "gone", "id")).exception.unwrap().kind, ExceptionKind::MissingTable);
    let matched = run(Rule::dataset_match(["customer"], ["note"], "customers")).observed.unwrap();
    assert_eq!(matched, json!({ "share": 0.5, "matched": 2, "only_here": 2, "only_there": 1 }));
    assert!(!run(Rule::row_count_equals_table("customers")).success);
}

#[test]
fn schema_drift_is_named() {
    let t = table();
    let field = |name: &str, data_type: &str| SchemaField { name: name.into(), data_type: Some(data_type.into()) };
    let drift = |fields: Vec<SchemaField>| result(Rule::schema(fields), &t).detail.unwrap_or_default();
    let all = || vec![field("i", "Int64"), field("x", "Float64"), field("s", "String"), field("b", "Bool")];
    assert_eq!(drift(all()), "");
    let changed = vec![field("i", "Int32"), field("x", "float64"), field("gone", "String"), field("b", "Bool")];
    assert_eq!(
        drift(changed),
        "column \"i\" must be Int32, found Int64; column \"gone\" is missing; column \"s\" is new"
    );
    let mut moved = all();
    moved.swap(0, 1);
    let ordered = Expectation::Schema { fields: moved, ordered: true, new_allowed: false };
    assert_eq!(result(ordered.into(), &t).detail.unwrap(), "column \"i\" is out of order");
    let holds = |rule: Rule| result(rule, &t).success;
    assert!(holds(Rule::type_in("s", ["Int64", "Utf8"])) && !holds(Rule::type_in("s", ["Int64"])));
    assert!(holds(Rule::columns_ordered(["i", "x", "s", "b"])) && !holds(Rule::columns_ordered(["x", "i", "s", "b"])));
    assert!(holds(Rule::column_set(["b", "x", "s", "i"])) && !holds(Rule::column_set(["i"])));
    assert!(holds(Rule::column_count_between(4..=4)) && !holds(Rule::column_count_between(5..=9)));
    assert!(holds(Rule::row_count_equals(5)) && !holds(Rule::row_count_between(6..=7)));
    assert!(holds(Rule::row_count_equals(4).filter("b = true".parse().unwrap())));
    assert!(!holds(Rule::column_present("gone")));
}

#[test]
fn warnings_are_reported_and_let_the_batch_pass() {
    let suite = Suite::builder("t").with_rule(Rule::unique("i").severity(Severity::Warning)).build().unwrap();
    let outcome = suite.check(&table()).unwrap();
    assert!(outcome.passed());
    assert_eq!((outcome.warnings[0].rule.as_str(), outcome.warnings[0].rows.as_slice()), ("unique", &[1, 2][..]));
    let result = suite.validate(&[table()], &ValidationSettings::default());
    assert!(result.passed && result.warnings().count() == 1 && result.failures().count() == 0);
    assert_eq!(result.to_great_expectations()["success"], serde_json::Value::Bool(false));
}

#[test]
fn values_are_private_unless_asked_for() {
    let t = table();
    let hidden = result(Rule::between("i", ..=1), &t);
    assert!(hidden.partial_unexpected.is_empty());
    assert!(!serde_json::to_string(&hidden).unwrap().contains("partial"));
    let settings = ValidationSettings { include_values: true, rows_max: 1, ..ValidationSettings::default() };
    let shown = result_with(Rule::between("i", ..=1), &t, &settings);
    assert_eq!((shown.partial_unexpected, shown.unexpected_rows), (vec![json!(2), json!(2), json!(5)], vec![1]));
    let suite = Suite::builder("t").with_rule(Rule::in_set("s", ["a"])).build().unwrap();
    let failure = suite.check(&t).unwrap().failures.remove(0);
    assert!(!format!("{failure:?}").contains("bb"));
}

#[test]
fn memory_is_bounded_and_the_rest_goes_on() {
    let settings = ValidationSettings { distinct_max: 2, values_max: 3, ..ValidationSettings::default() };
    let suite = Suite::builder("t")
        .with_rule(Rule::unique("i"))
        .with_rule(Rule::median("i", 0..))
        .with_rule(Rule::mean("i", 0..))
        .with_rule(Rule::distinct_count("b", ..=2))
        .with_rule(Rule::mutual_information("i", "b", 0.0..=1.0))
        .build()
        .unwrap();
    let result = suite.validate(&[table()], &settings);
    let kinds: Vec<Option<ExceptionKind>> =
        result.results.iter().map(|result| result.exception.as_ref().map(|exception| exception.kind)).collect();
    let (distinct, values) = (Some(ExceptionKind::TooManyDistinct), Some(ExceptionKind::TooManyValues));
    assert_eq!(kinds, [distinct, values, None, None, distinct]);
    assert!(result.results[0].message().unwrap().contains("distinct_max"));
    let text = ValidationSettings { distinct_bytes_max: 3, ..ValidationSettings::default() };
    assert_eq!(result_with(Rule::unique("s"), &table(), &text).exception.unwrap().kind, ExceptionKind::TooManyDistinct);
}

#[test]
fn nested_and_empty_columns_are_typed_exceptions_or_vacuous() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)]), None, Some(vec![Some(1)])]);
    let t = batch(vec![("l", Arc::new(lists)), ("n", Arc::new(NullArray::new(3)))]);
    assert_eq!(rows(Rule::not_null("l"), &t), [1]);
    assert_eq!(rows(Rule::unique("l"), &t), [0, 2]);
    assert_eq!(kind(Rule::between("l", 0..), &t), ExceptionKind::UnsupportedType);
    assert_eq!(kind(Rule::mean("l", 0..), &t), ExceptionKind::UnsupportedType);
    assert_eq!(kind(Rule::compound_unique(["l", "n"]), &t), ExceptionKind::UnsupportedType);
    for rule in [Rule::between("n", 0..), Rule::regex("n", "a"), Rule::unique("n"), Rule::in_set("n", [1])] {
        assert!(result(rule, &t).success);
    }
    assert!(!result(Rule::mean("n", 0..), &t).success);
    let none = Suite::builder("t").with_rule(Rule::column_present("n")).with_rule(Rule::unique("n")).build().unwrap();
    let none = none.validate(&[], &ValidationSettings::default());
    assert_eq!(none.results[0].exception.as_ref().unwrap().kind, ExceptionKind::NoData);
    assert!(none.results[1].success);
}

/// One rule of every kind, on columns `a` and `b`.
fn every_rule() -> Vec<Rule> {
    let pair = vec![(Some(SetValue::from(1)), None)];
    vec![
        Rule::not_null("a"),
        Rule::is_null("a"),
        Rule::completeness("a", 0.5..),
        Rule::unique("a"),
        Rule::uniqueness("a", 0.5..),
        Rule::distinctness("a", 0.5..),
        Rule::unique_value_ratio("a", 0.5..),
        Rule::distinct_count("a", 2..),
        Rule::compound_unique(["a", "b"]),
        Rule::unique_within_record(["a", "b"]),
        Rule::in_set("a", [1]),
        Rule::not_in_set("a", ["x"]),
        Rule::distinct_equal_set("a", [1.5]),
        Rule::distinct_contain_set("a", [true]),
        Rule::distinct_in_set("a", [1]),
        Rule::most_common_in_set("a", [1]),
        Rule::in_range("a", 0.0..=1.0),
        Rule::between("a", "2024-01-01".."2024-02-01"),
        Rule::increasing("a"),
        Rule::strictly_decreasing("a"),
        Rule::z_score_less("a", 2.0),
        Rule::column_type("a", mlops_core::DataType::Int64),
        Rule::type_in("a", ["Int64"]),
        Rule::regex("a", "x"),
        Rule::full_regex("a", "x"),
        Rule::not_regex("a", "x"),
        Rule::any_of_regex("a", ["x"]),
        Rule::all_of_regex("a", ["x"]),
        Rule::none_of_regex("a", ["x"]),
        Rule::like("a", "x%"),
        Rule::not_like("a", "x%"),
        Rule::any_of_like("a", ["x%"]),
        Rule::none_of_like("a", ["x%"]),
        Rule::length_between("a", 1..=2),
        Rule::length_equals("a", 1),
        Rule::strftime("a", "%Y"),
        Rule::date_parseable("a"),
        Rule::json_parseable("a"),
        Rule::email("a"),
        Rule::url("a"),
        Rule::credit_card("a"),
        Rule::ssn("a"),
        Rule::min("a", 0..),
        Rule::max("a", ..5),
        Rule::mean("a", 0..),
        Rule::median("a", 0..),
        Rule::stdev("a", 0.0..=1.0, 0),
        Rule::sum("a", 0..),
        Rule::quantiles("a", [QuantileLimits { quantile: 0.5, min: Some(0.0), max: None }], Interpolation::Linear),
        Rule::pair_greater("a", "b"),
        Rule::pair_equal("a", "b"),
        Rule::pair_in_set("a", "b", pair),
        Rule::sum_equals(["a", "b"], 1.0),
        Rule::correlation("a", "b", -1.0..=1.0),
        Rule::mutual_information("a", "b", 0.0..=1.0),
        Rule::cramers_phi("a", "b", 0.0..=1.0),
        Rule::entropy("a", 0..),
        Rule::row_count_between(1..=9),
        Rule::row_count_equals(3),
        Rule::row_count_equals_table("t"),
        Rule::column_present("a"),
        Rule::column_count_between(1..=2),
        Rule::columns_ordered(["a", "b"]),
        Rule::column_set(["a", "b"]),
        Rule::schema([SchemaField { name: "a".into(), data_type: None }]),
        Rule::references("a", "t", "a"),
        Rule::dataset_match(["a"], ["b"], "t"),
    ]
}

#[test]
fn every_rule_is_data_and_has_a_name_that_is_its_tag() {
    let mut names = std::collections::BTreeSet::new();
    for rule in every_rule() {
        let rule = rule.mostly(0.9).nulls(Nulls::Pass).severity(Severity::Warning).filter("a = 1".parse().unwrap());
        let json = serde_json::to_value(&rule).unwrap();
        assert_eq!(json["rule"], rule.expectation.name());
        assert_eq!(serde_json::from_value::<Rule>(json).unwrap(), rule);
        names.insert(rule.expectation.name());
        // And through Great Expectations' form, with our entry and, where they know it, without.
        let config = rule.to_great_expectations();
        let read = |config: serde_json::Value| {
            Suite::from_great_expectations(&json!({ "name": "t", "expectations": [config] })).unwrap()
        };
        assert_eq!(read(config.clone()).suite.rules(), std::slice::from_ref(&rule));
        let mut bare = config;
        bare["meta"] = json!(null);
        let bare = read(bare);
        assert_eq!(bare.skipped, [], "{rule}");
        assert_eq!(bare.suite.rules()[0].severity, Severity::Warning);
    }
    assert_eq!(names.len(), 65);
}

#[test]
fn suites_of_earlier_versions_are_read() {
    let stored = json!({ "name": "rides", "rules": [
        { "rule": "not_null", "column": "a", "nan_as_null": false, "mostly": 1.0, "nulls": "skip" },
        { "rule": "in_range", "column": "a", "min": 0.0, "max": null, "mostly": 0.9, "nulls": "fail" },
        { "rule": "in_set", "column": "a", "values": [1, 2] },
        { "rule": "column_present", "column": "a" },
        { "rule": "column_type", "column": "a", "data_type": "int64" },
        { "rule": "row_count_between", "min": 1, "max": null },
    ]});
    let suite: Suite = serde_json::from_value(stored).unwrap();
    assert_eq!(suite.rules()[1], Rule::between("a", 0.0..).mostly(0.9).nulls(Nulls::Fail));
    assert_eq!(suite.rules()[4], Rule::column_type("a", mlops_core::DataType::Int64));
}

#[test]
#[allow(clippy::reversed_empty_ranges, reason = "a rule that makes no sense")]
fn rules_that_make_no_sense_are_all_named() {
    let faults = |rule: Rule| Suite::builder("t").with_rule(rule).build().unwrap_err().message().to_owned();
    for (rule, what) in [
        (Rule::in_set::<i64>("a", []), "at least one value"),
        (Rule::between("a", 2..=1), "above max"),
        (Rule::between::<i64>("a", ..), "min or max"),
        (
            Rule::between("a", (std::ops::Bound::Included(SetValue::from(1)), std::ops::Bound::Included("x".into()))),
            "kinds",
        ),
        (Rule::regex("a", "("), "unclosed"),
        (Rule::any_of_regex("a", [r"\w{999}{999}"]), "size limit"),
        (Rule::like("a", r"\"), "escape"),
        (Rule::strftime("a", "%Q"), "strftime"),
        (Rule::compound_unique(["a"]), "at least 2 columns"),
        (Rule::compound_unique(["a", "a"]), "twice"),
        (Rule::z_score_less("a", f64::NAN), "threshold"),
        (Rule::unique("a").mostly(f64::NAN), "mostly"),
        (Rule::correlation("a", "b", f64::NAN..=1.0), "not a number"),
    ] {
        let message = faults(rule);
        assert!(message.contains(what), "{message}");
    }
    let deep = (0..100).fold(Condition::IsNull { column: "a".into() }, |inner, _| Condition::Not(Box::new(inner)));
    assert!(faults(Rule::unique("a").filter(deep)).contains("deep"));
}

#[test]
fn a_total_within_bounds_is_judged_whatever_its_parts_reach() {
    let decimals = Decimal128Array::from(vec![i128::MAX, i128::MAX, -i128::MAX, 1 - i128::MAX]);
    let decimals = decimals.with_data_type(arrow_schema::DataType::Decimal128(38, 0));
    let t = batch(vec![("a", Arc::new(decimals))]);
    let suite = Suite::builder("t").with_rule(Rule::sum("a", 1..=1)).build().unwrap();
    for cut in 0..=4 {
        let mut run = suite.start(&ValidationSettings::default(), &Tables::default());
        run.observe(&t.slice(0, cut));
        run.observe(&t.slice(cut, 4 - cut));
        assert!(run.finish().results[0].success, "cut at {cut}");
    }
    let mut beyond = suite.start(&ValidationSettings::default(), &Tables::default());
    beyond.observe(&t.slice(0, 2));
    assert!(beyond.finish().results[0].exception.is_some());
}

fn any_column(rows: usize) -> impl Strategy<Value = ArrayRef> {
    let floats =
        prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), any::<f64>(), (-3_i8..4).prop_map(f64::from)];
    fn vector<T: Clone + std::fmt::Debug + 'static>(
        value: impl Strategy<Value = T> + 'static,
        rows: usize,
    ) -> BoxedStrategy<Vec<Option<T>>> {
        proptest::collection::vec(proptest::option::of(value), rows).boxed()
    }
    prop_oneof![
        vector(floats, rows).prop_map(|values| Arc::new(Float64Array::from(values)) as ArrayRef),
        vector(prop_oneof![any::<i64>(), -2_i64..3], rows)
            .prop_map(|values| Arc::new(Int64Array::from(values)) as ArrayRef),
        vector(any::<u64>(), rows).prop_map(|values| Arc::new(UInt64Array::from(values)) as ArrayRef),
        vector(any::<i32>(), rows).prop_map(|values| Arc::new(Date32Array::from(values)) as ArrayRef),
        vector(any::<i64>(), rows).prop_map(|values| Arc::new(TimestampMillisecondArray::from(values)) as ArrayRef),
        vector(any::<i128>(), rows).prop_map(|values| {
            let decimals = Decimal128Array::from(values);
            Arc::new(decimals.with_data_type(arrow_schema::DataType::Decimal128(38, -3))) as ArrayRef
        }),
        vector(any::<bool>(), rows).prop_map(|values| Arc::new(BooleanArray::from(values)) as ArrayRef),
        vector("[x0-9]{0,3}|\\PC{0,4}", rows).prop_map(|values| Arc::new(StringArray::from(values)) as ArrayRef),
        vector("[xy]", rows).prop_map(|values| {
            let coded: DictionaryArray<Int32Type> = values.iter().map(Option::as_deref).collect();
            Arc::new(coded) as ArrayRef
        }),
        Just(Arc::new(NullArray::new(rows)) as ArrayRef),
        vector(any::<i64>(), rows).prop_map(|values| {
            let lists = values.into_iter().map(|value| value.map(|value| vec![Some(value)]));
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)) as ArrayRef
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Any columns: nothing panics, counts add up, and how rows are cut into batches is of no
    /// consequence.
    #[test]
    fn any_batch_is_judged(
        (a, b) in (0_usize..70).prop_flat_map(|rows| (any_column(rows), any_column(rows))),
        cut in 0_usize..70,
        filter in proptest::option::of(prop_oneof![Just("a is not null"), Just("b > 0"), Just("not a in ('x')")]),
    ) {
        let t = batch(vec![("a", Arc::clone(&a)), ("b", b)]);
        let filter: Option<Condition> = filter.map(|text| text.parse().unwrap());
        let mut builder = Suite::builder("t");
        for rule in every_rule() {
            builder = builder.with_rule(Rule { filter: filter.clone(), ..rule });
        }
        let suite = builder.build().unwrap();
        let settings = ValidationSettings { include_values: true, ..ValidationSettings::default() };
        let tables = Tables::default().with("t", vec![t.clone()]);
        let run = |parts: &[RecordBatch]| {
            let mut run = suite.start(&settings, &tables);
            parts.iter().for_each(|part| run.observe(part));
            run.finish()
        };
        let whole = run(std::slice::from_ref(&t));
        let cut = cut.min(t.num_rows());
        let parts = run(&[t.slice(0, cut), t.slice(cut, t.num_rows() - cut)]);
        for (whole, parts) in whole.results.iter().zip(&parts.results) {
            prop_assert_eq!(whole.exception.is_some(), parts.exception.is_some(), "{:?}", whole.rule);
            prop_assert_eq!(whole.counts, parts.counts, "{:?}", whole.rule);
            prop_assert_eq!(&whole.unexpected_rows, &parts.unexpected_rows, "{:?}", whole.rule);
            if let Some(counts) = whole.counts {
                prop_assert!(counts.unexpected_count <= counts.counted_count);
                prop_assert!(counts.counted_count <= counts.element_count);
                prop_assert_eq!(whole.unexpected_rows.len() as u64, counts.unexpected_count, "{:?}", whole.rule);
            }
        }
        let json = whole.to_great_expectations();
        prop_assert_eq!(json["results"].as_array().unwrap().len(), suite.rules().len());
        // The gate refuses to judge exactly when a rule cannot be judged; here it has no other table.
        let judged = suite.rules().iter().zip(&whole.results).filter(|(_, result)| result.exception.is_none());
        let gate = judged.fold(Suite::builder("t"), |gate, (rule, _)| gate.with_rule(rule.clone())).build().unwrap();
        let needs_table = |rule: &Rule| serde_json::to_value(rule).unwrap().get("table").is_some();
        prop_assert_eq!(gate.check(&t).is_err(), gate.rules().iter().any(needs_table));
    }
}
