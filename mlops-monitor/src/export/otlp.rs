//! The same metrics as the body of an OTLP/HTTP request in JSON (OTLP 1.x, `ExportMetricsServiceRequest`).
//!
//! Invariant: the JSON mapping of protocol buffers: 64-bit integers are strings, field names are lower camel case.
//! Counters and histograms are cumulative since the metrics were built.

use mlops_core::Timestamp;
use serde_json::{Value as Json, json};

use super::{
    families::{DURATION_BOUNDS, Family, Kind, Point, Value},
    metrics::MonitorMetrics,
};

/// Who sends metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpResource {
    /// `service.name`.
    pub service_name: String,
    /// `service.version`.
    pub service_version: String,
    /// Further attributes, such as `deployment.environment.name`; at most [`OtlpResource::ATTRIBUTES_MAX`] are sent.
    pub attributes: Vec<(String, String)>,
}

impl OtlpResource {
    /// Most further attributes.
    pub const ATTRIBUTES_MAX: usize = 64;

    /// A service without further attributes.
    #[must_use]
    pub fn new(service_name: impl Into<String>, service_version: impl Into<String>) -> Self {
        let (service_name, service_version) = (service_name.into(), service_version.into());
        Self { service_name, service_version, attributes: Vec::new() }
    }
}

impl MonitorMetrics {
    /// Everything as the JSON body of a request to `/v1/metrics` of an OpenTelemetry collector.
    ///
    /// ```
    /// use mlops_core::SystemClock;
    /// use mlops_monitor::export::{MonitorMetrics, OtlpResource};
    ///
    /// let metrics = MonitorMetrics::builder(SystemClock::new()).build()?;
    /// let body = metrics.to_otlp(&OtlpResource::new("rides", "1.4.0"));
    /// let scope = &body["resourceMetrics"][0]["scopeMetrics"][0];
    /// assert_eq!(scope["metrics"][0]["name"], "mlops.monitor.build");
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    #[must_use]
    pub fn to_otlp(&self, resource: &OtlpResource) -> Json {
        let interval = self.interval();
        let own = [("service.name", &resource.service_name), ("service.version", &resource.service_version)];
        let more = resource.attributes.iter().take(OtlpResource::ATTRIBUTES_MAX);
        let attributes: Vec<Json> = own
            .into_iter()
            .map(|(name, value)| attribute(name, value))
            .chain(more.map(|(name, value)| attribute(name, value)))
            .collect();
        let metrics: Vec<Json> =
            self.snapshot().iter().map(|(family, points)| metric(family, points, interval)).collect();
        let scope = json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
        json!({
            "resourceMetrics": [{
                "resource": {"attributes": attributes},
                "scopeMetrics": [{"scope": scope, "metrics": metrics}],
            }],
        })
    }
}

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

fn metric(family: &Family, points: &[Point], interval: (Timestamp, Timestamp)) -> Json {
    let points: Vec<Json> = points.iter().map(|point| data_point(point, family.kind, interval)).collect();
    let (field, data) = match family.kind {
        Kind::Gauge | Kind::Info => ("gauge", json!({"dataPoints": points})),
        Kind::Counter => {
            ("sum", json!({"aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points}))
        }
        Kind::Histogram => ("histogram", json!({"aggregationTemporality": CUMULATIVE, "dataPoints": points})),
    };
    json!({"name": family.dotted, "description": family.help, "unit": family.ucum, field: data})
}

fn data_point(point: &Point, kind: Kind, (start, now): (Timestamp, Timestamp)) -> Json {
    let attributes: Vec<Json> =
        point.labels.iter().map(|(name, value)| attribute(attribute_name(name, kind), value)).collect();
    let mut json = json!({"attributes": attributes, "timeUnixNano": nanos(now)});
    let Some(object) = json.as_object_mut() else { return json };
    let mut set = |name: &str, value: Json| drop(object.insert(name.to_owned(), value));
    match point.value {
        Value::Number(value) => set("asDouble", double(value)),
        Value::Count(count) => {
            set("startTimeUnixNano", nanos(start));
            set("asInt", json!(count.to_string()));
        }
        Value::Histogram(durations) => {
            set("startTimeUnixNano", nanos(start));
            set("count", json!(durations.count().to_string()));
            set("sum", double(durations.sum));
            set("bucketCounts", durations.buckets.iter().map(ToString::to_string).collect());
            set("explicitBounds", json!(DURATION_BOUNDS));
        }
    }
    json
}

fn attribute(name: &str, value: &str) -> Json {
    json!({"key": name, "value": {"stringValue": value}})
}

/// Labels under a namespace of their own.
fn attribute_name(label: &str, kind: Kind) -> &str {
    match label {
        "version" if kind == Kind::Info => "mlops.monitor.version",
        "model" => "mlops.model.name",
        "version" => "mlops.model.version",
        "feature" => "mlops.feature.name",
        "method" => "mlops.drift.method",
        "outcome" => "mlops.monitor.outcome",
        "rule" => "mlops.quality.rule",
        "severity" => "mlops.quality.severity",
        "metric" => "mlops.performance.metric",
        "kind" => "mlops.performance.kind",
        other => other,
    }
}

/// Doubles beyond the range of JSON are written as words.
fn double(value: f64) -> Json {
    match value {
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        value if value.is_nan() => json!("NaN"),
        value => json!(value),
    }
}

fn nanos(time: Timestamp) -> Json {
    let nanos = i128::from(time.as_micros()).saturating_mul(1_000);
    json!(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX).to_string())
}
