//! The calls of the protocol that read; the others are not implemented.

use std::sync::Arc;

use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket, encode::FlightDataEncoderBuilder,
    error::FlightError, flight_service_server::FlightService,
};
use arrow_ipc::writer::IpcWriteOptions;
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use mlops_core::{Error, Principal, Result};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{FlightTicket, Inner, question::Question};

/// The protocol over one store.
pub(super) struct Service {
    inner: Arc<Inner>,
}

type Stream<T> = BoxStream<'static, Result<T, Status>>;
type Reply<T> = Result<Response<T>, Status>;

impl Service {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    async fn question<T>(&self, request: &Request<T>, ticket: &[u8]) -> Result<Question, Status> {
        let principal = request.extensions().get::<Principal>();
        self.inner.check_sender(principal).map_err(|error| status(&error))?;
        let asked =
            FlightTicket::parse(ticket, self.inner.settings.ticket_bytes_max).map_err(|error| status(&error))?;
        self.inner.question(asked, principal).await.map_err(|error| status(&error))
    }

    async fn described(&self, request: &Request<FlightDescriptor>) -> Result<Question, Status> {
        self.inner.check_sender(request.extensions().get()).map_err(|error| status(&error))?;
        let command = &request.get_ref().cmd;
        if command.is_empty() {
            return Err(Status::invalid_argument("the descriptor has no command; it must be the JSON of a ticket"));
        }
        self.question(request, command).await
    }
}

/// `error` as the client sees it; what is this side's fault is logged.
fn status(error: &Error) -> Status {
    if error.kind().http_status() >= 500 {
        tracing::error!(error = %error.chain(), "a flight request failed");
    }
    Status::new(Code::from_i32(error.kind().grpc_code()), error.message())
}

fn unserved<T>(call: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!(
        "this feature server has no {call}; it answers GetFlightInfo, GetSchema and DoGet"
    )))
}

#[async_trait]
impl FlightService for Service {
    type HandshakeStream = Stream<HandshakeResponse>;
    type ListFlightsStream = Stream<FlightInfo>;
    type DoGetStream = Stream<FlightData>;
    type DoPutStream = Stream<PutResult>;
    type DoActionStream = Stream<arrow_flight::Result>;
    type ListActionsStream = Stream<ActionType>;
    type DoExchangeStream = Stream<FlightData>;

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        let question = self.described(&request).await?;
        let ticket = Ticket::new(question.ticket.to_bytes().map_err(|error| status(&error))?);
        let rows = question.rows.and_then(|rows| i64::try_from(rows).ok()).unwrap_or(-1);
        let info = FlightInfo::new()
            .try_with_schema(&question.schema)
            .map_err(|error| status(&Error::from(error)))?
            .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
            .with_descriptor(request.into_inner())
            .with_total_records(rows)
            .with_total_bytes(-1)
            .with_ordered(true);
        Ok(Response::new(info))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Reply<SchemaResult> {
        let question = self.described(&request).await?;
        let options = IpcWriteOptions::default();
        let schema: SchemaResult =
            SchemaAsIpc::new(&question.schema, &options).try_into().map_err(|error| status(&Error::from(error)))?;
        Ok(Response::new(schema))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Reply<Self::DoGetStream> {
        let question = self.question(&request, &request.get_ref().ticket).await?;
        let schema = Arc::clone(&question.schema);
        let rows = Arc::clone(&self.inner).answer(question).await.map_err(|error| status(&error))?;
        let messages = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .with_max_flight_data_size(self.inner.settings.message_bytes.max(1))
            .build(rows.map_err(|error| FlightError::from(status(&error))));
        Ok(Response::new(messages.map_err(Status::from).boxed()))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Reply<Self::HandshakeStream> {
        unserved("Handshake")
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Reply<Self::ListFlightsStream> {
        unserved("ListFlights")
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Reply<PollInfo> {
        unserved("PollFlightInfo")
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Reply<Self::DoPutStream> {
        unserved("DoPut")
    }

    async fn do_action(&self, _: Request<Action>) -> Reply<Self::DoActionStream> {
        unserved("DoAction")
    }

    async fn list_actions(&self, _: Request<Empty>) -> Reply<Self::ListActionsStream> {
        unserved("ListActions")
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Reply<Self::DoExchangeStream> {
        unserved("DoExchange")
    }
}
