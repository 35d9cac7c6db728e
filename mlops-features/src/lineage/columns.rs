//! Which columns a column was made of, and how.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// How a column enters another, in OpenLineage's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transformation {
    /// Its values, unchanged.
    Identity,
    /// Computed from its values, row by row.
    Transform,
    /// Computed from the values of several rows.
    Aggregation,
    /// Decides which rows meet.
    Join,
    /// Decides which rows count.
    Filter,
    /// Decides which rows belong together.
    GroupBy,
    /// Decides which rows are in a window.
    Window,
}

impl Transformation {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Identity => ("DIRECT", "IDENTITY"),
            Self::Transform => ("DIRECT", "TRANSFORMATION"),
            Self::Aggregation => ("DIRECT", "AGGREGATION"),
            Self::Join => ("INDIRECT", "JOIN"),
            Self::Filter => ("INDIRECT", "FILTER"),
            Self::GroupBy => ("INDIRECT", "GROUP_BY"),
            Self::Window => ("INDIRECT", "WINDOW"),
        }
    }
}

/// A column of another dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInput {
    /// Namespace of its dataset.
    pub namespace: String,
    /// Name of its dataset.
    pub dataset: String,
    /// The column.
    pub column: String,
    /// How it enters.
    pub transformation: Transformation,
    /// The same in words for people, such as `sum over 3600 s`; may be empty.
    pub description: String,
}

impl ColumnInput {
    fn to_json(&self) -> Value {
        let (kind, subtype) = self.transformation.words();
        json!({
            "namespace": self.namespace,
            "name": self.dataset,
            "field": self.column,
            "transformations": [
                {"type": kind, "subtype": subtype, "description": self.description, "masking": false}
            ],
        })
    }
}

/// The inputs of every column of a dataset, and of all of them at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnLineage {
    fields: BTreeMap<String, Vec<ColumnInput>>,
    dataset: Vec<ColumnInput>,
}

impl ColumnLineage {
    /// `input` enters `column`.
    pub fn add(&mut self, column: impl Into<String>, input: ColumnInput) {
        self.fields.entry(column.into()).or_default().push(input);
    }

    /// `input` decides about all columns.
    pub fn add_for_all(&mut self, input: ColumnInput) {
        self.dataset.push(input);
    }

    /// The facet's content.
    pub(super) fn to_json(&self) -> Value {
        let list = |inputs: &[ColumnInput]| Value::Array(inputs.iter().map(ColumnInput::to_json).collect());
        let fields: serde_json::Map<String, Value> =
            self.fields.iter().map(|(column, inputs)| (column.clone(), json!({"inputFields": list(inputs)}))).collect();
        json!({"fields": fields, "dataset": list(&self.dataset)})
    }
}
