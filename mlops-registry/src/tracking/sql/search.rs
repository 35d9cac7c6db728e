//! What searches see of runs and experiments.

use std::collections::BTreeMap;

use mlops_core::Timestamp;

use crate::{
    search::{Fields, Operand},
    tracking::{
        DATASET_CONTEXT_TAG,
        record::{Experiment, RunRecord, status_name},
    },
};

impl Fields for RunRecord {
    const GROUPS: &'static [(&'static str, &'static str)] = &[
        ("metrics", "metric"),
        ("params", "param"),
        ("parameters", "parameter"),
        ("tags", "tag"),
        ("datasets", "dataset"),
    ];
    const ATTRIBUTES: &'static [(&'static str, bool)] = &[
        ("run_id", false),
        ("run_name", false),
        ("run name", false),
        ("Run name", false),
        ("Run Name", false),
        ("user_id", false),
        ("status", false),
        ("artifact_uri", false),
        ("start_time", true),
        ("end_time", true),
        ("created", true),
        ("Created", true),
    ];
    const KEYS: &'static [(&'static str, &'static [&'static str])] = &[("datasets", &["name", "digest", "context"])];
    const LISTED: &'static [&'static str] = &["run_id", "datasets"];
    const NULLABLE: &'static [&'static str] = &["params", "parameters", "tags"];

    fn field(&self, group: &str, key: &str) -> Operand {
        let text = |map: &BTreeMap<String, String>| {
            map.get(key).map_or(Operand::Missing, |value| Operand::Text(value.clone()))
        };
        let millis = |time: Timestamp| Operand::Number(time.as_millis() as f64);
        match (group, key) {
            ("metrics", key) => self.metrics.get(key).map_or(Operand::Missing, |metric| Operand::Number(metric.value)),
            ("params" | "parameters", _) => text(&self.params),
            ("tags", _) => text(&self.tags),
            ("datasets", "digest") => {
                Operand::Texts(self.datasets.iter().map(|input| input.dataset.digest.clone()).collect())
            }
            ("datasets", "context") => Operand::Texts(
                self.datasets.iter().filter_map(|input| input.tags.get(DATASET_CONTEXT_TAG).cloned()).collect(),
            ),
            ("datasets", _) => Operand::Texts(self.datasets.iter().map(|input| input.dataset.name.clone()).collect()),
            (_, "run_id") => Operand::Text(self.id.to_string()),
            (_, "run_name" | "run name" | "Run name" | "Run Name") => Operand::Text(self.name.clone()),
            (_, "user_id") => Operand::Text(self.user.clone()),
            (_, "status") => Operand::Text(status_name(self.status).to_owned()),
            (_, "artifact_uri") => Operand::Text(self.artifact_uri.clone()),
            (_, "end_time") => self.ended.map_or(Operand::Missing, millis),
            (_, _) => millis(self.started),
        }
    }
}

impl Fields for Experiment {
    const GROUPS: &'static [(&'static str, &'static str)] = &[("tags", "tag")];
    const ATTRIBUTES: &'static [(&'static str, bool)] =
        &[("name", false), ("experiment_id", false), ("creation_time", true), ("last_update_time", true)];
    const LISTED: &'static [&'static str] = &["experiment_id"];
    const NULLABLE: &'static [&'static str] = &["tags"];

    fn field(&self, group: &str, key: &str) -> Operand {
        match (group, key) {
            ("tags", key) => self.tags.get(key).map_or(Operand::Missing, |value| Operand::Text(value.clone())),
            (_, "name") => Operand::Text(self.name.clone()),
            (_, "experiment_id") => Operand::Text(self.id.to_string()),
            (_, "creation_time") => Operand::Number(self.created.as_millis() as f64),
            (_, _) => Operand::Number(self.updated.as_millis() as f64),
        }
    }

    fn rank(&self, group: &str, key: &str) -> Operand {
        match (group, key) {
            // Text to filters, a number in order.
            ("attributes", "experiment_id") => Operand::Number(self.id.0 as f64),
            _ => self.field(group, key),
        }
    }
}
