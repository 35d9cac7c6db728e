//! `grpc.reflection`, v1 and v1alpha: clients such as grpcurl learn the services from the server itself.
//!
//! Both versions have the same messages. What is described comes from one set of file descriptors.

use futures::{Stream, StreamExt as _};
use prost::Message;
use tonic::{Code, Status};

use super::{
    call::{Messages, Opening, status},
    layout::Laid,
};
use crate::server::Server;

/// Made of `proto/*.proto`, see the module above.
const DESCRIPTORS: &[u8] = include_bytes!("proto/descriptors.bin");

/// Parts of `google.protobuf.FileDescriptorSet`, with each file kept as its bytes.
#[derive(Clone, PartialEq, Message)]
struct FileSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<Named>,
    #[prost(message, repeated, tag = "5")]
    enum_type: Vec<Named>,
    #[prost(message, repeated, tag = "6")]
    service: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    method: Vec<Named>,
}

impl File {
    /// Names of services, then of everything else that a client may ask for.
    fn services(&self) -> impl Iterator<Item = String> {
        self.service.iter().map(|service| format!("{}.{}", self.package, service.name))
    }

    fn defines(&self, symbol: &str) -> bool {
        let Some(local) = symbol.strip_prefix(&self.package).and_then(|rest| rest.strip_prefix('.')) else {
            return false;
        };
        let (first, rest) = local.split_once('.').unwrap_or((local, ""));
        let types = self.message_type.iter().chain(&self.enum_type).any(|named| named.name == first);
        types
            || self.service.iter().any(|service| {
                service.name == first && (rest.is_empty() || service.method.iter().any(|method| method.name == rest))
            })
    }
}

fn files() -> Result<Vec<(File, Vec<u8>)>, Status> {
    let broken = |error: prost::DecodeError| Status::internal(format!("the descriptors are damaged: {error}"));
    let set = FileSet::decode(DESCRIPTORS).map_err(broken)?;
    set.file.into_iter().map(|bytes| Ok((File::decode(bytes.as_slice()).map_err(broken)?, bytes))).collect()
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReflectionRequest {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Question", tags = "3, 4, 5, 6, 7")]
    question: Option<Question>,
}

impl Laid for ReflectionRequest {}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Question {
    #[prost(string, tag = "3")]
    FileByFilename(String),
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    #[prost(bytes = "vec", tag = "5")]
    FileContainingExtension(Vec<u8>),
    #[prost(string, tag = "6")]
    AllExtensionNumbersOfType(String),
    #[prost(string, tag = "7")]
    ListServices(String),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReflectionResponse {
    #[prost(string, tag = "1")]
    valid_host: String,
    #[prost(message, optional, tag = "2")]
    original_request: Option<ReflectionRequest>,
    #[prost(oneof = "Reply", tags = "4, 6, 7")]
    reply: Option<Reply>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Reply {
    #[prost(message, tag = "4")]
    Files(FileSet),
    #[prost(message, tag = "6")]
    Services(Services),
    #[prost(message, tag = "7")]
    Error(Refusal),
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    service: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
struct Refusal {
    #[prost(int32, tag = "1")]
    error_code: i32,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// One answer per question, until the client or the server ends the stream.
pub(super) fn info(
    server: Server,
    questions: Messages<ReflectionRequest>,
    opening: Opening,
) -> impl Stream<Item = Result<ReflectionResponse, Status>> {
    let draining = server.clone();
    let until = async move { draining.inner.until_draining().await };
    questions.take_until(until).map(move |request| {
        let request = request?;
        let _place = server.admit_message(&opening.tenant).map_err(|error| status(&error))?;
        let reply = Some(answer(request.question.as_ref())?);
        Ok(ReflectionResponse { valid_host: request.host.clone(), original_request: Some(request), reply })
    })
}

fn answer(question: Option<&Question>) -> Result<Reply, Status> {
    let files = files()?;
    let found = match question {
        Some(Question::ListServices(_)) => {
            let names = files.iter().flat_map(|(file, _)| file.services());
            return Ok(Reply::Services(Services { service: names.map(|name| Named { name }).collect() }));
        }
        Some(Question::FileByFilename(name)) => files.into_iter().find(|(file, _)| file.name == *name),
        Some(Question::FileContainingSymbol(symbol)) => files.into_iter().find(|(file, _)| file.defines(symbol)),
        _ => None,
    };
    Ok(match found {
        Some((_, bytes)) => Reply::Files(FileSet { file: vec![bytes] }),
        None => {
            let error_message = "there is no such file, symbol or extension here".to_owned();
            Reply::Error(Refusal { error_code: Code::NotFound as i32, error_message })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(question: &Question) -> Reply {
        answer(Some(question)).unwrap()
    }

    #[test]
    fn services_and_their_files_are_found() {
        let Reply::Services(services) = ask(&Question::ListServices(String::new())) else { panic!("no services") };
        let names: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
        for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health"] {
            assert!(names.contains(&name), "{names:?}");
        }
        for symbol in [
            "inference.GRPCInferenceService",
            "inference.GRPCInferenceService.ModelInfer",
            "inference.ModelInferRequest.InferInputTensor",
            "inference.ModelConfig",
        ] {
            assert!(matches!(ask(&Question::FileContainingSymbol(symbol.into())), Reply::Files(_)), "{symbol}");
        }
        assert!(matches!(ask(&Question::FileContainingSymbol("inference.None".into())), Reply::Error(_)));
        assert!(matches!(ask(&Question::FileByFilename("none.proto".into())), Reply::Error(_)));
    }
}
