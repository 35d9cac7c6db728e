//! Where the samples of a case come from: a Parquet file, or an integer recipe that every language
//! reproduces bit for bit.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use arrow_array::{cast::AsArray as _, types::Float64Type};
use mlops_core::{Error, Result, ResultExt as _, testing::SplitMix64};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde_json::Value;

/// Longest sample that a recipe may ask for.
const ROWS_MAX: u64 = 100_000_000;

/// The stored samples, by case and side.
pub(crate) struct Inputs {
    directory: PathBuf,
    stored: HashMap<(String, String), Vec<f64>>,
}

#[derive(Debug, Deserialize)]
struct Recipe {
    #[serde(rename = "gen")]
    kind: String,
    n: u64,
    seed: u64,
    #[serde(default)]
    shift: f64,
    #[serde(default = "one")]
    scale: f64,
    #[serde(default)]
    k: u64,
}

fn one() -> f64 {
    1.0
}

impl Inputs {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let path = directory.join("inputs.parquet");
        let stored = read(&path).context(format!("{}", path.display()))?;
        Ok(Self { directory: directory.to_owned(), stored })
    }

    /// The cases of a file, each a JSON object.
    pub(crate) fn cases(&self, file: &str) -> Result<Vec<Value>> {
        let path = self.directory.join(file);
        let unreadable = |error: &dyn std::fmt::Display| {
            Error::invalid_argument(format!("{} is not a list of cases: {error}", path.display()))
        };
        let text = fs::read(&path).map_err(|error| unreadable(&error))?;
        serde_json::from_slice(&text).map_err(|error| unreadable(&error))
    }

    /// The values of one side of a case.
    pub(crate) fn sample(&self, case: &Value, side: &str) -> Result<Vec<f64>> {
        let name = case.get("name").and_then(Value::as_str).unwrap_or_default();
        let missing = || Error::invalid_argument(format!("case \"{name}\" has no input \"{side}\""));
        match case.get(side) {
            Some(Value::String(_)) => self.stored.get(&(name.to_owned(), side.to_owned())).cloned().ok_or_else(missing),
            Some(recipe @ Value::Object(_)) => {
                let recipe: Recipe = serde_json::from_value(recipe.clone())
                    .map_err(|error| Error::invalid_argument(format!("case \"{name}\": {error}")))?;
                recipe.sample()
            }
            _ => Err(missing()),
        }
    }
}

fn read(path: &Path) -> Result<HashMap<(String, String), Vec<f64>>> {
    let file = File::open(path).map_err(|error| Error::invalid_argument(format!("cannot be read: {error}")))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(ParquetRecordBatchReaderBuilder::build);
    let reader = reader.map_err(|error| Error::invalid_argument(format!("is not Parquet: {error}")))?;
    let mut stored = HashMap::new();
    for batch in reader {
        let batch = batch?;
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| Error::invalid_argument(format!("has no column \"{name}\"")))
        };
        let (cases, sides, values) = (column("case")?, column("side")?, column("values")?);
        for row in 0..batch.num_rows() {
            let values = values.as_list::<i32>().value(row);
            let values = values.as_primitive::<Float64Type>().values().to_vec();
            let text = |array: &arrow_array::ArrayRef| array.as_string::<i32>().value(row).to_owned();
            stored.insert((text(cases), text(sides)), values);
        }
    }
    Ok(stored)
}

impl Recipe {
    fn sample(&self) -> Result<Vec<f64>> {
        if self.n > ROWS_MAX {
            return Err(Error::invalid_argument(format!("{} values are asked for, at most {ROWS_MAX}", self.n)));
        }
        let value = |i: u64| -> Result<f64> {
            Ok(match self.kind.as_str() {
                "uniform" => self.unit(i),
                "irwin4" => {
                    let at = |j| self.unit(i.wrapping_mul(4).wrapping_add(j));
                    (((at(0) + at(1)) + at(2)) + at(3)) - 2.0
                }
                "grid" => (self.unit(i) * self.k as f64).floor(),
                "skew" => {
                    let unit = self.unit(i);
                    unit * unit * unit
                }
                other => return Err(Error::invalid_argument(format!("recipe \"{other}\" is not known"))),
            })
        };
        (0..self.n).map(|i| value(i).map(|value| self.shift + self.scale * value)).collect()
    }

    /// The i-th number of the seed's stream, uniform on [0, 1).
    fn unit(&self, i: u64) -> f64 {
        SplitMix64::new(self.seed).uniform(i)
    }
}

/// The values of segments, one after the other.
pub(crate) fn segments(list: &[Value]) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for segment in list {
        let recipe: Recipe = serde_json::from_value(segment.clone())
            .map_err(|error| Error::invalid_argument(format!("a segment is no recipe: {error}")))?;
        values.extend(recipe.sample()?);
    }
    Ok(values)
}

/// Ones and zeros: of each triple (n, p, seed) n values that are one with probability p.
pub(crate) fn bernoulli(list: &[Value]) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for segment in list {
        let (n, p, seed): (u64, f64, u64) = serde_json::from_value(segment.clone())
            .map_err(|error| Error::invalid_argument(format!("a segment is no (n, p, seed): {error}")))?;
        if n > ROWS_MAX {
            return Err(Error::invalid_argument(format!("{n} values are asked for, at most {ROWS_MAX}")));
        }
        let stream = SplitMix64::new(seed);
        values.extend((0..n).map(|i| f64::from(u8::from(stream.uniform(i) < p))));
    }
    Ok(values)
}
