//! A connection to one broker: one question at a time, each answer waited for with a limit and at most as long as is
//! allowed. After an error, and where a call is dropped, it is not used again.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use mlops_core::{Error, ErrorKind, Result};
use rand::{TryRng as _, rngs::SysRng};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    messages::{
        API_VERSIONS, Api, NEEDED, SASL_AUTHENTICATE, SASL_HANDSHAKE, api_versions, ask_sasl, ask_sasl_step, sasl,
        sasl_step,
    },
    sasl::Credentials,
    server::{Address, KafkaServer},
    wire::{Fields, Malformed, Writer},
};

/// Bytes of an answer beside its messages.
const ENVELOPE_BYTES: usize = 1 << 20;

/// What those say first who expect TLS and hear something else.
const TLS_ALERT: [u8; 2] = [21, 3];

/// Error codes that a broker refuses us by.
const ILLEGAL_SASL_STATE: i16 = 34;
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;

/// Bytes on their way.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// What holds for every connection of a source.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Who we are, for the broker's log.
    pub(super) client: Arc<str>,
    /// Longest wait for a connection, and for an answer.
    pub(super) timeout: Duration,
    /// Most bytes of messages of one answer.
    pub(super) bytes_max: usize,
}

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    broker: Address,
    limits: Limits,
    asked: i32,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("broker", &self.broker).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to the broker of `server` at `address`, and is let in.
    pub(super) async fn open(server: &KafkaServer, address: &Address, limits: &Limits) -> Result<Self> {
        let connected = tokio::time::timeout(limits.timeout, connect(server, address)).await;
        let late = || unavailable(address, format!("no connection within {:?}", limits.timeout));
        let stream = connected.map_err(|_| late())??;
        let mut connection = Self { stream, broker: address.clone(), limits: limits.clone(), asked: 0 };
        connection.check_versions(server.credentials.is_some()).await?;
        if let Some(credentials) = &server.credentials {
            connection.greet(credentials).await?;
        }
        Ok(connection)
    }

    /// The answer to a question, which the broker may keep for `wait`.
    pub(super) async fn ask(&mut self, api: Api, question: &[u8], wait: Duration) -> Result<Fields> {
        self.asked = self.asked.wrapping_add(1);
        let mut head = Writer::default();
        head.i16(api.key).i16(api.version).i32(self.asked).text(&self.limits.client);
        let mut frame = Writer::default();
        frame.count(head.0.len() + question.len());
        let frame = [frame.0.as_slice(), &head.0, question].concat();
        let limit = wait.saturating_add(self.limits.timeout);
        match tokio::time::timeout(limit, self.exchange(&frame)).await {
            Ok(answer) => answer,
            Err(_) => Err(unavailable(&self.broker, format!("no answer to {} within {limit:?}", api.name))),
        }
    }

    /// The answers to some questions of one kind.
    pub(super) async fn ask_all(&mut self, api: Api, questions: &[Vec<u8>], wait: Duration) -> Result<Vec<Fields>> {
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            answers.push(self.ask(api, question, wait).await?);
        }
        Ok(answers)
    }

    async fn exchange(&mut self, frame: &[u8]) -> Result<Fields> {
        let broker = &self.broker;
        let broke = |error| unavailable(broker, error);
        self.stream.write_all(frame).await.map_err(broke)?;
        self.stream.flush().await.map_err(broke)?;
        let length = self.stream.read_i32().await.map_err(broke)?;
        if length.to_be_bytes().starts_with(&TLS_ALERT) {
            return Err(Error::failed_precondition(format!("broker {broker} of Kafka speaks only with TLS")));
        }
        let most = self.limits.bytes_max.saturating_add(ENVELOPE_BYTES);
        let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or_else(|| {
            Error::new(
                ErrorKind::ResourceExhausted,
                format!("an answer of broker {broker} of Kafka has {length} bytes, more than {most}; raise bytes_max"),
            )
        })?;
        // Grows by what comes, not by what is announced.
        let mut answer = Vec::new();
        let mut part = (&mut self.stream).take(u64::try_from(length).unwrap_or(u64::MAX));
        part.read_to_end(&mut answer).await.map_err(broke)?;
        if answer.len() < length {
            return Err(unavailable(broker, "the connection broke in an answer"));
        }
        let mut answer = Fields(Bytes::from(answer));
        if answer.i32() != Ok(self.asked) {
            return Err(unavailable(broker, "an answer is to another question"));
        }
        Ok(answer)
    }

    /// Refuses a broker that does not speak our versions.
    async fn check_versions(&mut self, greets: bool) -> Result<()> {
        let mut answer = self.ask(API_VERSIONS, &[], Duration::ZERO).await?;
        let (code, spoken) = read(API_VERSIONS, api_versions(&mut answer))?;
        if code != 0 {
            return Err(unavailable(&self.broker, format!("it does not tell its versions (error {code})")));
        }
        let greeting = [SASL_HANDSHAKE, SASL_AUTHENTICATE];
        for api in NEEDED.iter().chain(greeting.iter().filter(|_| greets)) {
            let found = spoken.get(&api.key).copied();
            if found.is_none_or(|(oldest, newest)| !(oldest..=newest).contains(&api.version)) {
                let found = found.map_or("no version".to_owned(), |(oldest, newest)| format!("{oldest} to {newest}"));
                return Err(Error::failed_precondition(format!(
                    "broker {} of Kafka does not speak {} {}, which those from 2.1 to 4.x do; it speaks {found}",
                    self.broker, api.name, api.version
                )));
            }
        }
        Ok(())
    }

    async fn greet(&mut self, credentials: &Credentials) -> Result<()> {
        let mut answer = self.ask(SASL_HANDSHAKE, &ask_sasl(credentials.mechanism()), Duration::ZERO).await?;
        let (code, known) = read(SASL_HANDSHAKE, sasl(&mut answer))?;
        match code {
            0 => {}
            UNSUPPORTED_SASL_MECHANISM => {
                let (mechanism, known) = (credentials.mechanism(), known.join(", "));
                return Err(Error::failed_precondition(format!(
                    "broker {} of Kafka lets nobody in by {mechanism}; it knows {known}",
                    self.broker
                )));
            }
            ILLEGAL_SASL_STATE => {
                return Err(Error::failed_precondition(format!(
                    "broker {} of Kafka lets everybody in at this address; give no credentials, or another address",
                    self.broker
                )));
            }
            code => return Err(unavailable(&self.broker, format!("it does not let us in (error {code})"))),
        }
        let mut nonce = [0; 16];
        SysRng.try_fill_bytes(&mut nonce).map_err(|error| Error::internal("no random bytes").with_source(error))?;
        let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        let (mut said, mut talk) = credentials.begin(&nonce);
        loop {
            let mut answer = self.ask(SASL_AUTHENTICATE, &ask_sasl_step(&said), Duration::ZERO).await?;
            let (code, why, answered) = read(SASL_AUTHENTICATE, sasl_step(&mut answer))?;
            if code != 0 {
                return Err(self.denied(&format!("{why} (error {code})")));
            }
            let panicked = |_| Error::internal("answering a broker of Kafka panicked");
            let next = tokio::task::spawn_blocking(move || talk.answer(&answered)).await.map_err(panicked)?;
            match next.map_err(|why| self.denied(why))? {
                Some(next) => (said, talk) = next,
                None => return Ok(()),
            }
        }
    }

    fn denied(&self, why: &str) -> Error {
        Error::new(ErrorKind::PermissionDenied, format!("broker {} of Kafka does not let us in: {why}", self.broker))
    }
}

/// What was read of an answer.
pub(super) fn read<T>(api: Api, read: std::result::Result<T, Malformed>) -> Result<T> {
    read.map_err(|Malformed(why)| {
        Error::internal(format!("a broker of Kafka answers {} in a form that is not known: {why}", api.name))
    })
}

async fn connect(server: &KafkaServer, address: &Address) -> Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await;
    let stream = stream.map_err(|error| unavailable(address, error))?;
    // Questions are small and waited for.
    stream.set_nodelay(true).map_err(|error| unavailable(address, error))?;
    let Some(tls) = server.tls()? else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(address.host.clone());
    let name = name.map_err(|error| unavailable(address, format!("no certificate can be for its name: {error}")))?;
    let encrypted = TlsConnector::from(tls).connect(name, stream).await;
    Ok(Box::new(encrypted.map_err(|error| unavailable(address, error))?))
}

pub(super) fn unavailable(broker: &Address, why: impl fmt::Display) -> Error {
    Error::unavailable(format!("broker {broker} of Kafka: {why}"))
}
