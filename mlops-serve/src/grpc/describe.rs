//! Health, metadata, configuration, statistics and the repository: what REST says of them, in messages.

use mlops_core::{Error, Result, Version};

use super::{
    call::Ambient,
    messages::{
        BatchStatistics, ConfigInput, ConfigOutput, Empty, InferStatistics, LiveResponse, ModelConfig,
        ModelConfigResponse, ModelIndex, ModelMetadataResponse, ModelStatistics, ModelStatisticsResponse,
        ModelVersionRequest, ReadyResponse, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelRequest,
        RepositoryParameterChoice, ServerMetadataResponse, StatisticDuration, TensorMetadata,
    },
};
use crate::{
    oip::{
        self,
        describe::{BatchSize, Config, Phases, Spent, Statistics},
    },
    protocol::{known_model, parse_version},
    server::Server,
    tensor::{TensorInfo, TensorType},
};

fn version_of(text: &str) -> Result<Option<Version>> {
    if text.is_empty() { Ok(None) } else { parse_version(text).map(Some) }
}

pub(super) async fn live(_server: Server, _request: Empty, _: Ambient) -> Result<LiveResponse> {
    Ok(LiveResponse { live: true })
}

pub(super) async fn ready(server: Server, _request: Empty, _: Ambient) -> Result<ReadyResponse> {
    Ok(ReadyResponse { ready: server.is_ready() })
}

pub(super) async fn model_ready(server: Server, request: ModelVersionRequest, _: Ambient) -> Result<ReadyResponse> {
    match server.inner.wanted(&request.name, version_of(&request.version)?) {
        Ok(_) => Ok(ReadyResponse { ready: true }),
        Err(error) if error.kind() == mlops_core::ErrorKind::Unavailable => Ok(ReadyResponse { ready: false }),
        Err(error) => Err(error),
    }
}

pub(super) async fn server_metadata(server: Server, _request: Empty, _: Ambient) -> Result<ServerMetadataResponse> {
    Ok(ServerMetadataResponse {
        name: server.inner.settings.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: oip::extensions(&server).into_iter().map(str::to_owned).collect(),
    })
}

pub(super) async fn model_metadata(
    server: Server,
    request: ModelVersionRequest,
    _: Ambient,
) -> Result<ModelMetadataResponse> {
    let wanted = server.inner.wanted(&request.name, version_of(&request.version)?)?;
    let tensors = |infos: &[TensorInfo]| infos.iter().map(tensor_metadata).collect();
    let described = &wanted.described_by;
    Ok(ModelMetadataResponse {
        name: request.name,
        versions: wanted.state.versions.keys().map(ToString::to_string).collect(),
        platform: described.platform.clone(),
        inputs: tensors(&described.inputs),
        outputs: tensors(&described.outputs),
    })
}

fn tensor_metadata(info: &TensorInfo) -> TensorMetadata {
    TensorMetadata { name: info.name.clone(), datatype: info.data_type.name().to_owned(), shape: info.shape.clone() }
}

pub(super) async fn model_config(
    server: Server,
    request: ModelVersionRequest,
    _: Ambient,
) -> Result<ModelConfigResponse> {
    let wanted = server.inner.wanted(&request.name, version_of(&request.version)?)?;
    let Config { name, platform, backend, max_batch_size, input, output } = Config::of(&wanted);
    let number = |infos: &[TensorInfo], name: &str| {
        infos.iter().find(|info| info.name == name).map_or(0, |info| type_number(info.data_type))
    };
    let input = input.into_iter().map(|tensor| ConfigInput {
        data_type: number(&wanted.described_by.inputs, &tensor.name),
        name: tensor.name,
        dims: tensor.dims,
    });
    let output = output.into_iter().map(|tensor| ConfigOutput {
        data_type: number(&wanted.described_by.outputs, &tensor.name),
        name: tensor.name,
        dims: tensor.dims,
    });
    let config =
        ModelConfig { name, platform, max_batch_size, input: input.collect(), output: output.collect(), backend };
    Ok(ModelConfigResponse { config: Some(config) })
}

/// Triton's `DataType` enumeration.
fn type_number(data_type: TensorType) -> i32 {
    match data_type {
        TensorType::Bool => 1,
        TensorType::Uint8 => 2,
        TensorType::Uint16 => 3,
        TensorType::Uint32 => 4,
        TensorType::Uint64 => 5,
        TensorType::Int8 => 6,
        TensorType::Int16 => 7,
        TensorType::Int32 => 8,
        TensorType::Int64 => 9,
        TensorType::Fp16 => 10,
        TensorType::Fp32 => 11,
        TensorType::Fp64 => 12,
        TensorType::Bytes => 13,
        TensorType::Bf16 => 14,
    }
}

pub(super) async fn statistics(
    server: Server,
    request: ModelVersionRequest,
    _: Ambient,
) -> Result<ModelStatisticsResponse> {
    let model = Some(request.name.as_str()).filter(|name| !name.is_empty());
    let all = oip::admin::collect(&server, model, version_of(&request.version)?)?;
    Ok(ModelStatisticsResponse { model_stats: all.into_iter().map(model_statistics).collect() })
}

fn model_statistics(of: Statistics) -> ModelStatistics {
    ModelStatistics {
        name: of.name,
        version: of.version,
        last_inference: of.last_inference,
        inference_count: of.inference_count,
        execution_count: of.execution_count,
        inference_stats: Some(phases(&of.inference_stats)),
        batch_stats: of.batch_stats.iter().map(batch_statistics).collect(),
    }
}

fn duration(spent: Spent) -> Option<StatisticDuration> {
    Some(StatisticDuration { count: spent.count, ns: spent.ns })
}

fn phases(of: &Phases) -> InferStatistics {
    InferStatistics {
        success: duration(of.success),
        fail: duration(of.fail),
        queue: duration(of.queue),
        compute_input: duration(of.compute_input),
        compute_infer: duration(of.compute_infer),
        compute_output: duration(of.compute_output),
        cache_hit: duration(of.cache_hit),
        cache_miss: duration(of.cache_miss),
    }
}

fn batch_statistics(of: &BatchSize) -> BatchStatistics {
    BatchStatistics {
        batch_size: of.batch_size,
        compute_input: duration(of.compute_input),
        compute_infer: duration(of.compute_infer),
        compute_output: duration(of.compute_output),
    }
}

pub(super) async fn repository_index(
    server: Server,
    request: RepositoryIndexRequest,
    _: Ambient,
) -> Result<RepositoryIndexResponse> {
    let lines = server.repository().index().into_iter().filter(|line| !request.ready || line.state == "READY");
    let models = lines.map(|line| ModelIndex {
        name: line.name.to_string(),
        version: line.version.map(|version| version.to_string()).unwrap_or_default(),
        state: line.state.to_owned(),
        reason: line.reason.unwrap_or_default(),
    });
    Ok(RepositoryIndexResponse { models: models.collect() })
}

/// Loading and unloading need the switch that REST needs.
fn allowed(server: &Server) -> Result<()> {
    if server.inner.settings.repository_api {
        return Ok(());
    }
    Err(Error::unimplemented("this server does not load or unload models for its clients"))
}

pub(super) async fn load(server: Server, request: RepositoryModelRequest, _: Ambient) -> Result<Empty> {
    allowed(&server)?;
    let name = known_model(&request.model_name)?;
    let parameters = request.parameters.into_iter().map(|(key, parameter)| match parameter.parameter_choice {
        Some(RepositoryParameterChoice::String(text)) => (key, Some(text)),
        _ => (key, None),
    });
    let wish = oip::load::wish(&name, parameters)?;
    server.repository().load_with(&name, wish.as_ref()).await?;
    Ok(Empty {})
}

pub(super) async fn unload(server: Server, request: RepositoryModelRequest, _: Ambient) -> Result<Empty> {
    allowed(&server)?;
    let name = known_model(&request.model_name)?;
    let parameters = request.parameters.into_iter().map(|(key, parameter)| match parameter.parameter_choice {
        Some(RepositoryParameterChoice::Bool(value)) => (key, Some(value)),
        _ => (key, None),
    });
    oip::load::check_unload(&name, parameters)?;
    server.repository().unload(&name)?;
    Ok(Empty {})
}

/// What this server does not offer; clients are told so rather than left with an unknown method.
pub(super) async fn not_offered(_server: Server, _request: Empty, _: Ambient) -> Result<Empty> {
    Err(Error::unimplemented(
        "registering shared memory, trace settings and log settings are not offered by this server",
    ))
}

/// No region of shared memory is ever registered, so none is listed and forgetting all of them succeeds.
pub(super) async fn nothing(_server: Server, _request: Empty, _: Ambient) -> Result<Empty> {
    Ok(Empty {})
}
