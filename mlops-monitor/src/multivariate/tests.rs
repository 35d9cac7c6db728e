//! What every test of whole rows promises.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray};
use mlops_core::testing::SplitMix64;
use proptest::prelude::*;

use super::*;
use crate::detector::Verdict;

/// Small enough for an unoptimised build.
fn detectors() -> Vec<Box<dyn MultivariateDetector>> {
    vec![
        Box::new(Mmd::new(MmdSettings { permutations: 39, rows_max: 400, ..MmdSettings::default() }).unwrap()),
        Box::new(PcaReconstruction::new(PcaSettings::default()).unwrap()),
        #[cfg(feature = "domain-classifier")]
        Box::new(
            DomainClassifier::new(DomainClassifierSettings {
                trees: 15,
                rows_max: 400,
                ..DomainClassifierSettings::default()
            })
            .unwrap(),
        ),
    ]
}

/// Four columns: two numbers that go together with `sign`, a level, a number with gaps.
fn window(seed: u64, rows: usize, sign: f64) -> RecordBatch {
    let data = SplitMix64::new(seed);
    let (x, noise, z) = (data.bell(rows), SplitMix64::new(seed + 1).bell(rows), SplitMix64::new(seed + 2).bell(rows));
    let y: Vec<f64> = x.iter().zip(&noise).map(|(x, noise)| sign * x + 0.3 * noise).collect();
    let level = |i: usize| ["web", "app", "shop"][data.bits(7 * rows as u64 + i as u64) as usize % 3];
    let gaps: Vec<Option<f64>> = z.iter().enumerate().map(|(i, z)| (i % 9 != 0).then_some(*z)).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("x", Arc::new(Float64Array::from(x))),
        ("y", Arc::new(Float64Array::from(y))),
        ("channel", Arc::new(StringArray::from_iter_values((0..rows).map(level)))),
        ("gaps", Arc::new(Float64Array::from(gaps))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn a_change_of_how_columns_go_together_is_found_and_none_without() {
    for detector in detectors() {
        let quiet = detector.test(&window(1, 1_000, 1.0), &window(11, 800, 1.0)).unwrap();
        assert_eq!(quiet.test.verdict, Verdict::Ok, "{quiet:?}");
        let turned = detector.test(&window(1, 1_000, 1.0), &window(11, 800, -1.0)).unwrap();
        assert_eq!(turned.test.verdict, Verdict::Drift, "{turned:?}");
        assert!(turned.test.mde > 0.0 && turned.test.mde < turned.test.effect, "{turned:?}");
        let again = detector.test(&window(1, 1_000, 1.0), &window(11, 800, -1.0)).unwrap();
        assert_eq!(again, turned, "the same seed gives the same result");
    }
}

#[test]
fn the_column_that_moved_comes_first() {
    let shifted = |seed: u64| {
        let batch = window(seed, 600, 1.0);
        let moved: Float64Array = SplitMix64::new(seed + 2).bell(600).into_iter().map(|z| Some(z + 2.5)).collect();
        let mut columns = batch.columns().to_vec();
        columns[3] = Arc::new(moved);
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    };
    for detector in detectors() {
        let found = detector.test(&window(1, 600, 1.0), &shifted(21)).unwrap();
        assert_eq!(found.test.verdict, Verdict::Drift, "{found:?}");
        // A shift along a component leaves no error, so its weights say nothing of it.
        if detector.name() != "pca_reconstruction" {
            assert_eq!(found.columns[0].column, "gaps", "{found:?}");
        }
        assert!(found.columns.is_sorted_by(|a, b| a.weight >= b.weight) && found.columns.len() <= TOP_COLUMNS);
    }
}

#[test]
fn results_serialize_with_their_names() {
    let mmd = &detectors()[0];
    let found = mmd.test(&window(1, 300, 1.0), &window(11, 50, 1.0)).unwrap();
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!((json["name"].as_str(), json["verdict"].as_str()), (Some("mmd"), Some("insufficient")));
    assert_eq!((json["n_ref"].as_u64(), json["n_cur"].as_u64()), (Some(300), Some(50)));
    assert!((json["log10_p"].as_f64().unwrap() - found.test.log10_p()).abs() < 1e-12);
    assert!(json["interval"].is_null() && json["columns"].is_array());
}

#[test]
fn windows_without_rows_or_change_have_a_verdict() {
    let constant = |rows: usize| {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![7.0; rows]));
        RecordBatch::try_from_iter([("x", column)]).unwrap()
    };
    for detector in detectors() {
        for (left, right) in [(0, 0), (0, 300), (300, 0), (1, 1), (3, 300), (300, 3)] {
            let found = detector.test(&constant(left), &constant(right)).unwrap();
            assert!(!matches!(found.test.verdict, Verdict::Ok | Verdict::Drift), "{left} {right} {found:?}");
            let found = detector.test(&window(1, left, 1.0), &window(5, right, 1.0)).unwrap();
            assert!(matches!(found.test.verdict, Verdict::Insufficient { .. }), "{left} {right} {found:?}");
        }
        let same = detector.test(&constant(500), &constant(500)).unwrap();
        assert_eq!(same.test.verdict, Verdict::Degenerate, "{same:?}");
    }
}

#[test]
fn settings_out_of_range_are_named_at_once() {
    let mmd = MmdSettings { alpha: 0.0, permutations: 0, bandwidth: Some(f64::NAN), ..MmdSettings::default() };
    let pca = PcaSettings { variance_share: 1.0, chunks: 0, rows_max: 0, ..PcaSettings::default() };
    let errors = [
        (Mmd::new(mmd).unwrap_err(), ["alpha", "permutations", "bandwidth"]),
        (PcaReconstruction::new(pca).unwrap_err(), ["variance_share", "chunks", "rows_max"]),
    ];
    for (error, names) in errors {
        assert!(names.iter().all(|name| error.message().contains(name)), "{error}");
    }
    assert!(serde_json::from_str::<MmdSettings>(r#"{"permutation": 5}"#).is_err());
}

#[test]
fn a_stored_state_is_read_back_or_refused() {
    let fitted = PcaReconstruction::new(PcaSettings::default()).unwrap().fit(&window(1, 500, 1.0)).unwrap();
    let text = serde_json::to_string(&fitted).unwrap();
    let read: FittedPca = serde_json::from_str(&text).unwrap();
    assert_eq!(read.test(&window(3, 400, -1.0)).unwrap(), fitted.test(&window(3, 400, -1.0)).unwrap());
    let mut damaged: serde_json::Value = serde_json::from_str(&text).unwrap();
    damaged["projection"]["components"][0].as_array_mut().unwrap().pop();
    assert!(serde_json::from_value::<FittedPca>(damaged).unwrap_err().to_string().contains("damaged"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_window_makes_a_test_panic(
        left in columns(40), right in columns(40), times in 1_usize..4,
    ) {
        for detector in detectors() {
            let found = detector.test(&repeated(&left, times), &right);
            if let Ok(found) = found {
                prop_assert!(found.test.p().is_nan() || (0.0..=1.0).contains(&found.test.p()));
                prop_assert!(serde_json::to_string(&found).is_ok());
            }
        }
    }
}

fn repeated(batch: &RecordBatch, times: usize) -> RecordBatch {
    arrow_select::concat::concat_batches(&batch.schema(), std::iter::repeat_n(batch, times)).unwrap()
}

fn columns(rows_max: usize) -> impl Strategy<Value = RecordBatch> {
    let row = (
        proptest::option::of(proptest::num::f64::ANY),
        proptest::option::of("[ab]{0,2}"),
        proptest::option::of(any::<i64>()),
        proptest::option::of(any::<bool>()),
    );
    proptest::collection::vec(row, 0..rows_max).prop_map(|rows| {
        let numbers: Float64Array = rows.iter().map(|row| row.0).collect();
        let text: StringArray = rows.iter().map(|row| row.1.clone()).collect();
        let integers: Int64Array = rows.iter().map(|row| row.2).collect();
        let flags: BooleanArray = rows.iter().map(|row| row.3).collect();
        let columns: [(&str, ArrayRef); 5] = [
            ("number", Arc::new(numbers)),
            ("text", Arc::new(text)),
            ("integer", Arc::new(integers)),
            ("flag", Arc::new(flags)),
            ("nothing", Arc::new(NullArray::new(rows.len()))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    })
}
