//! Everything that is counted, as one page for Prometheus: our families, and Triton's for its dashboards.

use std::sync::{Arc, atomic::Ordering};

use mlops_core::{Exposition, MetricKind};

use super::{Kinds as _, red::Red};
use crate::{
    repository::{Counters, LoadedVersion},
    rollout::Variant,
    server::Server,
};

/// A version with the names by which it is labelled.
struct Subject {
    model: String,
    version: String,
    loaded: Arc<LoadedVersion>,
}

impl Subject {
    fn labels(&self) -> [(&'static str, &str); 2] {
        [("model", self.model.as_str()), ("version", self.version.as_str())]
    }

    fn counters(&self) -> &Counters {
        &self.loaded.counters
    }
}

/// The page. It holds the versions that are loaded; what others counted is gone with them.
pub(crate) fn scrape(server: &Server) -> String {
    let subjects = subjects(server);
    let mut text = Exposition::default();
    write_server(server, &mut text);
    write_requests(&subjects, &mut text);
    write_batches(&subjects, &mut text);
    if server.inner.settings.observe.triton_metrics {
        write_triton(server, &subjects, &mut text);
    }
    if let Some(meter) = &server.inner.prometheus {
        meter.expose(&mut text);
    }
    text.finish()
}

fn subjects(server: &Server) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for entry in server.inner.repository.entries() {
        let model = entry.config.name.to_string();
        let loaded = entry.state().versions.values().cloned().collect::<Vec<_>>();
        subjects.extend(loaded.into_iter().map(|loaded| {
            let version = loaded.version.to_string();
            Subject { model: model.clone(), version, loaded }
        }));
    }
    subjects
}

fn write_server(server: &Server, text: &mut Exposition) {
    let inner = &server.inner;
    let (entries, rows) = inner.executor.waiting();
    let gauges = [
        (
            "mlops_serve_ready",
            "Whether every model is in service and no shutdown has begun.",
            f64::from(u8::from(server.is_ready())),
        ),
        ("mlops_serve_queue_entries", "Requests and jobs that wait for a worker.", entries as f64),
        ("mlops_serve_queue_rows", "Rows that wait for a worker.", rows as f64),
        ("mlops_serve_http_in_flight", "Requests that are being answered.", inner.traffic.in_flight() as f64),
    ];
    for (name, help, value) in gauges {
        text.family(name, MetricKind::Gauge, help);
        text.sample(&[], value);
    }
    text.family("mlops_serve_http_responses_total", MetricKind::Counter, "Answers by class of the status.");
    for (class, count) in inner.traffic.classes().iter() {
        text.sample(&[("class", class.as_str())], count as f64);
    }
    text.family(
        "mlops_serve_http_refusals_total",
        MetricKind::Counter,
        "Requests refused before a model was asked, by reason.",
    );
    for (reason, count) in inner.traffic.refusals().iter() {
        text.sample(&[("reason", reason.as_str())], count as f64);
    }
}

fn write_requests(subjects: &[Subject], text: &mut Exposition) {
    text.family("mlops_serve_requests_total", MetricKind::Counter, "Requests to a model by variant and status.");
    for (subject, variant, red) in by_variant(subjects) {
        for (code, count) in red.codes() {
            let [model, version] = subject.labels();
            let labels = [model, version, ("variant", variant.as_str()), ("code", code.as_str())];
            text.sample(&labels, count as f64);
        }
    }
    text.family("mlops_serve_request_seconds", MetricKind::Histogram, "Time from the request to the answer.");
    for (subject, variant, red) in by_variant(subjects) {
        let (buckets, sum) = red.seconds.read();
        let used = buckets.last().is_some_and(|(_, count)| *count > 0);
        if used {
            let [model, version] = subject.labels();
            text.histogram(&[model, version, ("variant", variant.as_str())], &buckets, sum);
        }
    }
    text.family(
        "mlops_serve_rejections_total",
        MetricKind::Counter,
        "Predictions that were asked for and not made, by reason.",
    );
    for subject in subjects {
        let [model, version] = subject.labels();
        for (reason, count) in subject.counters().rejections() {
            text.sample(&[model, version, ("reason", reason.as_str())], count as f64);
        }
    }
}

fn by_variant(subjects: &[Subject]) -> impl Iterator<Item = (&Subject, Variant, &Red)> {
    subjects.iter().flat_map(|subject| subject.counters().reds().map(move |(variant, red)| (subject, variant, red)))
}

fn write_batches(subjects: &[Subject], text: &mut Exposition) {
    text.family(
        "mlops_serve_batches_total",
        MetricKind::Counter,
        "Runs of a model by the reason why no more requests shared them.",
    );
    for subject in subjects {
        let [model, version] = subject.labels();
        for (closed_by, count) in subject.counters().closed() {
            text.sample(&[model, version, ("closed_by", closed_by.as_str())], count as f64);
        }
    }
    text.family("mlops_serve_batch_rows", MetricKind::Histogram, "Rows of a run of a model.");
    for subject in subjects {
        let (buckets, sum) = subject.counters().batch_rows();
        text.histogram(&subject.labels(), &buckets, sum);
    }
}

/// Triton's names, types and units (microseconds), from its metrics documentation.
fn write_triton(server: &Server, subjects: &[Subject], text: &mut Exposition) {
    type Read = fn(&Counters) -> f64;
    const fn micros(duty: (u64, u64)) -> f64 {
        (duty.1 / 1_000) as f64
    }
    let counters: [(&'static str, &'static str, Read); 8] = [
        ("nv_inference_request_success", "Successful requests.", |all| all.success.read().0 as f64),
        ("nv_inference_count", "Inferences performed: rows.", |all| all.rows.load(Ordering::Relaxed) as f64),
        ("nv_inference_exec_count", "Runs of the model.", |all| {
            all.closed().map(|(_, count)| count).fold(0_u64, u64::saturating_add) as f64
        }),
        ("nv_inference_request_duration_us", "Time of requests.", |all| micros(all.success.read())),
        ("nv_inference_queue_duration_us", "Time in the queue.", |all| micros(all.queue.read())),
        ("nv_inference_compute_input_duration_us", "Time on inputs.", |all| micros(all.compute_input.read())),
        ("nv_inference_compute_infer_duration_us", "Time in the model.", |all| micros(all.compute_infer.read())),
        ("nv_inference_compute_output_duration_us", "Time on outputs.", |all| micros(all.compute_output.read())),
    ];
    for (name, help, read) in counters {
        text.family(name, MetricKind::Counter, help);
        for subject in subjects {
            text.sample(&subject.labels(), read(subject.counters()));
        }
    }
    text.family("nv_inference_request_failure", MetricKind::Counter, "Failed requests by reason.");
    for subject in subjects {
        let [model, version] = subject.labels();
        for (reason, count) in subject.counters().failures() {
            text.sample(&[model, version, ("reason", reason.as_str())], count as f64);
        }
    }
    text.family("nv_inference_pending_request_count", MetricKind::Gauge, "Requests that wait for the model.");
    for subject in subjects {
        let waiting = server.inner.executor.waiting_for(&subject.loaded);
        text.sample(&subject.labels(), waiting as f64);
    }
}
