//! Census incomes by sex and race, before and after mitigation.

use mlops_core::arrow_array::cast::AsArray;
use mlops_train::{
    FitContext, GbdtSettings, GbdtTrainer, TableDataset,
    fairness::{FrameSettings, MetricFrame, ThresholdOptimizer, ThresholdSettings, intersections},
    metrics::{FairnessMetric, GroupOutcomes, Metric, Rate},
    scores,
};

use crate::real_data::adult;

fn column(data: &TableDataset, name: &str) -> Vec<String> {
    let column = data.batch().column_by_name(name).unwrap();
    let texts: Vec<Option<&str>> = match column.as_string_opt::<i32>() {
        Some(texts) => texts.iter().collect(),
        None => column
            .as_string_view_opt()
            .map_or_else(|| column.as_string::<i64>().iter().collect(), |texts| texts.iter().collect()),
    };
    texts.into_iter().map(|text| text.unwrap_or("unknown").to_owned()).collect()
}

/// Difference of selection rates between sexes, and the share of right calls.
fn outcome(groups: &[String], labels: &[f64], calls: &[bool]) -> (f64, f64) {
    let mut outcomes = GroupOutcomes::default();
    let mut right = 0;
    for ((group, label), call) in groups.iter().zip(labels).zip(calls) {
        outcomes.add(group, *label == 1.0, *call).unwrap();
        right += usize::from((*label == 1.0) == *call);
    }
    let gap = outcomes.gap(FairnessMetric::DemographicParityDifference, 0.95).unwrap();
    (gap.value, right as f64 / labels.len() as f64)
}

#[test]
fn thresholds_by_sex_close_most_of_the_gap() {
    let Some((train, held)) = adult() else { return };
    let settings = GbdtSettings { rounds: 60, ..GbdtSettings::default() };
    let model = GbdtTrainer.fit_settings(&train, &settings, &FitContext::new(1)).unwrap();
    let (fit, test): (Vec<usize>, Vec<usize>) = (0..held.rows()).partition(|row| row % 2 == 0);
    let (fit, test) = (held.take(&fit).unwrap(), held.take(&test).unwrap());
    let (fit_scores, test_scores) = (scores(&model, fit.batch()).unwrap(), scores(&model, test.batch()).unwrap());

    let sexes = column(&test, "sex");
    let crossed = intersections(&[&sexes, &column(&test, "race")]).unwrap();
    let metrics = [Rate::Selection.into(), Rate::TruePositive.into(), Metric::Accuracy.into()];
    let frame =
        MetricFrame::of(test.labels(), &test_scores, 0.5, &crossed, &metrics, &FrameSettings::default()).unwrap();
    println!("{}", frame.to_markdown());
    assert!(frame.groups.len() >= 8 && frame.difference(0).unwrap() > 0.1);

    let fair = ThresholdOptimizer::fit(&column(&fit, "sex"), fit.labels(), &fit_scores, &ThresholdSettings::default());
    let fair = fair.unwrap();
    let plain: Vec<bool> = test_scores.iter().map(|score| *score >= 0.5).collect();
    let decide =
        |(row, (group, score)): (usize, (&String, &f64))| fair.decide(group, *score, &format!("p{row}")).unwrap();
    let mitigated: Vec<bool> = sexes.iter().zip(&test_scores).enumerate().map(decide).collect();
    let (before, accuracy) = outcome(&sexes, test.labels(), &plain);
    let (after, fair_accuracy) = outcome(&sexes, test.labels(), &mitigated);
    println!("adult by sex: gap {before:.3} to {after:.3}, accuracy {accuracy:.3} to {fair_accuracy:.3}");
    assert!(before > 0.12 && after < before / 4.0, "{before} {after}");
    assert!(fair_accuracy > accuracy - 0.05, "{accuracy} {fair_accuracy}");
}
