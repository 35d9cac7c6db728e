//! Which rows are worth a label.

use mlops_core::Result;
use mlops_train::active::{Committee, Uncertainty, entropy, k_center_greedy, least_confidence, margin};
use serde_json::{Value, json};

use crate::inputs::{field, optional, part};

/// Rows chosen where the input does not say how many.
const CENTERS: usize = 6;

pub(crate) fn section(input: &Value) -> Result<Value> {
    // By member, row and class.
    let members: Vec<Vec<Vec<f64>>> = field(input, "committee_proba")?;
    let rows = members.first().map_or(0, Vec::len);
    let of_row = |row: usize| -> Vec<Vec<f64>> {
        members.iter().map(|member| member.get(row).cloned().unwrap_or_default()).collect()
    };
    let tables: Vec<Vec<Vec<f64>>> = (0..rows).map(of_row).collect();
    let committees = tables.iter().map(|table| Committee::of(table)).collect::<Result<Vec<_>>>()?;
    let means = |of: fn(&[f64]) -> f64| -> Vec<f64> { committees.iter().map(|row| of(row.mean())).collect() };
    let scores =
        |score: Uncertainty| -> Vec<f64> { committees.iter().map(|committee| score.score(committee)).collect() };
    let coreset = part(input, "coreset")?;
    let (places, initial): (Vec<Vec<f64>>, Vec<usize>) = (field(coreset, "X")?, field(coreset, "initial")?);
    let centers = k_center_greedy(&places, &initial, optional(coreset, "k")?.unwrap_or(CENTERS))?;
    Ok(json!({
        "expected": {
            "least_confidence": means(least_confidence),
            "margin": means(margin),
            "entropy_nats": means(entropy),
            "bald": scores(Uncertainty::Bald),
            "vote_entropy": scores(Uncertainty::VoteEntropy),
            "kl_disagreement": scores(Uncertainty::KlDisagreement),
            "variation_ratio": scores(Uncertainty::VariationRatio),
        },
        "coreset": { "k_center_greedy": centers },
    }))
}
