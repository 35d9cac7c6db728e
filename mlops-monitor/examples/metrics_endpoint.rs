//! Serves the metrics of two monitored models, as an application would.
//!
//! ```text
//! cargo run -p mlops-monitor --example metrics_endpoint -- 127.0.0.1:9464
//! ```
//!
//! Every scrape monitors one more window first. Prints its address once it listens; `/metrics` has the text formats,
//! `/otlp` the body for an OpenTelemetry collector, `/dashboard.json` the dashboard.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use mlops_core::{
    Clock as _, Error, ModelName, Result, SystemClock, Version,
    arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray},
};
use mlops_monitor::{
    Monitor, ProfileSettings, ReferenceProfile,
    export::{DASHBOARD, EstimateKind, MonitorMetrics, OtlpResource, PerformanceEstimate, TextFormat},
};

/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

fn main() -> ExitCode {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    match serve(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

fn serve(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).map_err(|error| {
        Error::unavailable(format!("address {address} cannot be listened on: {error}")).with_source(error)
    })?;
    let shown = listener.local_addr().map_or_else(|_| address.to_owned(), |address| address.to_string());
    println!("http://{shown}/metrics");
    let models = Models::new()?;
    for (window, stream) in listener.incoming().enumerate() {
        let answered = stream.map_err(|error| error.to_string()).and_then(|stream| models.answer(stream, window));
        if let Err(error) = answered {
            eprintln!("request failed: {error}");
        }
    }
    Ok(())
}

struct Models {
    clock: SystemClock,
    metrics: MonitorMetrics,
    monitors: Vec<(ModelName, Version, Monitor)>,
}

impl Models {
    fn new() -> Result<Self> {
        let clock = SystemClock::new();
        let mut monitors = Vec::new();
        for (name, version) in [("income", 3), ("price", 12)] {
            let profile = ReferenceProfile::from_batch(&window(0.0)?, &ProfileSettings::default())?;
            monitors.push((ModelName::new(name)?, Version(version), Monitor::builder(profile).build()?));
        }
        Ok(Self { clock, metrics: MonitorMetrics::builder(clock).build()?, monitors })
    }

    /// Monitors window number `window`; the second model drifts further and further.
    fn observe(&self, window_number: usize) -> Result<()> {
        let far = f64::from(u16::try_from(window_number).unwrap_or(u16::MAX));
        for ((model, version, monitor), shift) in self.monitors.iter().zip([0.0, 5.0 * far]) {
            let begin = self.clock.monotonic();
            let report = monitor.observe(&window(shift)?, self.clock.now());
            let duration = self.clock.monotonic().saturating_sub(begin);
            self.metrics.record_drift(model, *version, &report, duration);
            self.metrics.record_quality(model, *version, ("between 0 and 100", "warning"), window_number as u64);
            let value = 0.9 - shift / 1e4;
            for (kind, half) in [(EstimateKind::Cbpe, 0.02), (EstimateKind::Realised, 0.01)] {
                let interval = Some((value - half, value + half));
                let estimate = PerformanceEstimate { metric: "roc_auc", kind, value, interval };
                self.metrics.record_performance(model, *version, &estimate)?;
            }
        }
        Ok(())
    }

    fn answer(&self, mut stream: TcpStream, window_number: usize) -> Result<(), String> {
        let request = read_request(&mut stream)?;
        let accept = request.lines().find_map(|line| {
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("accept")).map(|(_, value)| value.trim())
        });
        let format = TextFormat::negotiate(accept);
        let (status, kind, body) = match request.split(' ').nth(1) {
            Some("/metrics") => {
                self.observe(window_number).map_err(|error| error.chain())?;
                ("200 OK", format.content_type(), self.metrics.render(format))
            }
            Some("/otlp") => {
                let resource = OtlpResource::new("metrics_endpoint", env!("CARGO_PKG_VERSION"));
                ("200 OK", "application/json", self.metrics.to_otlp(&resource).to_string())
            }
            Some("/dashboard.json") => ("200 OK", "application/json", DASHBOARD.to_owned()),
            _ => ("404 Not Found", "text/plain", "there are /metrics, /otlp and /dashboard.json\n".to_owned()),
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close");
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).map_err(|error| error.to_string())
    }
}

/// Up to the empty line that ends the head of a request.
fn read_request(stream: &mut TcpStream) -> Result<String, String> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(|error| error.to_string())?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while request.len() < REQUEST_BYTES_MAX && !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => request.extend(buffer.iter().take(read)),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}

/// A window of 400 rows; one column has a name that needs escaping.
fn window(shift: f64) -> Result<RecordBatch> {
    let numbers = |shift: f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values((0..400).map(|row| f64::from(row * 37 % 101) + shift)))
    };
    let levels: ArrayRef =
        Arc::new(StringArray::from_iter_values(["web", "app", "phone"].into_iter().cycle().take(400)));
    let columns = [("age", numbers(shift)), ("a \"quoted\\name\"\nof two lines", numbers(0.0)), ("channel", levels)];
    Ok(RecordBatch::try_from_iter(columns)?)
}
