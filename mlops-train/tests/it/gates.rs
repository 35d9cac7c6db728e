//! A gate with every kind of check, on a model that was really trained.

use std::{ops::Range, sync::Arc};

use mlops_core::arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, cast::AsArray};
use mlops_train::{
    FitContext, Gate, GateInput, GbdtTrainer, Metric, Params, TableDataset, TrainedModel, Trainer, Verdict,
    gate::{Change, DiscoverySettings, Disturbance, Expectation, Scenario},
    metrics::FairnessMetric,
    scores,
};

/// Loans that are paid back from an income of 50 on; age is whole and color says nothing.
fn loans(rows: Range<u32>) -> TableDataset {
    let part = |row: u32, prime: u64, of: u64| (u64::from(row) * prime % 10_007 % of) as u32;
    let numbers =
        |of: &dyn Fn(u32) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.clone().map(of))) };
    let income = |row: u32| f64::from(part(row, 7_919, 1_000)) / 10.0;
    let age: ArrayRef =
        Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| i64::from(18 + part(row, 104_729, 60)))));
    let color: ArrayRef = Arc::new(StringArray::from_iter_values(
        rows.clone().map(|row| ["red", "green", "blue"][part(row, 1_299_709, 3) as usize]),
    ));
    let paid = |row: u32| f64::from(u8::from(income(row) >= 50.0) ^ u8::from(part(row, 15_485_863, 20) == 0));
    let batch = RecordBatch::try_from_iter([
        ("income", numbers(&income)),
        ("age", age),
        ("color", color),
        ("paid", numbers(&paid)),
    ])
    .unwrap();
    TableDataset::classification(batch, "paid").build().unwrap()
}

struct Loans {
    train: TableDataset,
    test: TableDataset,
    model: Arc<dyn TrainedModel>,
    scores: Vec<f64>,
}

impl Loans {
    fn new() -> Self {
        let (train, test) = (loans(0..3_000), loans(3_000..4_500));
        let params = Params::new().with("rounds", 40).with("learning_rate", 0.2);
        let model = GbdtTrainer.fit(&train, &params, &FitContext::new(3)).unwrap();
        let scores = scores(&*model, test.batch()).unwrap();
        Self { train, test, model, scores }
    }

    fn judge(&self, gate: &Gate) -> Verdict {
        let input = GateInput::new(self.test.labels(), &self.scores)
            .with_model(&*self.model, self.test.batch())
            .with_training(&self.train, &self.test)
            .with_model_bytes(50_000);
        gate.judge(&input)
    }

    fn check(&self, gate: mlops_train::GateBuilder, passes: bool) -> Verdict {
        let gate = gate.build().unwrap();
        let json = serde_json::to_string(&gate).unwrap();
        assert_eq!(serde_json::from_str::<Gate>(&json).unwrap(), gate);
        let verdict = self.judge(&gate);
        assert_eq!(verdict.passed, passes, "{}", verdict.to_markdown());
        verdict
    }
}

fn change(column: &str, amount: f64) -> Change {
    Change::Add { column: column.to_owned(), amount }
}

#[test]
fn behavior_and_rules_are_judged() {
    let loans = Loans::new();
    let recolor = Change::Set { column: "color".to_owned(), value: "red".into() };
    let invariant = Expectation::Invariant { tolerance: 0.2 };
    loans.check(Gate::builder().require_behavior("color does not matter", recolor, invariant, 0.95), true);
    let not_fall = Expectation::NotFall { tolerance: 0.2 };
    loans.check(Gate::builder().require_behavior("income helps", change("income", 20.0), not_fall, 0.95), true);
    loans.check(Gate::builder().require_behavior("income hurts", change("income", -40.0), not_fall, 0.95), false);
    let rich = Scenario::new("rich pay").with("income", 95.0).with("age", 40).with("color", "red").score_at_least(0.8);
    let poor = Scenario::new("poor do not").with("income", 5).with("age", 40).with("color", "red").score_at_most(0.2);
    loans.check(Gate::builder().require_scenario(rich.clone()).require_scenario(poor), true);
    loans.check(Gate::builder().require_scenario(rich.score_at_least(0.0).score_at_most(0.1)), false);
    let unknown = Scenario::new("no such column").with("salary", 5).score_at_most(1.0);
    let verdict = loans.check(Gate::builder().require_scenario(unknown), false);
    assert!(verdict.checks[0].detail.contains("salary"), "{verdict:?}");
}

#[test]
fn bad_data_and_leaks_are_judged() {
    let loans = Loans::new();
    let missing = Disturbance::Missing { share: 0.02 };
    loans.check(Gate::builder().require_robust(Metric::RocAuc, missing, 0.1), true);
    let noise = Disturbance::Noise { deviations: 3.0 };
    loans.check(Gate::builder().require_robust(Metric::RocAuc, noise, 0.1), false);
    let shift = Disturbance::Shift { column: Some("income".to_owned()), deviations: 1.5 };
    loans.check(Gate::builder().require_robust(Metric::Accuracy, shift, 0.1), false);
    loans.check(Gate::builder().no_leakage(0.05, 0.99).size_max(60_000), true);
    loans.check(Gate::builder().size_max(40_000), false);
    let telling = loans.check(Gate::builder().no_leakage(1.0, 0.9), false);
    assert!(telling.checks[0].detail.contains("income tells the label"), "{telling:?}");
    let same = GateInput::new(loans.test.labels(), &loans.scores).with_training(&loans.test, &loans.test);
    assert!(!Gate::builder().no_leakage(0.05, 1.0).build().unwrap().judge(&same).passed);
}

#[test]
fn the_worst_slice_and_groups_are_named() {
    let mut loans = Loans::new();
    let settings = DiscoverySettings::default();
    loans.check(Gate::builder().no_worse_slice(0.1, settings), true);
    let color = loans.test.batch().column_by_name("color").unwrap();
    let colors: Vec<String> = color.as_string::<i32>().iter().map(|color| color.unwrap().to_owned()).collect();
    for (score, color) in loans.scores.iter_mut().zip(&colors) {
        if color == "blue" {
            *score = 1.0 - *score;
        }
    }
    let verdict = loans.check(Gate::builder().no_worse_slice(0.1, settings), false);
    assert!(verdict.checks[0].detail.contains("color = blue"), "{verdict:?}");
    let gate = Gate::builder()
        .require_fairness(FairnessMetric::EqualizedOddsDifference, 0.2, 30)
        .require_fairness(FairnessMetric::DemographicParityRatio, 0.8, 30)
        .build()
        .unwrap();
    let verdict = gate.judge(&GateInput::new(loans.test.labels(), &loans.scores).with_groups(&colors));
    assert_eq!(verdict.checks.iter().map(|check| check.passed).collect::<Vec<_>>(), [false, true], "{verdict:?}");
    assert!(verdict.checks[0].detail.contains("blue"), "{verdict:?}");
    let mut few = colors;
    few[0] = "violet".to_owned();
    let verdict = gate.judge(&GateInput::new(loans.test.labels(), &loans.scores).with_groups(&few));
    assert!(verdict.checks[1].detail.contains("too few rows: violet"), "{verdict:?}");
    let xml = verdict.to_junit_xml("loans");
    assert!(xml.contains("failures=\"1\"") && xml.contains("name=\"equalized_odds_difference\""), "{xml}");
}

#[test]
fn what_was_not_given_does_not_pass() {
    let (labels, scores) = ([0.0, 1.0], [0.1, 0.9]);
    let gate = Gate::builder()
        .require_fairness(FairnessMetric::DemographicParityDifference, 0.1, 1)
        .size_max(10)
        .no_leakage(0.0, 1.0)
        .no_worse_slice(0.0, DiscoverySettings::default())
        .require_scenario(Scenario::new("a rule").score_at_most(0.5))
        .require_robust(Metric::RocAuc, Disturbance::Missing { share: 0.1 }, 0.1)
        .build()
        .unwrap();
    let verdict = gate.judge(&GateInput::new(&labels, &scores));
    assert!(
        verdict.checks.iter().all(|check| !check.passed && check.detail.starts_with("not computed")),
        "{verdict:?}"
    );
    let senseless = Gate::builder()
        .require_scenario(Scenario::new("unbounded"))
        .require_robust(Metric::RocAuc, Disturbance::Missing { share: 0.0 }, 0.1)
        .require_behavior("x", change("x", 1.0), Expectation::Invariant { tolerance: -1.0 }, 0.5)
        .build()
        .unwrap_err();
    for named in ["rule: unbounded", "cells missing", "behavior: x"] {
        assert!(senseless.message().contains(named), "{senseless}");
    }
}
