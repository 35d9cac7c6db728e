//! A Grafana dashboard over the exported metrics.
//!
//! Invariant: it uses every exported metric and no other, which a test holds.

/// The dashboard as JSON, to import or to provision; data source, model and version are its variables. It asks for
/// Grafana 10 or later.
pub const DASHBOARD: &str = include_str!("../../dashboards/mlops-monitor.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::export::families;

    /// The text of every query: those of panels, of variables and of annotations.
    fn queries(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| match value {
                Value::String(text) if ["expr", "query", "definition"].contains(&key.as_str()) => {
                    found.push(text.clone());
                }
                other => queries(other, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
            _ => {}
        }
    }

    fn metrics(queries: &[String]) -> BTreeSet<String> {
        let words = queries.iter().flat_map(|query| query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
        words.filter(|word| word.starts_with("mlops_")).map(str::to_owned).collect()
    }

    #[test]
    fn it_uses_every_metric_and_no_other() {
        let mut found = Vec::new();
        queries(&serde_json::from_str(DASHBOARD).unwrap(), &mut found);
        let used: BTreeSet<String> =
            metrics(&found).into_iter().map(|name| name.trim_end_matches("_bucket").to_owned()).collect();
        let exported: BTreeSet<String> = families::ALL.iter().map(families::Family::sample_name).collect();
        assert_eq!(used, exported);
    }

    #[test]
    fn panels_have_a_place_a_title_and_the_chosen_data_source() {
        let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len());
        for panel in panels {
            assert!(panel["gridPos"]["w"].as_u64().unwrap() <= 24 && !panel["title"].as_str().unwrap().is_empty());
            for target in panel["targets"].as_array().into_iter().flatten() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            }
        }
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["datasource", "model", "version", "method"]);
    }
}
