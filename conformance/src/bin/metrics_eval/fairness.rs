//! Groups, intersections, inequality and mitigation.

use std::collections::BTreeMap;

use mlops_core::Result;
use mlops_metrics::{EstimateOptions, FOUR_FIFTHS, FairnessMetric, GroupOutcomes, Rate, benefit_entropy};
use mlops_train::fairness::{
    Cell, FrameGroup, FrameSettings, MetricFrame, Reweighing, ThresholdOptimizer, ThresholdSettings, intersections,
};
use serde_json::{Map, Value, json};

use crate::inputs::field;

/// The rates by the names of the vectors.
const RATES: [(&str, Rate); 7] = [
    ("accuracy", Rate::Accuracy),
    ("selection_rate", Rate::Selection),
    ("tpr", Rate::TruePositive),
    ("fpr", Rate::FalsePositive),
    ("fnr", Rate::FalseNegative),
    ("precision", Rate::Precision),
    ("base_rate", Rate::Base),
];
/// The group that others are compared with, and the one whose odds are.
const REFERENCE: &str = "a";
const COMPARED: &str = "b";

struct Rows {
    labels: Vec<f64>,
    scores: Vec<f64>,
    threshold: f64,
    groups: Vec<String>,
}

pub(crate) fn section(input: &Value) -> Result<Value> {
    let rows = Rows {
        labels: field(input, "y")?,
        scores: field(input, "score")?,
        threshold: field(input, "threshold")?,
        groups: field(input, "A")?,
    };
    let second: Vec<String> = field(input, "B")?;
    let mut found = rows.frame()?;
    found.extend(rows.gaps()?);
    found.extend(rows.mitigation()?);
    let both = intersections(&[&rows.groups, &second])?;
    let crossed = rows.frame_of(&both)?;
    let selection = RATES.iter().position(|(_, rate)| *rate == Rate::Selection).unwrap_or(0);
    found.insert("intersectional_selection_rate".to_owned(), json!(column(&crossed, selection)));
    Ok(json!({ "expected": found }))
}

fn value(group: &FrameGroup, place: usize) -> Option<f64> {
    group.cells.get(place).and_then(Cell::value)
}

fn column(frame: &MetricFrame, place: usize) -> BTreeMap<&str, Option<f64>> {
    frame.groups.iter().map(|(name, group)| (name.as_str(), value(group, place))).collect()
}

impl Rows {
    fn frame_of(&self, groups: &[String]) -> Result<MetricFrame> {
        let settings = FrameSettings { rows_min: 1, estimate: EstimateOptions::default() };
        MetricFrame::of(&self.labels, &self.scores, self.threshold, groups, &RATES.map(|rate| rate.1.into()), &settings)
    }

    fn calls(&self) -> Vec<f64> {
        self.scores.iter().map(|score| f64::from(u8::from(*score >= self.threshold))).collect()
    }

    /// Values by group, over all rows, and how far apart they are.
    fn frame(&self) -> Result<Map<String, Value>> {
        let frame = self.frame_of(&self.groups)?;
        let counts: Vec<f64> = frame.groups.values().map(|group| group.rows as f64).collect();
        let (least, most) =
            counts.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), count| (least.min(*count), most.max(*count)));
        let all = frame.overall.rows as f64;
        let mut by_group = Map::from_iter([(
            "count".to_owned(),
            json!(frame.groups.iter().map(|(name, group)| (name, group.rows)).collect::<BTreeMap<_, _>>()),
        )]);
        let count = |value: f64| Map::from_iter([("count".to_owned(), json!(value))]);
        let (mut overall, mut difference) = (count(all), count(most - least));
        let (mut ratio, mut to_overall) = (count(least / most), count(all - least));
        for (place, (name, _)) in RATES.iter().enumerate() {
            by_group.insert((*name).to_owned(), json!(column(&frame, place)));
            overall.insert((*name).to_owned(), json!(value(&frame.overall, place)));
            difference.insert((*name).to_owned(), json!(frame.difference(place)?));
            ratio.insert((*name).to_owned(), json!(frame.ratio(place)?));
            to_overall.insert((*name).to_owned(), json!(frame.difference_to_overall(place)?));
        }
        let parts = json!({
            "by_group": by_group, "overall": overall, "difference": difference, "ratio": ratio,
            "difference_to_overall": to_overall,
        });
        Ok(parts.as_object().cloned().unwrap_or_default())
    }

    /// Numbers about all groups, and about each against the reference.
    fn gaps(&self) -> Result<Map<String, Value>> {
        let mut outcomes = GroupOutcomes::default();
        for ((group, label), called) in self.groups.iter().zip(&self.labels).zip(self.calls()) {
            outcomes.add(group, *label == 1.0, called == 1.0)?;
        }
        let mut found = Map::new();
        for metric in FairnessMetric::all() {
            found.insert(metric.name().to_owned(), json!(outcomes.gap(metric, 0.95)?.value));
        }
        let odds = [Rate::TruePositive, Rate::FalsePositive].map(|rate| outcomes.difference(rate, 0.95));
        let odds = odds.into_iter().map(|gap| gap.map(|gap| gap.value)).sum::<Result<f64>>()? / 2.0;
        found.insert("equalized_odds_difference_mean".to_owned(), json!(odds));
        let others = outcomes.groups().map(|(name, _)| name).filter(|name| *name != REFERENCE);
        let impacts: BTreeMap<&str, f64> = others
            .map(|name| Ok((name, outcomes.ratio_to(name, REFERENCE, Rate::Selection)?)))
            .collect::<Result<_>>()?;
        let passes: BTreeMap<&&str, bool> = impacts.iter().map(|(name, ratio)| (name, *ratio >= FOUR_FIFTHS)).collect();
        found.insert("four_fifths_pass".to_owned(), json!(passes));
        found.insert("disparate_impact_vs_a".to_owned(), json!(impacts));
        let average = outcomes.average_odds_difference(COMPARED, REFERENCE)?;
        found.insert("average_odds_difference_b_vs_a".to_owned(), json!(average));
        found.insert("theil_index".to_owned(), json!(benefit_entropy(&self.labels, &self.calls(), 1.0)?));
        found.insert("generalized_entropy_2".to_owned(), json!(benefit_entropy(&self.labels, &self.calls(), 2.0)?));
        Ok(found)
    }

    fn mitigation(&self) -> Result<Map<String, Value>> {
        let reweighing = Reweighing::fit(&self.groups, &self.labels)?;
        let mut weights = BTreeMap::new();
        for (group, label) in self.groups.iter().zip(&self.labels) {
            weights.insert(format!("{group}|{label}"), reweighing.weight(group, *label)?);
        }
        let fair = ThresholdOptimizer::fit(&self.groups, &self.labels, &self.scores, &ThresholdSettings::default())?;
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (group, score) in self.groups.iter().zip(&self.scores) {
            let sum = sums.entry(group).or_default();
            *sum = (sum.0 + fair.probability(group, *score)?, sum.1 + 1.0);
        }
        let means: BTreeMap<&str, f64> = sums.into_iter().map(|(group, (sum, rows))| (group, sum / rows)).collect();
        let right = self.calls().iter().zip(&self.labels).filter(|(call, label)| call == label).count();
        Ok(Map::from_iter([
            ("reweighing".to_owned(), json!(weights)),
            (
                "threshold_optimizer_demographic_parity".to_owned(),
                json!({
                    "p1_mean_by_group": means,
                    "expected_accuracy": fair.expected_accuracy(),
                    "base_accuracy": right as f64 / self.labels.len() as f64,
                }),
            ),
        ]))
    }
}
