//! What is known of a route before a request to it is read: the layers at the door decide by this alone, never by what
//! the client says of its request.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use mlops_core::{Error, ErrorKind};

use crate::{access::Purpose, protocol::Failure, server::Server};

/// How a route's requests and answers travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP: one body each way, failures by status.
    Http,
    /// gRPC with one message from the client.
    #[cfg(feature = "grpc")]
    Call,
    /// gRPC with a stream of messages from the client, which need not end.
    #[cfg(feature = "grpc")]
    Stream,
}

impl Wire {
    /// A refusal in the form that the route's clients understand.
    pub(crate) fn refuse(self, error: Error) -> Response {
        match self {
            Self::Http => {
                let unknown = error.kind() == ErrorKind::Unauthenticated;
                let mut response = Failure::from(error).into_response();
                if unknown {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic"));
                }
                response
            }
            #[cfg(feature = "grpc")]
            Self::Call | Self::Stream => crate::grpc::refuse(&error),
        }
    }
}

/// The door of one route.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) server: Server,
    pub(crate) purpose: Purpose,
    pub(crate) wire: Wire,
}
