//! The services on the wire: framed messages through the router.

use std::{io::Read as _, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use bytes::Bytes;
use mlops_core::Version;
use prost::Message;
use tonic::Code;
use tower::ServiceExt as _;

use super::messages::{
    Empty, InferParameter, InferTensor, InferTensorContents, ModelConfigResponse, ModelInferRequest,
    ModelInferResponse, ModelStatisticsResponse, ModelStreamInferResponse, ModelVersionRequest, ParameterChoice,
    ReadyResponse, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelRequest, RepositoryParameter,
    RepositoryParameterChoice as Choice, RequestedOutput,
};
use crate::{
    IdentityModel, ModelRepository, Server, ServerSettings, TensorType,
    rollout::{
        RolloutSettings, StickyCookie, Strategy,
        bandit::{BanditSettings, Policy},
    },
};

fn router(settings: ServerSettings) -> Router {
    let repository = Arc::new(ModelRepository::new());
    for data_type in TensorType::all() {
        let name = data_type.name().to_lowercase().parse().unwrap();
        repository.register_tensors(&name, Version(1), Arc::new(IdentityModel::new(data_type))).unwrap();
    }
    Server::builder(repository).with_settings(settings).build().unwrap().into_router()
}

fn framed(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    [&[0], u32::try_from(body.len()).unwrap().to_be_bytes().as_slice(), &body].concat()
}

/// The messages of an answer, or the status that came in its place.
async fn send<A: Message + Default>(router: &Router, method: &str, body: Vec<u8>) -> Result<Vec<A>, (Code, String)> {
    let path = format!("/inference.GRPCInferenceService/{method}");
    let request = Request::post(path).header("content-type", "application/grpc").body(Body::from(body)).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "errors travel in the gRPC status");
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    if let Some(code) = header("grpc-status").filter(|code| code != "0") {
        return Err((Code::from_i32(code.parse().unwrap()), header("grpc-message").unwrap_or_default()));
    }
    let mut rest = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let head = rest.split_to(5);
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        messages.push(A::decode(rest.split_to(length)).unwrap());
    }
    Ok(messages)
}

async fn call<A: Message + Default>(method: &str, message: &impl Message) -> Result<A, (Code, String)> {
    let settings = ServerSettings { repository_api: true, ..ServerSettings::default() };
    send(&router(settings), method, framed(message)).await.map(|mut messages: Vec<A>| messages.remove(0))
}

fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferTensor {
    InferTensor {
        name: "INPUT0".into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        contents,
        ..InferTensor::default()
    }
}

fn raw(bytes: &[u8]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "fp32".into(),
        id: "7".into(),
        inputs: vec![input("FP32", &[1, 2], None)],
        raw_input_contents: vec![Bytes::copy_from_slice(bytes)],
        ..ModelInferRequest::default()
    }
}

fn typed(contents: InferTensorContents) -> ModelInferRequest {
    ModelInferRequest {
        raw_input_contents: Vec::new(),
        inputs: vec![input("FP32", &[1, 2], Some(contents))],
        ..raw(&[])
    }
}

fn numbers() -> InferTensorContents {
    InferTensorContents { fp32_contents: vec![1.0, 2.5], ..InferTensorContents::default() }
}

#[tokio::test]
async fn raw_and_typed_inputs_are_both_answered_raw() {
    let bytes: Vec<u8> = [1.0_f32, 2.5].iter().flat_map(|value| value.to_le_bytes()).collect();
    for request in [raw(&bytes), typed(numbers())] {
        let answer: ModelInferResponse = call("ModelInfer", &request).await.unwrap();
        assert_eq!((answer.id.as_str(), answer.model_version.as_str()), ("7", "1"));
        assert_eq!(answer.raw_output_contents, [Bytes::from(bytes.clone())]);
        assert_eq!((answer.outputs[0].name.as_str(), &answer.outputs[0].shape), ("OUTPUT0", &vec![1, 2]));
        assert_eq!(answer.outputs[0].contents, None);
    }
}

/// By gzip, or by deflate, which means zlib's format here as in HTTP.
#[tokio::test]
async fn compressed_requests_are_answered_compressed() {
    let bytes = [1_u8, 0, 0, 0, 2, 0, 0, 0];
    let plain = raw(&bytes).encode_to_vec();
    let unpacked = |encoding: &str, packed: &[u8]| {
        let mut out = Vec::new();
        match encoding {
            "gzip" => flate2::read::GzDecoder::new(packed).read_to_end(&mut out).unwrap(),
            _ => flate2::read::ZlibDecoder::new(packed).read_to_end(&mut out).unwrap(),
        };
        out
    };
    for encoding in ["gzip", "deflate"] {
        let level = flate2::Compression::fast();
        let mut packed = Vec::new();
        match encoding {
            "gzip" => flate2::read::GzEncoder::new(&*plain, level).read_to_end(&mut packed).unwrap(),
            _ => flate2::read::ZlibEncoder::new(&*plain, level).read_to_end(&mut packed).unwrap(),
        };
        let body = [&[1], u32::try_from(packed.len()).unwrap().to_be_bytes().as_slice(), &packed].concat();
        let request = Request::post("/inference.GRPCInferenceService/ModelInfer")
            .header("content-type", "application/grpc")
            .header("grpc-encoding", encoding)
            .header("grpc-accept-encoding", encoding)
            .body(Body::from(body))
            .unwrap();
        let response = router(ServerSettings::default()).oneshot(request).await.unwrap();
        assert_eq!(response.headers()["grpc-encoding"], encoding);
        let answer = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert_eq!(answer[0], 1, "compressed by {encoding}");
        let answer = ModelInferResponse::decode(&*unpacked(encoding, &answer[5..])).unwrap();
        assert_eq!(answer.raw_output_contents, [Bytes::copy_from_slice(&bytes)]);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_an_invalid_argument() {
    let bytes = [0_u8; 8];
    let with = |change: fn(&mut ModelInferRequest)| {
        let mut request = raw(&bytes);
        change(&mut request);
        request
    };
    let int = InferTensorContents { int_contents: vec![1, 2], ..InferTensorContents::default() };
    let both = InferTensorContents { int_contents: vec![1], ..numbers() };
    let short = InferTensorContents { fp32_contents: vec![1.0], ..InferTensorContents::default() };
    let refused = [
        ("bytes too few", raw(&bytes[..7])),
        ("surplus raw entry", with(|request| request.raw_input_contents.push(Bytes::new()))),
        ("raw and typed", with(|request| request.inputs[0].contents = Some(numbers()))),
        ("no data", with(|request| request.raw_input_contents.clear())),
        ("negative dimension", with(|request| request.inputs[0].shape = vec![-1, 2])),
        ("rank", with(|request| request.inputs[0].shape = vec![2])),
        ("overflow", with(|request| request.inputs[0].shape = vec![i64::MAX, i64::MAX])),
        ("name", with(|request| request.inputs[0].name = "x".into())),
        ("datatype", with(|request| request.inputs[0].datatype = "INT32".into())),
        ("unknown datatype", with(|request| request.inputs[0].datatype = "FP99".into())),
        (
            "duplicate",
            with(|request| {
                request.inputs.push(request.inputs[0].clone());
                request.raw_input_contents.push(request.raw_input_contents[0].clone());
            }),
        ),
        (
            "no input",
            with(|request| {
                request.inputs.clear();
                request.raw_input_contents.clear();
            }),
        ),
        (
            "output",
            with(|request| request.outputs.push(RequestedOutput { name: "x".into(), ..RequestedOutput::default() })),
        ),
        ("wrong field", typed(int)),
        ("two fields", typed(both)),
        ("too few values", typed(short)),
    ];
    for (what, request) in refused {
        let (code, text) = call::<ModelInferResponse>("ModelInfer", &request).await.unwrap_err();
        assert_eq!(code, Code::InvalidArgument, "{what}: {text}");
    }
    for change in [
        |request: &mut ModelInferRequest| request.model_name = "none".into(),
        |request: &mut ModelInferRequest| {
            request.model_version = "9".into();
        },
    ] {
        assert_eq!(call::<ModelInferResponse>("ModelInfer", &with(change)).await.unwrap_err().0, Code::NotFound);
    }
}

#[tokio::test]
async fn narrow_integers_are_checked_and_half_floats_need_raw() {
    let request = |datatype: &str, contents: InferTensorContents| ModelInferRequest {
        model_name: datatype.to_lowercase(),
        inputs: vec![input(datatype, &[1, 1], Some(contents))],
        ..ModelInferRequest::default()
    };
    let uint = |value| InferTensorContents { uint_contents: vec![value], ..InferTensorContents::default() };
    let answer: ModelInferResponse = call("ModelInfer", &request("UINT8", uint(255))).await.unwrap();
    assert_eq!(answer.raw_output_contents, [Bytes::from_static(&[255])]);
    for refused in [request("UINT8", uint(256)), request("FP16", numbers())] {
        let (code, _) = call::<ModelInferResponse>("ModelInfer", &refused).await.unwrap_err();
        assert_eq!(code, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn classes_are_told_as_text() {
    let parameters =
        [("classification".to_owned(), InferParameter { parameter_choice: Some(ParameterChoice::Int64(1)) })];
    let mut request = typed(numbers());
    request.outputs.push(RequestedOutput { name: "OUTPUT0".into(), parameters: parameters.into() });
    let answer: ModelInferResponse = call("ModelInfer", &request).await.unwrap();
    assert_eq!((answer.outputs[0].datatype.as_str(), &answer.outputs[0].shape), ("BYTES", &vec![1, 1]));
    assert_eq!(answer.raw_output_contents, [Bytes::from_static(b"\x0a\0\0\x002.500000:1")]);
}

#[tokio::test]
async fn a_stream_answers_in_order_and_outlives_an_error() {
    let mut bodies = Vec::new();
    for index in 0..5 {
        let mut request = typed(numbers());
        request.id = index.to_string();
        if index == 2 {
            request.model_name = "none".into();
        }
        bodies.extend(framed(&request));
    }
    let router = router(ServerSettings::default());
    let answers: Vec<ModelStreamInferResponse> = send(&router, "ModelStreamInfer", bodies).await.unwrap();
    let ids: Vec<&str> = answers.iter().map(|answer| answer.infer_response.as_ref().unwrap().id.as_str()).collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4"]);
    let failed: Vec<bool> = answers.iter().map(|answer| !answer.error_message.is_empty()).collect();
    assert_eq!(failed, [false, false, true, false, false]);
}

#[tokio::test]
async fn models_are_described_counted_unloaded_and_loaded() {
    let router = router(ServerSettings { repository_api: true, ..ServerSettings::default() });
    let model = ModelVersionRequest { name: "fp32".into(), version: String::new() };
    let named = RepositoryModelRequest { model_name: "fp32".into(), ..RepositoryModelRequest::default() };
    let ready =
        async || -> bool { send::<ReadyResponse>(&router, "ModelReady", framed(&model)).await.unwrap()[0].ready };
    send::<ModelInferResponse>(&router, "ModelInfer", framed(&typed(numbers()))).await.unwrap();
    let config: Vec<ModelConfigResponse> = send(&router, "ModelConfig", framed(&model)).await.unwrap();
    let config = config[0].config.as_ref().unwrap();
    assert_eq!((config.name.as_str(), config.input[0].data_type, &config.input[0].dims), ("fp32", 11, &vec![-1]));
    let statistics: Vec<ModelStatisticsResponse> = send(&router, "ModelStatistics", framed(&model)).await.unwrap();
    assert_eq!(statistics[0].model_stats[0].inference_count, 1);
    let index: Vec<RepositoryIndexResponse> =
        send(&router, "RepositoryIndex", framed(&RepositoryIndexRequest::default())).await.unwrap();
    assert_eq!(index[0].models.len(), TensorType::all().len());
    assert!(ready().await);
    send::<Empty>(&router, "RepositoryModelUnload", framed(&named)).await.unwrap();
    assert!(!ready().await);
    send::<Empty>(&router, "RepositoryModelLoad", framed(&named)).await.unwrap();
    assert!(ready().await);
}

#[tokio::test]
async fn what_loads_and_unloads_say_beside_the_model_is_never_passed_over() {
    let router = router(ServerSettings { repository_api: true, ..ServerSettings::default() });
    let model = ModelVersionRequest { name: "fp32".into(), version: String::new() };
    let batch_size = async || {
        let config = send::<ModelConfigResponse>(&router, "ModelConfig", framed(&model)).await;
        config.map(|config| config[0].config.as_ref().unwrap().max_batch_size).map_err(|(code, _)| code)
    };
    let say = async |method: &str, said: Option<(&str, Choice)>| {
        let parameters = said.map(|(key, choice)| (key.into(), RepositoryParameter { parameter_choice: Some(choice) }));
        let request = RepositoryModelRequest {
            model_name: "fp32".into(),
            parameters: parameters.into_iter().collect(),
            ..RepositoryModelRequest::default()
        };
        send::<Empty>(&router, method, framed(&request)).await.map(drop).map_err(|(code, _)| code)
    };
    let (load, unload) = ("RepositoryModelLoad", "RepositoryModelUnload");
    let configured = batch_size().await.unwrap();
    let input = r#""input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": ["-1"]}]"#;
    let config = format!(r#"{{"max_batch_size": 16, {input}}}"#);
    assert_eq!(say(load, Some(("config", Choice::String(config.clone())))).await, Ok(()));
    assert_eq!(batch_size().await, Ok(16));
    for (method, key, choice, code) in [
        (load, "config", Choice::Bytes(config.clone().into()), Code::InvalidArgument),
        (load, "config", Choice::Int64(8), Code::InvalidArgument),
        (load, "config", Choice::String(r#"{"max_batch_size": 8, "input": []}"#.into()), Code::InvalidArgument),
        (load, "other", Choice::String(config), Code::InvalidArgument),
        (load, "file:1/model.onnx", Choice::Bytes(Bytes::new()), Code::Unimplemented),
        (unload, "unload_dependents", Choice::Bool(true), Code::Unimplemented),
        (unload, "unload_dependents", Choice::Int64(0), Code::InvalidArgument),
        (unload, "other", Choice::Bool(false), Code::InvalidArgument),
    ] {
        assert_eq!(say(method, Some((key, choice))).await, Err(code), "{method} {key}");
        assert_eq!(batch_size().await, Ok(16), "{method} {key}");
    }
    assert_eq!(say(unload, Some(("unload_dependents", Choice::Bool(false)))).await, Ok(()));
    assert_eq!(batch_size().await, Err(Code::Unavailable));
    assert_eq!(say(load, None).await, Ok(()));
    assert_eq!(batch_size().await, Ok(configured));
}

#[tokio::test]
async fn bounds_switches_and_unknown_methods_are_told_by_their_codes() {
    let small = router(ServerSettings { body_bytes_max: 100, ..ServerSettings::default() });
    let code = async |method: &str, body: Vec<u8>| send::<Empty>(&small, method, body).await.unwrap_err().0;
    assert_eq!(code("ModelInfer", framed(&raw(&[0; 200]))).await, Code::OutOfRange);
    assert_eq!(code("RepositoryModelLoad", framed(&RepositoryModelRequest::default())).await, Code::Unimplemented);
    assert_eq!(code("SystemSharedMemoryRegister", framed(&Empty {})).await, Code::Unimplemented);
    assert_eq!(code("None", framed(&Empty {})).await, Code::Unimplemented);
}

#[tokio::test]
async fn the_side_of_a_rollout_follows_the_metadata_as_it_follows_headers() {
    let (name, repository) = ("fp32".parse().unwrap(), Arc::new(ModelRepository::new()));
    for version in [1, 2] {
        let model = Arc::new(IdentityModel::new(TensorType::Fp32));
        repository.register_tensors(&name, Version(version), model).unwrap();
    }
    let server = Server::builder(repository).build().unwrap();
    let settings = RolloutSettings { sticky_by: Some("user".into()), ..RolloutSettings::canary([0.5, 1.0]) };
    server.start_rollout(&name, Version(2), settings).await.unwrap();
    let router = server.into_router();
    let rest = r#"{"inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2.5]}]}"#.as_bytes().to_vec();
    let mut seen = std::collections::BTreeSet::new();
    for user in 0..24 {
        let ask = async |path: &str, kind: &str, body: Vec<u8>| {
            let request = Request::post(path).header("content-type", kind).header("user", user.to_string());
            let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
            to_bytes(response.into_body(), 1 << 20).await.unwrap()
        };
        let answer = ask("/v2/models/fp32/infer", "application/json", rest.clone()).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let version = answer["model_version"].as_str().unwrap().to_owned();
        for method in ["ModelInfer", "ModelStreamInfer"] {
            let path = format!("/inference.GRPCInferenceService/{method}");
            let frame = ask(&path, "application/grpc", framed(&typed(numbers()))).await.split_off(5);
            let called = match method {
                "ModelInfer" => ModelInferResponse::decode(frame).unwrap(),
                _ => ModelStreamInferResponse::decode(frame).unwrap().infer_response.unwrap(),
            };
            assert_eq!(called.model_version, version, "{method} by user {user}");
        }
        seen.insert(version);
    }
    assert_eq!(seen.len(), 2, "both sides answered");
}

#[tokio::test]
async fn metadata_overrides_the_side_holds_the_cookie_and_tells_the_context() {
    let (name, repository) = ("fp32".parse().unwrap(), Arc::new(ModelRepository::new()));
    for version in [1, 2] {
        let model = Arc::new(IdentityModel::new(TensorType::Fp32));
        repository.register_tensors(&name, Version(version), model).unwrap();
    }
    let server = Server::builder(repository).build().unwrap();
    let policy = Policy::LinUcb { alpha: 1.0, dimension: 2, ridge: 1.0 };
    let settings = RolloutSettings {
        override_by: Some("side".into()),
        context_by: Some("context".into()),
        ..RolloutSettings::new(Strategy::Bandit(BanditSettings::new("sale", policy)))
    };
    server.start_rollout(&name, Version(2), settings).await.unwrap();
    let router = server.clone().into_router();
    let ask = async |key: &'static str, value: String| {
        let request =
            Request::post("/inference.GRPCInferenceService/ModelInfer").header("content-type", "application/grpc");
        let request = request.header(key, value).body(Body::from(framed(&typed(numbers())))).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        if response.headers().contains_key("grpc-status") {
            return response.headers()["grpc-message"].to_str().unwrap().to_owned();
        }
        let frame = to_bytes(response.into_body(), 1 << 20).await.unwrap().split_off(5);
        ModelInferResponse::decode(frame).unwrap().model_version
    };
    for _ in 0..10 {
        assert_eq!(ask("side", "champion".into()).await, "1");
        assert_eq!(ask("side", "treatment-1".into()).await, "2");
    }
    assert!(ask("context", "1".into()).await.contains("numbers"));
    assert!(["1", "2"].contains(&ask("context", "1,0".into()).await.as_str()));

    let cookie = StickyCookie::new("keep");
    let sticky = RolloutSettings { sticky_cookie: Some(cookie), ..RolloutSettings::canary([0.5, 1.0]) };
    server.roll_back(&name, "next").await.unwrap();
    server.start_rollout(&name, Version(2), sticky).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for client in 0..24 {
        let first = ask("cookie", format!("keep=c{client}")).await;
        assert_eq!(ask("cookie", format!("keep=c{client}")).await, first);
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2, "both sides answered");
}

/// tonic tells a failure behind messages in the trailers, and a 200 before them.
#[tokio::test]
async fn a_stream_that_ends_in_a_failure_counts_as_one() {
    let router = router(ServerSettings::default());
    let classes = async || {
        let metrics = router.clone().oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
        let text = to_bytes(metrics.into_body(), 1 << 20).await.unwrap();
        let count = |class: &str| {
            let of = |line: &&str| line.starts_with("mlops_serve_http_responses_total") && line.contains(class);
            let line = std::str::from_utf8(&text).unwrap().lines().find(of).unwrap().to_owned();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        (count("2xx"), count("4xx"))
    };
    let (good, bad) = classes().await;
    // One message that is answered, and one that cannot be read.
    let body = [framed(&typed(numbers())), vec![0, 0, 0, 0, 1, 0xff]].concat();
    let request = Request::post("/inference.GRPCInferenceService/ModelStreamInfer");
    let request = request.header("content-type", "application/grpc").body(Body::from(body)).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!((response.status(), response.headers().get("grpc-status")), (StatusCode::OK, None));
    assert!(!to_bytes(response.into_body(), 1 << 20).await.unwrap().is_empty());
    let (good_after, bad_after) = classes().await;
    // The look at the measurements is an answer, too.
    assert_eq!((good_after - good, bad_after - bad), (1.0, 1.0));
}
