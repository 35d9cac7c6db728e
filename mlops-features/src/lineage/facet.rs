//! The facets that this crate fills, each with its producer and schema.

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type},
};
use arrow_schema::{DataType, Field, Schema};
use mlops_core::{CheckFailure, Error};
use serde_json::{Map, Value, json};

use super::{columns::ColumnLineage, recorder::ParentRun};

/// The name and version of each facet's schema.
const COLUMN_LINEAGE: (&str, &str) = ("ColumnLineageDatasetFacet", "1-2-0");
const DATA_QUALITY_ASSERTIONS: (&str, &str) = ("DataQualityAssertionsDatasetFacet", "1-1-0");
const DATA_QUALITY_METRICS: (&str, &str) = ("DataQualityMetricsInputDatasetFacet", "1-0-3");
const ERROR_MESSAGE: (&str, &str) = ("ErrorMessageRunFacet", "1-0-1");
const JOB_TYPE: (&str, &str) = ("JobTypeJobFacet", "2-0-4");
const OUTPUT_STATISTICS: (&str, &str) = ("OutputStatisticsOutputDatasetFacet", "1-0-2");
const PARENT: (&str, &str) = ("ParentRunFacet", "1-2-0");
const PROCESSING_ENGINE: (&str, &str) = ("ProcessingEngineRunFacet", "1-1-1");
const SCHEMA: (&str, &str) = ("SchemaDatasetFacet", "1-2-0");
const VERSION: (&str, &str) = ("DatasetVersionDatasetFacet", "1-0-1");

/// Nested fields deeper than this are not listed.
const FIELDS_DEPTH_MAX: usize = 16;

/// Makes facets of one producer.
#[derive(Debug, Clone)]
pub(super) struct FacetMaker {
    pub(super) producer: String,
}

impl FacetMaker {
    fn make(&self, (name, version): (&str, &str), content: Value) -> Value {
        let mut facet = Map::new();
        facet.insert("_producer".into(), Value::String(self.producer.clone()));
        let url = format!("https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}");
        facet.insert("_schemaURL".into(), Value::String(url));
        if let Value::Object(content) = content {
            facet.extend(content);
        }
        Value::Object(facet)
    }

    pub(super) fn schema(&self, schema: &Schema) -> Value {
        let fields = schema.fields().iter().enumerate().map(|(at, field)| {
            let mut listed = field_json(field, 0);
            // Counted from one.
            listed.insert("ordinal_position".into(), json!(at + 1));
            Value::Object(listed)
        });
        self.make(SCHEMA, json!({"fields": fields.collect::<Vec<_>>()}))
    }

    pub(super) fn version(&self, version: &str) -> Value {
        self.make(VERSION, json!({"datasetVersion": version}))
    }

    pub(super) fn column_lineage(&self, columns: &ColumnLineage) -> Value {
        self.make(COLUMN_LINEAGE, columns.to_json())
    }

    pub(super) fn output_statistics(&self, rows: u64, bytes: Option<u64>) -> Value {
        let mut content = json!({"rowCount": rows});
        if let (Some(bytes), Some(content)) = (bytes, content.as_object_mut()) {
            content.insert("size".into(), json!(bytes));
        }
        self.make(OUTPUT_STATISTICS, content)
    }

    /// Rows, bytes in memory and per column nulls and, of numbers, sum, least and greatest. NaN and infinity, which JSON
    /// does not have, leave out what they would be in.
    pub(super) fn data_quality_metrics(&self, batch: &RecordBatch) -> Value {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, column)| (field.name().clone(), column_metrics(column.as_ref())));
        let content = json!({
            "rowCount": batch.num_rows(),
            "bytes": batch.get_array_memory_size(),
            "columnMetrics": columns.collect::<Map<_, _>>(),
        });
        self.make(DATA_QUALITY_METRICS, content)
    }

    pub(super) fn data_quality_assertions(&self, failures: &[CheckFailure]) -> Value {
        let assertion = |failure: &CheckFailure| {
            let mut assertion = json!({
                "assertion": failure.rule, "success": false, "severity": "error", "description": failure.message,
            });
            if let (Some(column), Some(assertion)) = (&failure.column, assertion.as_object_mut()) {
                assertion.insert("column".into(), json!(column));
            }
            assertion
        };
        let assertions: Vec<_> = failures.iter().map(assertion).collect();
        self.make(DATA_QUALITY_ASSERTIONS, json!({"assertions": assertions}))
    }

    pub(super) fn error_message(&self, error: &Error) -> Value {
        self.make(ERROR_MESSAGE, json!({"message": error.chain(), "programmingLanguage": "rust"}))
    }

    pub(super) fn job_type(&self, kind: &str) -> Value {
        self.make(JOB_TYPE, json!({"processingType": "BATCH", "integration": "MLOPS", "jobType": kind}))
    }

    pub(super) fn processing_engine(&self) -> Value {
        let version = env!("CARGO_PKG_VERSION");
        let content = json!({"version": version, "name": "mlops-features", "openlineageAdapterVersion": version});
        self.make(PROCESSING_ENGINE, content)
    }

    pub(super) fn parent(&self, parent: &ParentRun) -> Value {
        let job = json!({"namespace": parent.namespace, "name": parent.job});
        self.make(PARENT, json!({"run": {"runId": parent.run_id}, "job": job}))
    }
}

fn field_json(field: &Field, depth: usize) -> Map<String, Value> {
    let mut listed = Map::new();
    listed.insert("name".into(), json!(field.name()));
    let inner: Vec<&Field> = match field.data_type() {
        DataType::Struct(fields) => fields.iter().map(AsRef::as_ref).collect(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => vec![item.as_ref()],
        _ => Vec::new(),
    };
    let kind = match field.data_type() {
        DataType::Struct(_) => "struct".to_owned(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => "array".to_owned(),
        other => other.to_string(),
    };
    listed.insert("type".into(), json!(kind));
    if !inner.is_empty() && depth < FIELDS_DEPTH_MAX {
        let inner: Vec<_> = inner.into_iter().map(|field| Value::Object(field_json(field, depth + 1))).collect();
        listed.insert("fields".into(), Value::Array(inner));
    }
    listed
}

fn column_metrics(column: &dyn Array) -> Value {
    let mut metrics = Map::new();
    metrics.insert("nullCount".into(), json!(column.null_count()));
    metrics.insert("count".into(), json!(column.len() - column.null_count()));
    let numbers: Option<Vec<f64>> = match column.data_type() {
        DataType::Int8 => Some(column.as_primitive::<Int8Type>().iter().flatten().map(f64::from).collect()),
        DataType::Int16 => Some(column.as_primitive::<Int16Type>().iter().flatten().map(f64::from).collect()),
        DataType::Int32 => Some(column.as_primitive::<Int32Type>().iter().flatten().map(f64::from).collect()),
        // The facet's numbers are doubles.
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().iter().flatten().map(|v| v as f64).collect()),
        DataType::Float32 => Some(column.as_primitive::<Float32Type>().iter().flatten().map(f64::from).collect()),
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().iter().flatten().collect()),
        _ => None,
    };
    if let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty()) {
        let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = numbers.iter().sum();
        for (name, value) in [("sum", sum), ("min", least), ("max", greatest)] {
            if value.is_finite() {
                metrics.insert(name.into(), json!(value));
            }
        }
    }
    Value::Object(metrics)
}
