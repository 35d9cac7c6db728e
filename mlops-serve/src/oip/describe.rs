//! What the server says of a version beyond its tensors: statistics and configuration, in Triton's words.
//!
//! Plain values; REST writes them as JSON, gRPC copies them into its messages.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use mlops_core::ModelName;
use serde::Serialize;

use crate::{
    repository::{Batching, Duty, LoadedVersion},
    server::Wanted,
    tensor::{TensorInfo, TensorType},
};

/// A count and nanoseconds in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Spent {
    pub(crate) count: u64,
    pub(crate) ns: u64,
}

impl From<&Duty> for Spent {
    fn from(duty: &Duty) -> Self {
        let (count, ns) = duty.read();
        Self { count, ns }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Phases {
    pub(crate) success: Spent,
    pub(crate) fail: Spent,
    pub(crate) queue: Spent,
    pub(crate) compute_input: Spent,
    pub(crate) compute_infer: Spent,
    pub(crate) compute_output: Spent,
    pub(crate) cache_hit: Spent,
    pub(crate) cache_miss: Spent,
}

#[derive(Debug, Serialize)]
pub(crate) struct BatchSize {
    pub(crate) batch_size: u64,
    pub(crate) compute_input: Spent,
    pub(crate) compute_infer: Spent,
    pub(crate) compute_output: Spent,
}

/// What a version did; `inference_count` counts rows, `execution_count` runs of the model.
#[derive(Debug, Serialize)]
pub(crate) struct Statistics {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Milliseconds since the epoch; 0 before the first.
    pub(crate) last_inference: u64,
    pub(crate) inference_count: u64,
    pub(crate) execution_count: u64,
    pub(crate) inference_stats: Phases,
    pub(crate) response_stats: BTreeMap<String, Phases>,
    pub(crate) batch_stats: Vec<BatchSize>,
    /// Runs of the model by the reason why no more requests shared them; our own addition.
    pub(crate) batch_closed: BTreeMap<&'static str, u64>,
}

impl Statistics {
    pub(crate) fn of(name: &str, version: &LoadedVersion) -> Self {
        let counters = &version.counters;
        let none = Spent { count: 0, ns: 0 };
        let mut sizes: BTreeMap<u64, Spent> = BTreeMap::new();
        let mut batch_closed = BTreeMap::new();
        for ((rows, closed_by), duty) in counters.batches() {
            *batch_closed.entry(closed_by.as_str()).or_insert(0) += duty.count;
            let spent = sizes.entry(rows).or_insert(none);
            spent.count += duty.count;
            spent.ns = spent.ns.saturating_add(duty.nanos);
        }
        let execution_count = sizes.values().map(|spent| spent.count).sum();
        let batch = |(batch_size, compute_infer)| BatchSize {
            batch_size,
            compute_input: Spent { ns: 0, ..compute_infer },
            compute_infer,
            compute_output: Spent { ns: 0, ..compute_infer },
        };
        Self {
            name: name.to_owned(),
            version: version.version.to_string(),
            last_inference: counters.last_ms.load(Ordering::Relaxed),
            inference_count: counters.rows.load(Ordering::Relaxed),
            execution_count,
            inference_stats: Phases {
                success: (&counters.success).into(),
                fail: (&counters.fail).into(),
                queue: (&counters.queue).into(),
                compute_input: (&counters.compute_input).into(),
                compute_infer: (&counters.compute_infer).into(),
                compute_output: (&counters.compute_output).into(),
                cache_hit: none,
                cache_miss: none,
            },
            response_stats: BTreeMap::new(),
            batch_stats: sizes.into_iter().map(batch).collect(),
            batch_closed,
        }
    }
}

/// One tensor of a model configuration.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigTensor {
    pub(crate) name: String,
    pub(crate) data_type: String,
    pub(crate) dims: Vec<i64>,
}

/// The parts of Triton's model configuration that have a meaning here.
#[derive(Debug, Serialize)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) platform: String,
    pub(crate) backend: String,
    /// Most rows that share a prediction; 0 for a model whose first dimension is not the rows.
    pub(crate) max_batch_size: i32,
    pub(crate) input: Vec<ConfigTensor>,
    pub(crate) output: Vec<ConfigTensor>,
}

impl Config {
    pub(crate) fn of(wanted: &Wanted) -> Self {
        let batching = wanted.entry.batching(&wanted.state);
        Self::of_version(&wanted.entry.config.name, batching, &wanted.described_by)
    }

    /// Of a version, in service or not.
    pub(super) fn of_version(name: &ModelName, Batching { rows_max, .. }: Batching, version: &LoadedVersion) -> Self {
        let batches = version.batches();
        let tensors = |infos: &[TensorInfo]| infos.iter().map(|info| tensor(info, batches)).collect();
        Self {
            name: name.to_string(),
            platform: version.platform.clone(),
            backend: "mlops".to_owned(),
            max_batch_size: if batches { i32::try_from(rows_max).unwrap_or(i32::MAX) } else { 0 },
            input: tensors(&version.inputs),
            output: tensors(&version.outputs),
        }
    }
}

fn tensor(info: &TensorInfo, batches: bool) -> ConfigTensor {
    let data_type = match info.data_type {
        TensorType::Bytes => "TYPE_STRING".to_owned(),
        other => format!("TYPE_{other}"),
    };
    let dims = info.shape.iter().skip(usize::from(batches)).copied().collect();
    ConfigTensor { name: info.name.clone(), data_type, dims }
}
