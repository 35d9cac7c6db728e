//! The body of `runs/log-batch`, read straight into a batch: a tree of values for a thousand points would take ten times
//! their memory.
//!
//! Invariant: what is read here is what [`Params`](super::request::Params) would read; whatever looks different is left to
//! it, because it knows what to say of the wrong.

use std::{borrow::Cow, fmt};

use mlops_core::{Metric, RunId, Timestamp};
use serde::{Deserialize, Deserializer, de};

use crate::{Batch, ModelMetric};

/// The run and its batch; none when the body is not the usual one.
pub(super) fn read(body: &[u8]) -> Option<(RunId, Batch)> {
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    let mut batch = Batch {
        metrics: Vec::with_capacity(body.metrics.len()),
        params: pairs(body.params)?,
        tags: pairs(body.tags)?,
        ..Batch::default()
    };
    for point in body.metrics {
        let metric = Metric {
            key: point.key.into_owned(),
            value: point.value.0,
            timestamp: Timestamp::from_millis(point.timestamp),
            step: point.step,
        };
        if metric.key.is_empty() {
            return None;
        }
        if let Some(model) = point.model_id.filter(|id| !id.is_empty()) {
            batch.model_metrics.push(ModelMetric {
                model: model.parse().ok()?,
                metric: metric.clone(),
                run: None,
                dataset_name: point.dataset_name.map(Cow::into_owned),
                dataset_digest: point.dataset_digest.map(Cow::into_owned),
            });
        }
        batch.metrics.push(metric);
    }
    Some((body.run_id.parse().ok()?, batch))
}

fn pairs(pairs: Vec<Pair<'_>>) -> Option<Vec<(String, String)>> {
    let pair = |pair: Pair<'_>| (!pair.key.is_empty()).then(|| (pair.key.into_owned(), pair.value.into_owned()));
    pairs.into_iter().map(pair).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    run_id: Cow<'a, str>,
    #[serde(borrow, default)]
    metrics: Vec<Point<'a>>,
    #[serde(borrow, default)]
    params: Vec<Pair<'a>>,
    #[serde(borrow, default)]
    tags: Vec<Pair<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    value: Float,
    timestamp: i64,
    #[serde(default)]
    step: i64,
    #[serde(borrow, default)]
    model_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    dataset_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    dataset_digest: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
}

/// A number, or the text of one that JSON lacks.
struct Float(f64);

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Float;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Float, E> {
                Ok(Float(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Float, E> {
                Ok(Float(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Float, E> {
                Ok(Float(value as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Float, E> {
                text.parse().map(Float).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RUN: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn the_usual_body_is_read_whole() {
        let body = json!({
            "run_id": RUN,
            "metrics": [
                { "key": "a", "value": 1, "timestamp": 5, "step": -2 },
                { "key": "ü\"", "value": "NaN", "timestamp": 6, "model_id": null },
            ],
            "params": [{ "key": "p", "value": "1" }],
            "tags": [{ "key": "t", "value": "" }],
        });
        let (run, batch) = read(body.to_string().as_bytes()).unwrap();
        assert_eq!((run.as_str(), batch.model_metrics.len()), (RUN, 0));
        let [a, b] = &batch.metrics[..] else { panic!("two points") };
        assert_eq!((a.key.as_str(), a.value, a.timestamp.as_millis(), a.step), ("a", 1.0, 5, -2));
        assert!(b.key == "ü\"" && b.value.is_nan() && b.step == 0);
        assert_eq!(batch.params, [("p".to_owned(), "1".to_owned())]);
        assert_eq!(batch.tags, [("t".to_owned(), String::new())]);
    }

    #[test]
    fn what_looks_different_is_left() {
        for body in [
            json!({}),
            json!({ "run_id": RUN, "runId": RUN }),
            json!({ "run_id": "" }),
            json!({ "run_id": RUN, "metrics": null }),
            json!({ "run_id": RUN, "metrics": [{ "key": "", "value": 1, "timestamp": 1 }] }),
            json!({ "run_id": RUN, "metrics": [{ "key": "a", "value": "x", "timestamp": 1 }] }),
            json!({ "run_id": RUN, "metrics": [{ "key": "a", "value": 1, "timestamp": 1.5 }] }),
            json!({ "run_id": RUN, "params": [{ "key": "a" }] }),
            json!(RUN),
        ] {
            assert!(read(body.to_string().as_bytes()).is_none(), "{body}");
        }
    }
}
