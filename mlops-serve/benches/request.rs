//! One request after the other on one connection, on one thread: for counting the instructions that an answer takes.
//!
//! ```text
//! cargo build -p mlops-serve --bench request
//! for COUNT in 1000 3000; do
//!   valgrind --tool=callgrind target/debug/deps/request-* --kind binary --count $COUNT
//! done
//! ```
//!
//! The difference of two counts, divided by that of the requests, is an answer with everything around it: HTTP, checks,
//! metrics, and the hand-over of the prediction to a log. `--kind echo` gives the body back by a bare axum handler.
//! With `--listen` nobody asks: it prints its address and answers whatever load program comes, on a thread for each core.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    panic::catch_unwind,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, routing::post};
use mlops_core::{
    DataType, Delivery, Model, PredictionBatch, PredictionSink, PrometheusMeter, Result, Signature, TensorSpec,
    Version,
    arrow_array::{ArrayRef, Float32Array, RecordBatch, cast::AsArray, types::Float32Type},
};
use mlops_serve::{ClosureModel, ModelRepository, Server};
use tokio::{net::TcpListener, runtime::Builder};

/// Numbers in the one row of a request.
const WIDTH: usize = 30;

/// Copies what it is given, as the log of predictions does, and forgets it now and then.
#[derive(Debug, Default)]
struct Log(Mutex<(String, Vec<f32>)>);

/// Predictions that are kept at most.
const KEPT_MAX: usize = 1024;

#[async_trait::async_trait]
impl PredictionSink for Log {
    fn append(&self, batch: PredictionBatch) -> Delivery {
        let mut kept = self.0.lock().unwrap();
        let (ids, values) = &mut *kept;
        if values.len() >= KEPT_MAX * (WIDTH + 1) {
            ids.clear();
            values.clear();
        }
        ids.push_str(&batch.request_id);
        values.extend_from_slice(row_values(&batch.inputs));
        values.extend_from_slice(batch.outputs.column(0).as_primitive::<Float32Type>().values());
        Delivery::Accepted
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn dropped(&self) -> u64 {
        0
    }
}

/// The numbers of all rows.
fn row_values(inputs: &RecordBatch) -> &[f32] {
    inputs.column(0).as_fixed_size_list().values().as_primitive::<Float32Type>().values()
}

/// The sum of a row.
fn model() -> Arc<dyn Model> {
    let inputs = [TensorSpec::tensor("X", DataType::Float32, [WIDTH])];
    let signature = Signature::new(inputs, [TensorSpec::column("Y", DataType::Float32)]).unwrap();
    let schema = signature.output_schema();
    Arc::new(ClosureModel::new(signature, move |batch: &RecordBatch| {
        let sums: Float32Array = row_values(batch).chunks(WIDTH).map(|row| Some(row.iter().sum::<f32>())).collect();
        Ok(RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(sums) as ArrayRef])?)
    }))
}

fn server() -> Server {
    let repository = Arc::new(ModelRepository::new());
    repository.register(&"sum".parse().unwrap(), Version(1), model()).unwrap();
    let builder = Server::builder(repository).with_prometheus(Arc::new(PrometheusMeter::default()));
    builder.with_predictions(Arc::new(Log::default())).build().unwrap()
}

/// The bytes of a request with one row.
fn request(kind: &str) -> Vec<u8> {
    let row: Vec<f32> = (0..WIDTH).map(|index| index as f32 + 0.125).collect();
    let tensor = |rest: String| format!(r#"{{"inputs":[{{"name":"X","shape":[1,{WIDTH}],"datatype":"FP32",{rest}}}]"#);
    let (body, head) = if kind == "binary" {
        let parameters = format!(r#""parameters":{{"binary_data_size":{}}}"#, 4 * WIDTH);
        let json = tensor(parameters) + r#","parameters":{"binary_data_output":true}}"#;
        (json.clone(), format!("inference-header-content-length: {}\r\n", json.len()))
    } else {
        (tensor(format!(r#""data":{row:?}"#)) + "}", String::new())
    };
    let mut body = body.into_bytes();
    if kind == "binary" {
        body.extend(row.iter().flat_map(|number| number.to_le_bytes()));
    }
    let path = if kind == "echo" { "/" } else { "/v2/models/sum/infer" };
    let head = format!("POST {path} HTTP/1.1\r\nhost: here\r\ncontent-length: {}\r\n{head}\r\n", body.len());
    [head.into_bytes(), body].concat()
}

/// How many bytes the answer has that begins so; none before its head has come.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).unwrap().to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:")).expect("an answer tells its length");
    Some(head + body.trim().parse::<usize>().unwrap())
}

/// Sends, and reads each answer to its end.
fn ask(address: SocketAddr, request: &[u8], count: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = [0; 4096];
    for _ in 0..count {
        stream.write_all(request).unwrap();
        let mut come = 0;
        while length(&answer[..come]).is_none_or(|length| come < length) {
            let read = stream.read(&mut answer[come..]).unwrap();
            assert!(read > 0, "an answer broke off, or is too long: {}", String::from_utf8_lossy(&answer[..come]));
            come += read;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..come]));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).cloned()
    };
    let kind = value("--kind").unwrap_or_else(|| "binary".to_owned());
    let count = value("--count").map_or(1000, |count| count.parse().unwrap());
    let listens = arguments.iter().any(|argument| argument == "--listen");
    let mut runtime = if listens { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    runtime.enable_all().build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, request) = (listener.local_addr().unwrap(), request(&kind));
        if listens {
            println!("http://{address}");
        } else {
            std::thread::spawn(move || {
                // The server would go on without a client.
                let asked = catch_unwind(|| ask(address, &request, count));
                std::process::exit(i32::from(asked.is_err()));
            });
        }
        if kind == "echo" {
            let router = Router::new().route("/", post(|body: Bytes| async move { body }));
            axum::serve(listener, router).await.unwrap();
        } else {
            server().serve(listener, std::future::pending()).await.unwrap();
        }
    });
}
