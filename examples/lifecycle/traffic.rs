//! Live traffic: rows of the stream as Open Inference requests over real HTTP.
//!
//! Rows go out in waves. Within a wave requests are concurrent; a row that shares a key with an
//! earlier row of the wave starts the next one, because its features depend on that row's event.

use std::{collections::HashSet, ops::Range, sync::Arc, time::Duration};

use arrow_array::{
    Array as _, RecordBatch,
    cast::AsArray as _,
    types::{Float64Type, Int64Type},
};
use arrow_schema::DataType;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mlops::core::{Clock, Error, ModelName, Result, ResultExt as _, SystemClock};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    replay::request_id,
    stream::{EVENT_TIMESTAMP, Stream},
};

/// Name of the input that carries the time at which features are read.
pub const AS_OF: &str = "as_of";
/// Most rows in one wave.
pub const WAVE_ROWS_MAX: usize = 32;
/// Requests in flight at once.
const CONCURRENCY: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts at one row before the run gives up. A failed attempt is counted, never hidden.
const ATTEMPTS_MAX: u64 = 3;

/// One answered row.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Version that answered.
    pub version: u64,
    /// Seconds from request to answer, as the client saw it.
    pub seconds: f64,
    /// Attempts that failed before it.
    pub failed: u64,
}

/// Sends rows of a stream to a model server.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    inputs: Vec<String>,
    clock: SystemClock,
}

impl Client {
    /// Sends `inputs` of each row to `model` at `address`.
    pub fn new(address: std::net::SocketAddr, model: &ModelName, inputs: Vec<String>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| Error::internal("HTTP client cannot be built").with_source(error))?;
        Ok(Self { http, url: format!("http://{address}/v2/models/{model}/infer"), inputs, clock: SystemClock::new() })
    }

    /// Sends the rows of one wave; answers come back in row order.
    pub async fn send(&self, stream: &Stream, campaign: u64, rows: Range<usize>) -> Result<Vec<Answer>> {
        let first = rows.start;
        let requests = rows.map(|row| self.send_row(stream, campaign, row));
        let answers = stream::iter(requests).buffered(CONCURRENCY).try_collect().await;
        answers.context(format!("sending rows from {first}"))
    }

    async fn send_row(&self, stream: &Stream, campaign: u64, row: usize) -> Result<Answer> {
        let body = self.request(&stream.batch, &request_id(campaign, row), row)?;
        let mut failed = 0;
        loop {
            let begin = self.clock.monotonic();
            match self.attempt(&body).await {
                Ok(version) => {
                    let seconds = (self.clock.monotonic() - begin).as_secs_f64();
                    return Ok(Answer { version, seconds, failed });
                }
                Err(error) if failed + 1 < ATTEMPTS_MAX => {
                    failed += 1;
                    eprintln!("row {row}: {error}; trying again");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, body: &Value) -> Result<u64> {
        let failed = |error: reqwest::Error| Error::unavailable(format!("request failed: {error}")).with_source(error);
        let response = self.http.post(&self.url).json(body).send().await.map_err(failed)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(failed)?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Err(Error::unavailable(format!("server answered {status}: {text}")));
        }
        parse_answer(&bytes)
    }

    /// The request for one row. Features are read as of just before the event, as they were for
    /// training.
    fn request(&self, batch: &RecordBatch, id: &str, row: usize) -> Result<Value> {
        let mut inputs = Vec::with_capacity(self.inputs.len() + 1);
        for name in &self.inputs {
            let column = &batch[name.as_str()];
            if column.is_null(row) {
                // Open Inference has no null; a nullable input that is left out is one.
                continue;
            }
            let (datatype, value) = match column.data_type() {
                DataType::Int64 => ("INT64", json!(column.as_primitive::<Int64Type>().value(row))),
                DataType::Float64 => ("FP64", json!(column.as_primitive::<Float64Type>().value(row))),
                _ => ("BYTES", json!(column.as_string::<i32>().value(row))),
            };
            inputs.push(tensor(name, datatype, value));
        }
        let time = batch[EVENT_TIMESTAMP].as_primitive::<arrow_array::types::TimestampMicrosecondType>().value(row);
        inputs.push(tensor(AS_OF, "INT64", json!(time - 1)));
        Ok(json!({ "id": id, "inputs": inputs }))
    }
}

fn tensor(name: &str, datatype: &str, value: Value) -> Value {
    let mut tensor = Map::new();
    tensor.insert("name".into(), json!(name));
    tensor.insert("shape".into(), json!([1]));
    tensor.insert("datatype".into(), json!(datatype));
    tensor.insert("data".into(), Value::Array(vec![value]));
    Value::Object(tensor)
}

#[derive(Deserialize)]
struct InferResponse {
    model_version: String,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    data: Vec<f64>,
}

/// The version that answered; what it answered is in the prediction log.
fn parse_answer(bytes: &[u8]) -> Result<u64> {
    let bad = |what: String| Error::internal(format!("the server's answer is not understood: {what}"));
    let response: InferResponse = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    if response.outputs.first().is_none_or(|output| output.data.is_empty()) {
        return Err(bad("no output".to_owned()));
    }
    response.model_version.parse().map_err(|_| bad(format!("version {:?}", response.model_version)))
}

/// Cuts rows into waves.
pub fn waves(stream: &Stream, rows: Range<usize>) -> Vec<Range<usize>> {
    if stream.entities.is_empty() {
        // Every row's features depend on the row before.
        return rows.map(|row| row..row + 1).collect();
    }
    let keys: Vec<Vec<Arc<str>>> = stream.entities.iter().map(|entity| key_texts(&stream.batch, entity)).collect();
    let mut waves = Vec::new();
    let mut seen: HashSet<(usize, Arc<str>)> = HashSet::new();
    let mut start = rows.start;
    for row in rows.clone() {
        let clash = keys.iter().enumerate().any(|(entity, texts)| seen.contains(&(entity, Arc::clone(&texts[row]))));
        if clash || row - start >= WAVE_ROWS_MAX {
            waves.push(start..row);
            seen.clear();
            start = row;
        }
        seen.extend(keys.iter().enumerate().map(|(entity, texts)| (entity, Arc::clone(&texts[row]))));
    }
    if start < rows.end {
        waves.push(start..rows.end);
    }
    waves
}

fn key_texts(batch: &RecordBatch, column: &str) -> Vec<Arc<str>> {
    let column = &batch[column];
    let text = |row| -> Arc<str> {
        match column.data_type() {
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string().into(),
            _ => column.as_string::<i32>().value(row).into(),
        }
    };
    (0..column.len()).map(text).collect()
}
