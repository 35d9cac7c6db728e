//! Ranked lists.

use mlops_core::Result;
use mlops_metrics::{RankedList, dcg, ndcg};
use serde_json::{Value, json};

use crate::inputs::{defined, field};

/// Items of at least this relevance are relevant where a metric knows no degrees.
const RELEVANT_MIN: f64 = 2.0;

/// What one ranking gains, of its relevances and scores.
type Gain = fn(&[f64], &[f64]) -> Result<f64>;

pub(crate) fn section(input: &Value) -> Result<Value> {
    let relevance: Vec<Vec<f64>> = field(input, "relevance")?;
    let scores: Vec<Vec<f64>> = field(input, "score")?;
    let relevant: Vec<Vec<bool>> =
        relevance.iter().map(|list| list.iter().map(|degree| *degree >= RELEVANT_MIN).collect()).collect();
    let gains = |of: Gain| -> Result<f64> {
        defined(mean(relevance.iter().zip(&scores).map(|(relevance, scores)| of(relevance, scores))))
    };
    let lists = |of: fn(&RankedList<'_>) -> Result<f64>| -> Result<f64> {
        defined(mean(relevant.iter().zip(&scores).map(|(relevant, scores)| of(&RankedList { relevant, scores }))))
    };
    Ok(json!({ "expected": {
        "ndcg": gains(|relevance, scores| ndcg(relevance, scores, None, false))?,
        "ndcg_at_5": gains(|relevance, scores| ndcg(relevance, scores, Some(5), false))?,
        "dcg_at_5": gains(|relevance, scores| dcg(relevance, scores, Some(5), false))?,
        "ndcg_at_5_ignore_ties": gains(|relevance, scores| ndcg(relevance, scores, Some(5), true))?,
        "lrap": lists(|list| list.average_precision())?,
        "coverage_error": lists(|list| list.coverage())?,
        "ranking_loss": lists(|list| list.ranking_loss())?,
    } }))
}

fn mean(values: impl Iterator<Item = Result<f64>>) -> Result<f64> {
    let values = values.collect::<Result<Vec<f64>>>()?;
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}
