//! Folds, fairness and active learning against scikit-learn 1.9.1, Fairlearn 0.15.0 and written-out definitions.

use std::collections::BTreeMap;

use mlops_train::{
    Fold, GroupKFold, Groups, LeaveOneGroupOut, PredefinedSplit, PurgedKFold, StratifiedGroupKFold,
    active::{Committee, Uncertainty, entropy, k_center_greedy, least_confidence, margin},
    fairness::{FrameSettings, MetricFrame, Parity, Reweighing, ThresholdOptimizer, ThresholdSettings, intersections},
    metrics::Rate,
};
use serde_json::Value;

use crate::vectors::{close, indices, numbers, vectors};

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

#[test]
fn grouped_folds_match() {
    let Some(vectors) = vectors() else { return };
    let splits = &vectors["splits"];
    let groups = Groups::of(&indices(&splits["groups"]));
    let check = |folds: Vec<Fold>, name: &str| {
        let expected = splits["test_indices"][name].as_array().unwrap();
        assert_eq!(folds.len(), expected.len(), "{name}");
        for (fold, expected) in folds.iter().zip(expected) {
            assert_eq!(fold.test, indices(expected), "{name}");
            assert_eq!(fold.train.len() + fold.test.len(), 23, "{name}");
        }
    };
    check(GroupKFold::new(4, groups.clone()).folds().unwrap(), "group4");
    let stratified = StratifiedGroupKFold::new(3, groups.clone());
    check(stratified.split_labels(&numbers(&splits["y"])).unwrap(), "stratified_group3");
    check(LeaveOneGroupOut::new(groups).folds().unwrap(), "leave_one_group_out");
    let given = (0..23_usize).map(|row| (row / 8).min(2).checked_sub(1)).collect();
    check(PredefinedSplit::new(given).folds().unwrap(), "predefined");
}

#[test]
fn purged_folds_match() {
    let Some(vectors) = vectors() else { return };
    let purged = &vectors["splits"]["purged_kfold"];
    let folds = purged["k"].as_u64().unwrap() as usize;
    let split = PurgedKFold::over_rows(folds, 2).with_embargo_rows(purged["embargo"].as_u64().unwrap() as usize);
    let found = split.split_ends(&indices(&purged["t1"])).unwrap();
    for (fold, expected) in found.iter().zip(purged["folds"].as_array().unwrap()) {
        assert_eq!(fold.train, indices(&expected["train"]));
        assert_eq!(fold.test, indices(&expected["test"]));
    }
    assert_eq!(found.len(), 4);
}

#[test]
fn frames_match() {
    let Some(vectors) = vectors() else { return };
    let section = &vectors["fairness"];
    let (labels, scores) = (numbers(&section["y"]), numbers(&section["score"]));
    let groups = texts(&section["A"]);
    let settings = FrameSettings { rows_min: 1, ..FrameSettings::default() };
    let metrics = [Rate::Selection.into(), Rate::TruePositive.into(), Rate::Precision.into()];
    let frame = MetricFrame::of(&labels, &scores, 0.5, &groups, &metrics, &settings).unwrap();
    for (place, name) in ["selection_rate", "tpr", "precision"].into_iter().enumerate() {
        let expected = &section["expected"];
        for (group, cells) in &frame.groups {
            close(cells.cells[place].value().unwrap(), &expected["by_group"][name][group], name);
        }
        close(frame.difference(place).unwrap(), &expected["difference"][name], name);
        close(frame.ratio(place).unwrap(), &expected["ratio"][name], name);
        close(frame.difference_to_overall(place).unwrap(), &expected["difference_to_overall"][name], name);
    }
    let both = intersections(&[&groups, &texts(&section["B"])]).unwrap();
    let crossed = MetricFrame::of(&labels, &scores, 0.5, &both, &metrics, &settings).unwrap();
    let expected = section["expected"]["intersectional_selection_rate"].as_object().unwrap();
    assert_eq!(crossed.groups.len(), expected.len());
    for (name, value) in expected {
        close(crossed.groups[name].cells[0].value().unwrap(), value, name);
    }
}

#[test]
fn mitigations_match() {
    let Some(vectors) = vectors() else { return };
    let section = &vectors["fairness"];
    let (labels, scores) = (numbers(&section["y"]), numbers(&section["score"]));
    let groups = texts(&section["A"]);
    let reweighing = Reweighing::fit(&groups, &labels).unwrap();
    for (cell, weight) in section["expected"]["reweighing"].as_object().unwrap() {
        let (group, label) = cell.split_once('|').unwrap();
        close(reweighing.weight(group, label.parse().unwrap()).unwrap(), weight, cell);
    }
    let expected = &section["expected"]["threshold_optimizer_demographic_parity"];
    let fair = ThresholdOptimizer::fit(&groups, &labels, &scores, &ThresholdSettings::default()).unwrap();
    let near = |found: f64, expected: &Value| (found - expected.as_f64().unwrap()).abs() < 5e-3;
    assert!(near(fair.expected_accuracy(), &expected["expected_accuracy"]), "{}", fair.expected_accuracy());
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (group, score) in groups.iter().zip(&scores) {
        let sum = sums.entry(group).or_default();
        *sum = (sum.0 + fair.probability(group, *score).unwrap(), sum.1 + 1.0);
    }
    for (group, (sum, rows)) in sums {
        assert!(near(sum / rows, &expected["p1_mean_by_group"][group]), "{group}");
    }
    let tolerant = ThresholdSettings { tolerance: 0.1, ..ThresholdSettings::default() };
    assert!(
        ThresholdOptimizer::fit(&groups, &labels, &scores, &tolerant).unwrap().expected_accuracy()
            > fair.expected_accuracy()
    );
    let odds = ThresholdSettings { parity: Parity::EqualizedOdds, ..ThresholdSettings::default() };
    assert!(ThresholdOptimizer::fit(&groups, &labels, &scores, &odds).is_ok());
}

#[test]
fn active_learning_matches() {
    let Some(vectors) = vectors() else { return };
    let section = &vectors["active"];
    let members: Vec<Vec<Vec<f64>>> = section["committee_proba"].as_array().unwrap().iter().map(rows).collect();
    let expected = &section["expected"];
    for row in 0..members[0].len() {
        let table: Vec<Vec<f64>> = members.iter().map(|member| member[row].clone()).collect();
        let committee = Committee::of(&table).unwrap();
        close(least_confidence(committee.mean()), &expected["least_confidence"][row], "least confidence");
        close(margin(committee.mean()), &expected["margin"][row], "margin");
        close(entropy(committee.mean()), &expected["entropy_nats"][row], "entropy");
        for (score, name) in [
            (Uncertainty::Bald, "bald"),
            (Uncertainty::VoteEntropy, "vote_entropy"),
            (Uncertainty::KlDisagreement, "kl_disagreement"),
            (Uncertainty::VariationRatio, "variation_ratio"),
        ] {
            close(score.score(&committee), &expected[name][row], name);
        }
    }
    let coreset = &section["coreset"];
    let wanted = indices(&coreset["k_center_greedy"]);
    let found = k_center_greedy(&rows(&coreset["X"]), &indices(&coreset["initial"]), wanted.len()).unwrap();
    assert_eq!(found, wanted);
}
