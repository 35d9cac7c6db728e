//! Profiles through the public API: what merging keeps, what sketches may say, what bad data do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, Decimal128Array, DictionaryArray, Float16Array, Float32Array,
    Float64Array, Int8Array, Int64Array, ListArray, NullArray, RecordBatch, RecordBatchOptions, StringArray,
    StringViewArray, StructArray, TimestampMicrosecondArray, UInt64Array, new_null_array,
    types::{Float16Type, Int32Type, Int64Type},
};
use arrow_schema::{DataType, Field, Schema};
use mlops_core::{Digest, Timestamp, testing::SplitMix64};
use mlops_monitor::{
    ColumnVerdict, Headline, Monitor, Profile, ProfileSettings, ReferenceProfile, SketchSettings, Verdict,
};
use proptest::prelude::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// Small bounds, so that little data leave the exact phase.
fn small() -> SketchSettings {
    SketchSettings { kll_k: 32, distinct_values_max: 64, levels_max: 16, parts_max: 64 }
}

fn profile_of(batches: &[RecordBatch], settings: SketchSettings) -> Profile {
    let mut profile = Profile::new(settings).unwrap();
    batches.iter().for_each(|batch| profile.observe(batch).unwrap());
    profile
}

fn end() -> Timestamp {
    Timestamp::from_millis(0)
}

/// Floats with holes, integers, and text with a long tail.
fn mixed(seed: u64, rows: usize, shift: f64) -> RecordBatch {
    let data = SplitMix64::new(seed);
    let uniform = |row: usize| data.uniform(row as u64 + 1_000_000);
    let floats = data.bell(rows).into_iter().enumerate().map(|(row, value)| match row % 50 {
        0 => None,
        1 => Some(f64::NAN),
        _ => Some(value + shift),
    });
    let integers = (0..rows).map(|row| (uniform(row) * uniform(row + 7) * 2000.0) as i64);
    let text = (0..rows).map(|row| format!("v{}", (400_f64.powf(uniform(row)) + shift * 3.0) as u32));
    batch(vec![
        ("float", Arc::new(floats.collect::<Float64Array>())),
        ("integer", Arc::new(Int64Array::from_iter_values(integers))),
        ("text", Arc::new(StringArray::from_iter_values(text))),
    ])
}

/// Merges in the grouping that a list of picks makes: each takes two of what is left.
fn merged(mut profiles: Vec<Profile>, picks: &[usize]) -> Profile {
    let mut picks = picks.iter().cycle();
    while profiles.len() > 1 {
        let at = picks.next().unwrap() % profiles.len();
        let mut left = profiles.swap_remove(at);
        let at = picks.next().unwrap() % profiles.len();
        left.merge(&profiles.swap_remove(at)).unwrap();
        profiles.push(left);
    }
    profiles.pop().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_grouping_of_replicas_gives_the_same_bytes_and_verdicts(
        parts in 1_usize..12, rows in 1_usize..400, picks in proptest::collection::vec(0_usize..1000, 24), seed in any::<u64>(),
    ) {
        let replicas: Vec<Profile> = (0..parts as u64)
            .map(|part| profile_of(&[mixed(seed ^ part, rows + part as usize, 0.3)], small()))
            .collect();
        let (some, other) = (merged(replicas.clone(), &[0]), merged(replicas.clone(), &picks));
        let bytes = some.to_bytes().unwrap();
        prop_assert_eq!(&bytes, &other.to_bytes().unwrap());
        let read = Profile::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&bytes, &read.to_bytes().unwrap());
        let reference = profile_of(&[mixed(99, 3000, 0.0)], small());
        let reference = ReferenceProfile::from_profile(&reference, &ProfileSettings::default()).unwrap();
        let monitor = Monitor::builder(reference).build().unwrap();
        let report = |profile: &Profile| monitor.observe_profile(profile, end()).unwrap().to_json();
        prop_assert_eq!(report(&some), report(&other));
        prop_assert_eq!(report(&some), report(&read));
    }

    #[test]
    fn batches_begin_and_end_anywhere(cuts in proptest::collection::vec(1_usize..3000, 1..6)) {
        let whole = mixed(5, 9000, 0.0).project(&[0, 1]).unwrap();
        let mut pieces = Vec::new();
        let mut start = 0;
        for cut in cuts.into_iter().chain([9000]) {
            let length = cut.min(9000 - start);
            pieces.push(whole.slice(start, length));
            start += length;
        }
        prop_assert_eq!(profile_of(&pieces, small()).to_bytes().unwrap(), profile_of(&[whole], small()).to_bytes().unwrap());
    }

    /// With more parts than are kept apart, groupings may differ, but only within what is stated.
    #[test]
    fn beyond_the_bound_of_parts_errors_still_hold(picks in proptest::collection::vec(0_usize..1000, 24)) {
        let settings = SketchSettings { kll_k: 200, parts_max: 3, ..small() };
        let batches: Vec<RecordBatch> = (0..10).map(|part| mixed(part, 2000, 0.0)).collect();
        let replicas = batches.iter().map(|batch| profile_of(std::slice::from_ref(batch), settings.clone())).collect();
        let summary = merged(replicas, &picks).summary().unwrap();
        let float = summary.column("float").unwrap();
        let mut truth: Vec<f64> = batches
            .iter()
            .flat_map(|batch| batch.column(0).as_any().downcast_ref::<Float64Array>().unwrap().iter().flatten().collect::<Vec<_>>())
            .filter(|value| value.is_finite())
            .collect();
        truth.sort_by(f64::total_cmp);
        prop_assert_eq!(float.numeric().unwrap().count, truth.len() as u64);
        for q in [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0] {
            let at = truth[((truth.len() - 1) as f64 * q) as usize];
            let found = float.quantile(q).unwrap();
            prop_assert!(found.low <= at + 0.01 && at - 0.01 <= found.high, "{} {:?} {}", q, found, at);
        }
        let mut counts = HashMap::<String, u64>::new();
        for batch in &batches {
            let text = batch.column(2).as_any().downcast_ref::<StringArray>().unwrap();
            text.iter().flatten().for_each(|level| *counts.entry(level.to_owned()).or_default() += 1);
        }
        let text = summary.column("text").unwrap();
        for level in text.frequent(100) {
            let truth = counts[&level.level];
            prop_assert!(level.low <= truth && truth <= level.high, "{:?} {}", level, truth);
        }
        let distinct = text.distinct().unwrap().unwrap();
        prop_assert!(distinct.low <= counts.len() as f64 && counts.len() as f64 <= distinct.high, "{:?}", distinct);
    }
}

#[test]
fn small_data_give_the_numbers_of_the_rows_themselves() {
    let (reference, current) = (mixed(1, 2500, 0.0), mixed(2, 1800, 0.2));
    let settings = ProfileSettings::default();
    let exact = Monitor::builder(ReferenceProfile::from_batch(&reference, &settings).unwrap()).build().unwrap();
    let profile = profile_of(&[reference], SketchSettings::default());
    let monitor = Monitor::builder(ReferenceProfile::from_profile(&profile, &settings).unwrap()).build().unwrap();
    let window = profile_of(&[current.slice(0, 700), current.slice(700, 1100)], SketchSettings::default());
    let expected = exact.observe(&current, end()).to_json();
    assert_eq!(monitor.observe_profile(&window, end()).unwrap().to_json(), expected);
    assert_eq!(monitor.observe(&current, end()).to_json(), expected);
}

/// Whatever the sketches say of KS, PSI and chi-squared lies within the error that goes with it, and the p-value is
/// never below that of the rows.
#[test]
fn effects_are_right_within_their_error_and_p_values_never_too_small() {
    for (seed, shift) in [(1, 0.0), (2, 0.1), (3, 0.25), (4, 1.0)] {
        let (reference, current) = (mixed(seed, 40_000, 0.0), mixed(seed + 50, 30_000, shift));
        let settings = ProfileSettings { sample_values_max: 1_000_000, ..ProfileSettings::default() };
        let exact = Monitor::builder(ReferenceProfile::from_batch(&reference, &settings).unwrap()).build().unwrap();
        let sketches = SketchSettings { kll_k: 400, levels_max: 100, distinct_values_max: 100, parts_max: 8 };
        let profile = profile_of(&[reference], sketches.clone());
        let monitor = Monitor::builder(ReferenceProfile::from_profile(&profile, &settings).unwrap()).build().unwrap();
        let truth = exact.observe(&current, end());
        let found = monitor.observe_profile(&profile_of(&[current], sketches), end()).unwrap();
        for name in ["float", "integer"] {
            let column = |report: &mlops_monitor::DriftReport| {
                report.columns().iter().find(|column| column.name == name).unwrap().tests.clone()
            };
            let (exact, sketched) = (column(&truth), column(&found));
            let (exact, ks) = (&exact[0], &sketched[0]);
            assert!(ks.error_low > 0.0 || ks.effect == 0.0);
            assert!(
                ks.effect_low() <= exact.effect && exact.effect <= ks.effect_high(),
                "{name} {shift} {ks:?} {exact:?}"
            );
            assert!(ks.log10_p() >= exact.log10_p() - 1e-6, "{name} {shift} {ks:?} {exact:?}");
            let psi = &sketched[1];
            assert!(psi.effect_low() <= psi.effect && psi.effect <= psi.effect_high() && psi.effect_low() >= 0.0);
        }
        if shift >= 1.0 {
            assert_eq!(found.verdict(), Headline::Drift);
        }
    }
}

#[test]
fn a_threshold_within_the_error_is_not_drift_and_says_so() {
    let settings = SketchSettings { kll_k: 16, distinct_values_max: 16, ..small() };
    let of = |seed: u64, shift: f64| profile_of(&[mixed(seed, 20_000, shift).project(&[0]).unwrap()], settings.clone());
    let reference = ReferenceProfile::from_profile(&of(1, 0.0), &ProfileSettings::default()).unwrap();
    let monitor = Monitor::builder(reference).build().unwrap();
    // D is about 0.14 here, above the threshold of 0.1, and each side may be off by 0.15.
    let report = monitor.observe_profile(&of(2, 0.35), end()).unwrap();
    let ks = &report.columns()[0].tests[0];
    assert!(ks.effect > ks.effect_min && ks.verdict == Verdict::Ok && ks.is_undecided(), "{ks:?}");
}

#[test]
fn memory_does_not_grow_with_rows() {
    let chunk = |from: usize| {
        let text = (from..from + 10_000).map(|row| format!("level {}", row * 7919 % 200_003));
        let floats = (from..from + 10_000).map(|row| (row as f64).sin());
        batch(vec![
            ("float", Arc::new(Float64Array::from_iter_values(floats))),
            ("id", Arc::new(Int64Array::from_iter_values((from..from + 10_000).map(|row| row as i64)))),
            ("text", Arc::new(StringArray::from_iter_values(text))),
        ])
    };
    let mut profile = Profile::new(SketchSettings::default()).unwrap();
    let mut sizes = Vec::new();
    for step in 0..100 {
        profile.observe(&chunk(step * 10_000)).unwrap();
        if step % 10 == 9 {
            sizes.push(profile.to_bytes().unwrap().len());
        }
    }
    let (first, last) = (sizes[0] as f64, *sizes.last().unwrap() as f64);
    assert!(last < first * 1.25, "{sizes:?}");
    let summary = profile.summary().unwrap();
    let distinct = summary.column("id").unwrap().distinct().unwrap().unwrap();
    assert!(distinct.low <= 1e6 && 1e6 <= distinct.high, "{distinct:?}");
}

#[test]
fn schemas_must_agree_and_nothing_is_counted_when_they_do_not() {
    let mut profile = profile_of(&[mixed(1, 10, 0.0)], small());
    let missing = profile.observe(&mixed(1, 10, 0.0).project(&[0]).unwrap()).unwrap_err();
    assert!(missing.message().contains("\"integer\""), "{missing}");
    let retyped = batch(vec![
        ("float", Arc::new(StringArray::from(vec!["1"]))),
        ("integer", Arc::new(Int64Array::from(vec![1]))),
        ("text", Arc::new(StringArray::from(vec!["a"]))),
    ]);
    let error = profile.observe(&retyped).unwrap_err();
    assert!(error.message().contains("Float64") && error.message().contains("String"), "{error}");
    assert_eq!(profile.rows(), 10);
    let other = Profile::new(SketchSettings { kll_k: 33, ..small() }).unwrap();
    assert!(profile.merge(&profile_of(&[mixed(1, 3, 0.0)], other.settings().clone())).is_err());
    // Columns in another order are the same columns.
    let swapped = profile_of(&[mixed(2, 20, 0.0).project(&[2, 0, 1]).unwrap()], small());
    let (mut left, mut right) = (profile.clone(), swapped.clone());
    left.merge(&swapped).unwrap();
    right.merge(&profile).unwrap();
    assert_eq!(left.to_bytes().unwrap(), right.to_bytes().unwrap());
}

/// A column of any type, from rows that may be null.
fn any_column() -> impl Strategy<Value = Vec<ArrayRef>> {
    let rows = proptest::collection::vec(proptest::option::of(any::<f64>()), 0..150);
    let float = prop_oneof![
        4 => any::<f64>(), 2 => Just(f64::NAN), 2 => Just(f64::INFINITY), 1 => Just(f64::NEG_INFINITY), 2 => Just(0.0), 1 => Just(f64::MAX),
        1 => Just(-0.0), 1 => Just(1e308),
    ];
    let floats = proptest::collection::vec(proptest::option::of(float), 0..150);
    (rows, floats, any::<u8>()).prop_map(|(rows, floats, few)| {
        let rows: Vec<Option<f64>> = rows.into_iter().chain(floats).collect();
        let modulus = u64::from(few).max(1);
        let small: Vec<Option<u64>> = rows.iter().map(|row| row.map(|value| value.to_bits() % modulus)).collect();
        let text = || small.iter().map(|row| row.map(|value| "\u{e9}".repeat(value as usize * 9)));
        let words: Vec<Option<String>> = text().collect();
        let integers: Int64Array = rows.iter().map(|row| row.map(|value| value.to_bits().cast_signed())).collect();
        let dictionary: DictionaryArray<Int32Type> = words.iter().map(|word| word.as_deref()).collect();
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(
            small.iter().map(|row| row.map(|v| vec![Some(v as i64)])),
        );
        let strings: ArrayRef = Arc::new(words.iter().collect::<StringArray>());
        let field = Arc::new(Field::new("inner", DataType::Utf8, true));
        vec![
            Arc::new(rows.iter().copied().collect::<Float64Array>()) as ArrayRef,
            Arc::new(rows.iter().map(|row| row.map(|value| value as f32)).collect::<Float32Array>()),
            Arc::new(
                rows.iter()
                    .map(|row| row.map(<Float16Type as ArrowPrimitiveType>::Native::from_f64))
                    .collect::<Float16Array>(),
            ),
            Arc::new(integers),
            Arc::new(small.iter().map(|row| row.map(|value| value as i8)).collect::<Int8Array>()),
            Arc::new(rows.iter().map(|row| row.map(f64::to_bits)).collect::<UInt64Array>()),
            Arc::new(rows.iter().map(|row| row.map(|value| value > 0.0)).collect::<BooleanArray>()),
            Arc::clone(&strings),
            Arc::new(words.iter().collect::<StringViewArray>()),
            Arc::new(dictionary),
            Arc::new(
                small
                    .iter()
                    .map(|row| row.map(i128::from))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(38, 2)
                    .unwrap(),
            ),
            Arc::new(small.iter().map(|row| row.map(|value| value as i64)).collect::<TimestampMicrosecondArray>()),
            Arc::new(lists),
            Arc::new(StructArray::from(vec![(field, strings)])),
            Arc::new(NullArray::new(rows.len())),
            new_null_array(&DataType::Float64, rows.len()),
        ]
    })
}

fn table(columns: Vec<ArrayRef>) -> RecordBatch {
    let names = (0..columns.len()).map(|index| format!("c{index}"));
    RecordBatch::try_from_iter_with_nullable(names.zip(columns).map(|(name, column)| (name, column, true))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_every_column_of_the_reference_gets_a_verdict(
        reference in any_column(), current in any_column(), turn in 0_usize..16, drop in any::<bool>(),
    ) {
        let reference = table(reference);
        let mut columns = current;
        let length = columns.len();
        columns.rotate_left(turn % length);
        if drop {
            columns.pop();
        }
        let current = table(columns);
        let settings = ProfileSettings::default();
        for sketches in [SketchSettings::default(), small()] {
            let profile = profile_of(std::slice::from_ref(&reference), sketches.clone());
            let bytes = profile.to_bytes().unwrap();
            let again = Profile::from_bytes(&bytes).unwrap();
            prop_assert_eq!(again.to_bytes().unwrap(), bytes);
            let window = profile_of(std::slice::from_ref(&current), sketches);
            let references = [
                ReferenceProfile::from_profile(&again, &settings).unwrap(),
                ReferenceProfile::from_batch(&reference, &settings).unwrap(),
            ];
            for stored in references {
                let stored = ReferenceProfile::from_bytes(&stored.to_bytes().unwrap()).unwrap();
                let monitor = Monitor::builder(stored).build().unwrap();
                for report in [monitor.observe(&current, end()), monitor.observe_profile(&window, end()).unwrap()] {
                    prop_assert_eq!(report.columns().len(), reference.num_columns());
                    prop_assert!(!report.to_json().is_empty());
                }
            }
            for column in again.summary().unwrap().columns() {
                column.sketches().unwrap();
                column.distinct().unwrap();
            }
        }
    }
}

#[test]
fn nothing_at_all_is_fine_and_twice_the_same_name_is_not() {
    let none = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(7)),
    )
    .unwrap();
    let profile = profile_of(&[none], SketchSettings::default());
    assert_eq!(Profile::from_bytes(&profile.to_bytes().unwrap()).unwrap().rows(), 7);
    assert!(ReferenceProfile::from_profile(&profile, &ProfileSettings::default()).unwrap().columns().is_empty());
    let empty = Profile::new(SketchSettings::default()).unwrap();
    assert_eq!(Profile::from_bytes(&empty.to_bytes().unwrap()).unwrap().rows(), 0);
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let field = |name: &str| Field::new(name, DataType::Int64, true);
    let twice =
        RecordBatch::try_new(Arc::new(Schema::new(vec![field("a"), field("a")])), vec![Arc::clone(&one), one]).unwrap();
    let error = Profile::new(SketchSettings::default()).unwrap().observe(&twice).unwrap_err();
    assert!(error.message().contains("twice"), "{error}");
    assert!(ReferenceProfile::from_batch(&twice, &ProfileSettings::default()).is_err());
    let monitor =
        Monitor::builder(ReferenceProfile::from_batch(&mixed(1, 5, 0.0), &ProfileSettings::default()).unwrap());
    let report = monitor.build().unwrap().observe(&twice, end());
    assert!(report.columns().iter().all(|column| column.verdict == ColumnVerdict::Missing));
}

#[test]
fn a_hundred_thousand_levels_are_counted_in_bounds() {
    let names = (0..200_000_u64)
        .map(|row| if row % 4 == 0 { "common".to_owned() } else { format!("rare {}", row * 7919 % 100_003) });
    let text: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let window = batch(vec![("text", text)]);
    let profile = profile_of(std::slice::from_ref(&window), SketchSettings::default());
    let summary = profile.summary().unwrap();
    let top = &summary.columns()[0].frequent(1)[0];
    assert!(top.level == "common" && top.low <= 50_000 && 50_000 <= top.high, "{top:?}");
    assert!(profile.to_bytes().unwrap().len() < 100_000);
    let monitor = Monitor::builder(ReferenceProfile::from_profile(&profile, &ProfileSettings::default()).unwrap());
    let monitor = monitor.build().unwrap();
    assert_eq!(monitor.observe_profile(&profile, end()).unwrap().verdict(), Headline::Ok);
    assert_eq!(monitor.observe(&window, end()).verdict(), Headline::Ok);
}

/// A profile with every kind of column, exact and sketched, in two parts.
fn stored() -> Vec<u8> {
    let mut profile = profile_of(&[mixed(1, 700, 0.0)], small());
    profile.merge(&profile_of(&[mixed(2, 9, 0.0)], small())).unwrap();
    profile.to_bytes().unwrap()
}

fn with_digest(mut content: Vec<u8>) -> Vec<u8> {
    let digest = Digest::of(&content);
    content.extend_from_slice(digest.as_bytes());
    content
}

/// If damaged content is taken for a profile, it must be one: every answer exists and it can be merged and stored.
fn use_everything(bytes: &[u8]) {
    let Ok(mut profile) = Profile::from_bytes(bytes) else { return };
    let twin = profile.clone();
    if profile.merge(&twin).is_ok() {
        Profile::from_bytes(&profile.to_bytes().unwrap()).unwrap();
    }
    for column in profile.summary().unwrap().columns() {
        assert!(column.numeric().is_none_or(|numeric| numeric.min <= numeric.max));
        assert!(column.quantile(0.3).is_none_or(|found| found.low <= found.high));
        column.distinct().unwrap();
        assert!(column.frequent(10).len() <= 10);
        column.sketches().unwrap();
    }
    let reference = ReferenceProfile::from_profile(&profile, &ProfileSettings::default()).unwrap();
    Monitor::builder(reference).build().unwrap().observe_profile(&twin, end()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_refused_and_lies_behind_a_right_digest_never_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let good = stored();
        let mut bad = good.clone();
        for (at, to) in &flips {
            let at = at.index(bad.len());
            bad[at] = *to;
        }
        if let Some(cut) = &cut {
            bad.truncate(cut.index(bad.len()));
        }
        if bad != good {
            prop_assert!(Profile::from_bytes(&bad).is_err());
        }
        bad.truncate(bad.len().saturating_sub(32));
        use_everything(&with_digest(bad));
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Profile::from_bytes(&noise).is_err());
        let mut content = stored()[..40].to_vec();
        content.extend(noise);
        use_everything(&with_digest(content));
    }
}
