//! The data sheet of a dataset: Croissant 1.0, the JSON-LD vocabulary of MLCommons for datasets.

use std::collections::BTreeMap;

use mlops_core::{DataType, Digest, Error, Result, TensorSpec, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::tracking::LoggedDataset;

/// One file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its name with the extension.
    pub name: String,
    /// Where its bytes are: a URL, or a path relative to the data sheet.
    pub url: String,
    /// Media type, such as `application/vnd.apache.parquet` or `text/csv`.
    pub media_type: String,
    /// Digest of its bytes.
    pub sha256: Digest,
    /// Size in bytes.
    pub bytes: u64,
}

/// What is told about a dataset.
///
/// ```
/// use mlops_core::{DataType, Digest, TensorSpec};
/// use mlops_registry::documents::{DataFile, DataSheet};
///
/// let file = DataFile {
///     name: "payments.parquet".into(),
///     url: "payments.parquet".into(),
///     media_type: "application/vnd.apache.parquet".into(),
///     sha256: Digest::of(b"..."),
///     bytes: 3,
/// };
/// let sheet = DataSheet::new("payments", "Card payments of one year.")
///     .with_license("CC-BY-4.0")
///     .with_file(file)
///     .with_field(TensorSpec::column("amount", DataType::Float64), "Amount in euros.");
/// assert_eq!(sheet.to_croissant()["recordSet"][0]["field"][0]["dataType"], "sc:Float");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSheet {
    /// Name of the dataset.
    pub name: String,
    /// What it holds and how it came about.
    pub description: String,
    /// Version, or digest of the contents.
    pub version: Option<String>,
    /// SPDX identifier or URL.
    pub license: Option<String>,
    /// Where to read about it.
    pub url: Option<String>,
    /// Who made it.
    pub creators: Vec<String>,
    /// How to cite it.
    pub cite_as: Option<String>,
    /// When it was published.
    pub published: Option<Timestamp>,
    /// Its files; the columns below are those of the first.
    pub files: Vec<DataFile>,
    /// Its columns, each with a description that may be empty.
    pub fields: Vec<(TensorSpec, String)>,
}

impl DataSheet {
    /// A sheet without files and columns yet.
    #[must_use]
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { name: name.into(), description: description.into(), ..Self::default() }
    }

    /// The sheet of a dataset that a run has logged: name, digest and, where its schema is one of MLflow's column lists,
    /// the columns.
    ///
    /// # Errors
    /// `InvalidArgument` when the schema is not JSON or names an unknown type.
    pub fn from_logged(dataset: &LoggedDataset) -> Result<Self> {
        let mut sheet = Self::new(&dataset.name, format!("Dataset {} from {}.", dataset.name, dataset.source_type));
        sheet.version = Some(dataset.digest.clone());
        if let Some(schema) = &dataset.schema {
            let schema: Value = serde_json::from_str(schema).map_err(|error| {
                Error::invalid_argument(format!("schema of dataset {:?} is not JSON: {error}", dataset.name))
                    .with_source(error)
            })?;
            for column in schema.get("mlflow_colspec").and_then(Value::as_array).into_iter().flatten() {
                if let (Some(name), Some(kind)) = (column["name"].as_str(), column["type"].as_str()) {
                    sheet = sheet.with_field(TensorSpec::column(name, DataType::from_mlflow(kind)?), "");
                }
            }
        }
        Ok(sheet)
    }

    /// Sets the license.
    #[must_use]
    pub fn with_license(mut self, license: impl Into<String>) -> Self {
        self.license = Some(license.into());
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn with_file(mut self, file: DataFile) -> Self {
        self.files.push(file);
        self
    }

    /// Adds a column.
    #[must_use]
    pub fn with_field(mut self, spec: TensorSpec, description: impl Into<String>) -> Self {
        self.fields.push((spec, description.into()));
        self
    }

    /// The sheet as Croissant JSON-LD.
    #[must_use]
    pub fn to_croissant(&self) -> Value {
        let mut sheet = Map::new();
        let mut set = |name: &str, value: Value| {
            let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !empty {
                sheet.insert(name.to_owned(), value);
            }
        };
        set("@context", context());
        set("@type", json!("sc:Dataset"));
        set("conformsTo", json!("http://mlcommons.org/croissant/1.0"));
        set("name", json!(self.name));
        set("description", json!(self.description));
        set("version", json!(self.version));
        set("license", json!(self.license));
        set("url", json!(self.url));
        set("citeAs", json!(self.cite_as));
        set("datePublished", json!(self.published.map(|time| time.to_string())));
        set("creator", self.creators.iter().map(|name| json!({ "@type": "sc:Person", "name": name })).collect());
        set("distribution", self.files.iter().map(distribution).collect());
        if !self.fields.is_empty() {
            let fields: Vec<Value> = self.fields.iter().map(|field| self.field(field)).collect();
            set(
                "recordSet",
                json!([{ "@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields }]),
            );
        }
        Value::Object(sheet)
    }

    fn field(&self, (spec, description): &(TensorSpec, String)) -> Value {
        let mut field = json!({
            "@type": "cr:Field",
            "@id": format!("records/{}", spec.name),
            "name": spec.name,
            "dataType": data_type(spec.data_type),
        });
        let Some(fields) = field.as_object_mut() else { return field };
        if !description.is_empty() {
            fields.insert("description".into(), json!(description));
        }
        if !spec.row_shape.is_empty() {
            fields.insert("repeated".into(), json!(true));
        }
        if let Some(file) = self.files.first() {
            let source = json!({ "fileObject": { "@id": file.name }, "extract": { "column": spec.name } });
            fields.insert("source".into(), source);
        }
        field
    }
}

fn distribution(file: &DataFile) -> Value {
    json!({
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.url,
        "contentSize": format!("{} B", file.bytes),
        "encodingFormat": file.media_type,
        "sha256": file.sha256.to_string(),
    })
}

fn data_type(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Bool => "sc:Boolean",
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "sc:Float",
        DataType::Timestamp => "sc:DateTime",
        DataType::String | DataType::Binary => "sc:Text",
        _ => "sc:Integer",
    }
}

/// The terms that the sheet uses, as the standard's appendix binds them.
fn context() -> Value {
    let mut context: BTreeMap<&str, Value> = [
        ("@language", json!("en")),
        ("@vocab", json!("https://schema.org/")),
        ("sc", json!("https://schema.org/")),
        ("cr", json!("http://mlcommons.org/croissant/")),
        ("dct", json!("http://purl.org/dc/terms/")),
        ("conformsTo", json!("dct:conformsTo")),
        ("dataType", json!({ "@id": "cr:dataType", "@type": "@vocab" })),
        ("data", json!({ "@id": "cr:data", "@type": "@json" })),
        ("examples", json!({ "@id": "cr:examples", "@type": "@json" })),
    ]
    .into();
    let plain = [
        ("citeAs", "cr:citeAs"),
        ("column", "cr:column"),
        ("extract", "cr:extract"),
        ("field", "cr:field"),
        ("fileObject", "cr:fileObject"),
        ("fileProperty", "cr:fileProperty"),
        ("fileSet", "cr:fileSet"),
        ("format", "cr:format"),
        ("includes", "cr:includes"),
        ("isLiveDataset", "cr:isLiveDataset"),
        ("jsonPath", "cr:jsonPath"),
        ("key", "cr:key"),
        ("md5", "cr:md5"),
        ("parentField", "cr:parentField"),
        ("path", "cr:path"),
        ("recordSet", "cr:recordSet"),
        ("references", "cr:references"),
        ("regex", "cr:regex"),
        ("repeated", "cr:repeated"),
        ("replace", "cr:replace"),
        ("separator", "cr:separator"),
        ("source", "cr:source"),
        ("subField", "cr:subField"),
        ("transform", "cr:transform"),
    ];
    context.extend(plain.map(|(term, iri)| (term, json!(iri))));
    json!(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_dataset_gives_its_columns() {
        let schema = r#"{"mlflow_colspec": [{"type": "double", "name": "amount", "required": true}, {"type": "datetime", "name": "at"}]}"#;
        let dataset = LoggedDataset {
            name: "p".into(),
            digest: "d1".into(),
            schema: Some(schema.into()),
            ..LoggedDataset::default()
        };
        let sheet = DataSheet::from_logged(&dataset).unwrap();
        let croissant = sheet.to_croissant();
        assert_eq!(croissant["version"], "d1");
        let types: Vec<&Value> =
            croissant["recordSet"][0]["field"].as_array().unwrap().iter().map(|field| &field["dataType"]).collect();
        assert_eq!(types, ["sc:Float", "sc:DateTime"]);
        let unknown = LoggedDataset {
            schema: Some(r#"{"mlflow_colspec": [{"type": "quaternion", "name": "q"}]}"#.into()),
            ..dataset.clone()
        };
        assert!(DataSheet::from_logged(&unknown).unwrap_err().message().contains("quaternion"));
        assert!(DataSheet::from_logged(&LoggedDataset { schema: Some("{".into()), ..dataset }).is_err());
    }

    #[test]
    fn columns_say_which_file_they_come_from() {
        let file = DataFile {
            name: "a.csv".into(),
            url: "a.csv".into(),
            media_type: "text/csv".into(),
            sha256: Digest::of(b"x"),
            bytes: 1,
        };
        let sheet = DataSheet::new("a", "b")
            .with_file(file)
            .with_field(TensorSpec::tensor("v", DataType::Float32, [3]), "a vector");
        let field = &sheet.to_croissant()["recordSet"][0]["field"][0];
        assert_eq!((&field["source"]["fileObject"]["@id"], &field["repeated"]), (&json!("a.csv"), &json!(true)));
    }
}
