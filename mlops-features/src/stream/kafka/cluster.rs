//! Which broker leads which partition, and connections to those brokers. What is known is asked again after a while, so
//! that new partitions are seen, and after every error.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use mlops_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::{
    connection::{Connection, Limits, read},
    messages::{
        Api, FETCH, FIRST, Found, LIST_OFFSETS, METADATA, Metadata, NEXT, Want, ask_messages, ask_metadata, ask_offset,
        messages, metadata, offset,
    },
    server::{Address, KafkaServer},
    wire::Fields,
};

/// After how long brokers are asked again which partitions there are.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// How many brokers are begun to be asked within one `timeout`, if none answers.
const ASKED_WITHIN_TIMEOUT: u32 = 8;

/// Error codes of brokers.
pub(super) const OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const TOPIC_DENIED: i16 = 29;
const GROUP_DENIED: i16 = 30;
const CLUSTER_DENIED: i16 = 31;
const UNSUPPORTED_COMPRESSION: i16 = 76;
/// What goes away by itself: a leader that is being chosen or has moved, a broker that is busy or starts.
const PASSING: [i16; 14] = [-1, 5, 6, 7, 8, 9, 13, 14, 56, 70, 71, 74, 75, 78];

/// One topic of one cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    server: KafkaServer,
    topic: String,
    limits: Limits,
    known: Mutex<Option<Arc<Known>>>,
    /// By broker; the one that is in use is taken out.
    connections: Mutex<BTreeMap<i32, Connection>>,
}

/// What brokers said of the topic.
#[derive(Debug)]
pub(super) struct Known {
    metadata: Metadata,
    /// Who said it.
    by: Address,
    /// None once it is in doubt.
    asked: Option<Instant>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < KNOWN_FOR)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = i32> {
        self.metadata.leaders.keys().copied()
    }
}

impl Cluster {
    pub(super) fn new(server: KafkaServer, topic: &str, limits: Limits) -> Self {
        Self { server, topic: topic.to_owned(), limits, known: Mutex::default(), connections: Mutex::default() }
    }

    /// What there is of the topic, within twice the time for one answer. Those who may know are asked one soon after
    /// another, so that one that is away does not hold up the others; first the one that knew last.
    pub(super) async fn known(&self) -> Result<Arc<Known>> {
        let before = self.lock().clone();
        if let Some(known) = before.as_ref().filter(|known| known.is_fresh()) {
            return Ok(Arc::clone(known));
        }
        let mut addresses: Vec<&Address> = Vec::new();
        let told = before.iter().flat_map(|known| std::iter::once(&known.by).chain(known.metadata.brokers.values()));
        for address in told.chain(&self.server.addresses) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let (begun, longest) = (Instant::now(), self.limits.timeout.saturating_mul(2));
        let (mut left, mut asked) = (addresses.into_iter(), FuturesUnordered::new());
        let mut failed: Option<Error> = None;
        while begun.elapsed() < longest {
            match left.next() {
                Some(address) => asked.push(self.ask_known(address)),
                None if asked.is_empty() => break,
                None => {}
            }
            let soon = self.limits.timeout / ASKED_WITHIN_TIMEOUT;
            match tokio::time::timeout(soon, asked.next()).await {
                Ok(Some(Ok(known))) => {
                    let known = Arc::new(known);
                    *self.lock() = Some(Arc::clone(&known));
                    return Ok(known);
                }
                // Another one may be there, or know of a topic that is new.
                Ok(Some(Err(error))) if [ErrorKind::Unavailable, ErrorKind::NotFound].contains(&error.kind()) => {
                    failed = failed.filter(|failed| failed.kind() == ErrorKind::NotFound).or(Some(error));
                }
                Ok(Some(Err(error))) => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        let failed =
            failed.unwrap_or_else(|| Error::unavailable(format!("no broker answers for {}", self.about(None))));
        // What was known may have been forgotten by brokers that start.
        let forgotten = before.is_some() && failed.kind() == ErrorKind::NotFound;
        Err(if forgotten { Error::unavailable(failed.message().to_owned()) } else { failed })
    }

    async fn ask_known(&self, address: &Address) -> Result<Known> {
        let mut connection = Connection::open(&self.server, address, &self.limits).await?;
        let mut answer = connection.ask(METADATA, &ask_metadata(&self.topic), Duration::ZERO).await?;
        let metadata = read(METADATA, metadata(&mut answer, &self.topic))?;
        match metadata.code {
            0 => Ok(Known { metadata, by: address.clone(), asked: Some(Instant::now()) }),
            code => Err(self.refused(code)),
        }
    }

    /// What `leader` has of `wants`, at most about `bytes_max` bytes of each, after `wait` if there is nothing before.
    pub(super) async fn fetch(
        &self,
        known: &Known,
        (leader, wants): (Option<i32>, &[Want]),
        bytes_max: usize,
        wait: Duration,
    ) -> Result<Vec<Found>> {
        let questions = [ask_messages(&self.topic, wants, bytes_max, wait)];
        let (begun, longest) = (Instant::now(), wait.saturating_add(self.limits.timeout));
        loop {
            let answers = self.ask_leader(known, leader, FETCH, &questions, wait).await?;
            let (mut found, mut throttled) = (Vec::new(), Duration::ZERO);
            for mut answer in answers {
                let fetched = read(FETCH, messages(&mut answer))?;
                self.check(fetched.code)?;
                throttled = throttled.max(fetched.throttled);
                found.extend(fetched.found);
            }
            // A broker that slows us down tells of nothing, which does not say that there is nothing.
            if !found.is_empty() || throttled.is_zero() {
                return Ok(found);
            }
            if begun.elapsed().saturating_add(throttled) > longest {
                let about = self.about(None);
                return Err(Error::unavailable(format!("{about}: a broker wants not to be asked for {throttled:?}")));
            }
            tokio::time::sleep(throttled).await;
        }
    }

    /// The first offset of a partition, and the one that comes next.
    pub(super) async fn ends(&self, known: &Known, partition: i32) -> Result<(u64, u64)> {
        let leader = known.metadata.leaders.get(&partition).copied().flatten();
        let questions = [FIRST, NEXT].map(|time| ask_offset(&self.topic, partition, time));
        let answers = self.ask_leader(known, leader, LIST_OFFSETS, &questions, Duration::ZERO).await?;
        let mut found = [0; 2];
        for (found, mut answer) in found.iter_mut().zip(answers) {
            let (code, at) = read(LIST_OFFSETS, offset(&mut answer))?;
            self.check(code)?;
            *found = u64::try_from(at).unwrap_or(0);
        }
        Ok(found.into())
    }

    /// What `leader` answers, on the connection there is or on a new one. After an error what is known is in doubt.
    async fn ask_leader(
        &self,
        known: &Known,
        leader: Option<i32>,
        api: Api,
        questions: &[Vec<u8>],
        wait: Duration,
    ) -> Result<Vec<Fields>> {
        let answers = self.try_leader(known, leader, api, questions, wait).await;
        if answers.is_err() {
            self.doubt();
        }
        answers
    }

    async fn try_leader(
        &self,
        known: &Known,
        leader: Option<i32>,
        api: Api,
        questions: &[Vec<u8>],
        wait: Duration,
    ) -> Result<Vec<Fields>> {
        let leader = leader.ok_or_else(|| Error::unavailable(format!("{} has no leader now", self.about(None))))?;
        let kept = self.connections().remove(&leader);
        if let Some(mut connection) = kept {
            match connection.ask_all(api, questions, wait).await {
                Ok(answers) => {
                    self.connections().insert(leader, connection);
                    return Ok(answers);
                }
                // Brokers close connections that were idle for long; whether this one is away is found out by another
                // connection.
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::debug!(%error, "a connection to a broker of Kafka is of no use; another one is made");
                }
                Err(error) => return Err(error),
            }
        }
        let address = known.metadata.brokers.get(&leader);
        let address = address.ok_or_else(|| Error::unavailable(format!("broker {leader} is not known")))?;
        let mut connection = Connection::open(&self.server, address, &self.limits).await?;
        let answers = connection.ask_all(api, questions, wait).await?;
        self.connections().insert(leader, connection);
        Ok(answers)
    }

    /// Refuses an error code that is of a whole answer.
    fn check(&self, code: i16) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        self.doubt();
        Err(self.refused(code))
    }

    /// Forgets who leads what, so that it is asked again.
    pub(super) fn doubt(&self) {
        // The brokers that were known stay known: those of the settings may be gone.
        if let Some(known) = self.lock().as_mut() {
            let (metadata, by) = (known.metadata.clone(), known.by.clone());
            *known = Arc::new(Known { metadata, by, asked: None });
        }
    }

    /// What an error code of a broker means.
    pub(super) fn refused(&self, code: i16) -> Error {
        let about = self.about(None);
        match code {
            UNKNOWN_TOPIC => {
                Error::new(ErrorKind::NotFound, format!("{about} is not there, or may not be known to us"))
            }
            INVALID_TOPIC => Error::invalid_argument(format!("{about} has a name that no topic can have")),
            TOPIC_DENIED | GROUP_DENIED | CLUSTER_DENIED => {
                Error::new(ErrorKind::PermissionDenied, format!("{about} may not be read (error {code})"))
            }
            UNSUPPORTED_COMPRESSION => Error::failed_precondition(format!(
                "{about} has messages that are compressed as its broker does not give them to us (error {code})"
            )),
            code if PASSING.contains(&code) => Error::unavailable(format!("{about} cannot be read now (error {code})")),
            code => Error::internal(format!("{about} cannot be read (error {code})")),
        }
    }

    pub(super) fn about(&self, partition: Option<i32>) -> String {
        let partition = partition.map(|partition| format!("partition {partition} of ")).unwrap_or_default();
        format!("{partition}topic \"{}\" of Kafka at {}", self.topic, self.server)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<i32, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By each leader of some of `wants`, what there is of them; of partitions without a leader that there is none.
pub(super) fn by_leader(known: &Known, wants: &[Want]) -> Vec<(Option<i32>, Vec<Want>)> {
    let mut leaders: BTreeMap<Option<i32>, Vec<Want>> = BTreeMap::new();
    for want in wants {
        let leader = known.metadata.leaders.get(&want.partition).copied().flatten();
        leaders.entry(leader).or_default().push(*want);
    }
    leaders.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::stream::kafka::{
        messages::{API_VERSIONS, NEEDED, SASL_AUTHENTICATE, SASL_HANDSHAKE},
        wire::Writer,
    };

    /// Answers of a broker at `port` that leads the only partition of topic `t` and lets `reader` in.
    fn answer(port: u16, api: i16, question: &[u8]) -> Vec<u8> {
        let mut answer = Writer::default();
        if api == API_VERSIONS.key {
            let apis = [NEEDED.as_slice(), &[SASL_HANDSHAKE, SASL_AUTHENTICATE]].concat();
            answer.i16(0).count(apis.len());
            for api in apis {
                answer.i16(api.key).i16(0).i16(20);
            }
        } else if api == SASL_HANDSHAKE.key {
            answer.i16(0).count(1).text("PLAIN");
        } else if api == SASL_AUTHENTICATE.key && question.ends_with(b"\0reader\0secret") {
            answer.i16(0).i16(-1).bytes(&[]);
        } else if api == SASL_AUTHENTICATE.key {
            answer.i16(58).text("who are you").bytes(&[]);
        } else if api == METADATA.key {
            answer.i32(0).count(1).i32(1).text("localhost").i32(i32::from(port)).i16(-1).i16(-1).i32(1);
            answer.count(1).i16(0).text("t").i8(0).count(1).i16(0).i32(0).i32(1).count(0).count(0);
        } else {
            answer.i32(0).count(1).text("t").count(1).i32(0).i16(0).i64(-1).i64(5);
        }
        answer.0
    }

    /// Answers questions, and hangs up after two about offsets, as a broker does when nobody asks for long.
    async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, port: u16) {
        let mut offsets = 0;
        while offsets < 2 {
            let Ok(length) = stream.read_i32().await else { return };
            let mut question = vec![0; length as usize];
            stream.read_exact(&mut question).await.unwrap();
            let api = i16::from_be_bytes([question[0], question[1]]);
            offsets += usize::from(api == LIST_OFFSETS.key);
            let answer = [&question[4..8], &answer(port, api, &question)].concat();
            stream.write_i32(answer.len() as i32).await.unwrap();
            stream.write_all(&answer).await.unwrap();
            stream.flush().await.unwrap();
        }
    }

    fn certificate(name: &str) -> Vec<u8> {
        let home = concat!(env!("CARGO_MANIFEST_DIR"), "/../mlops-serve/tests/it/certificates");
        std::fs::read(format!("{home}/{name}")).unwrap()
    }

    /// A broker on a port of its own.
    async fn broker(tls: bool) -> u16 {
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = tls.then(|| {
            use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
            let chain = CertificateDer::from_pem_slice(&certificate("server.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_slice(&certificate("server.key")).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let config = builder.unwrap().with_no_client_auth().with_single_cert(vec![chain], key).unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else { return serve(stream, port).await };
                    // A client that does not trust us hangs up.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, port).await;
                    }
                });
            }
        });
        port
    }

    fn cluster(server: KafkaServer) -> Cluster {
        let limits = Limits { client: "us".into(), timeout: Duration::from_secs(5), bytes_max: 1_000 };
        Cluster::new(server, "t", limits)
    }

    async fn ask(server: KafkaServer) -> Result<(u64, u64)> {
        let cluster = cluster(server);
        let known = cluster.known().await?;
        cluster.ends(&known, 0).await
    }

    #[tokio::test]
    async fn a_connection_that_the_broker_has_closed_is_made_again() {
        let port = broker(false).await;
        let cluster = cluster(KafkaServer::at(&format!("localhost:{port}")).unwrap());
        let known = cluster.known().await.unwrap();
        for _ in 0..3 {
            assert_eq!(cluster.ends(&known, 0).await.unwrap(), (5, 5));
        }
        assert_eq!(cluster.ends(&known, 1).await.unwrap_err().kind(), ErrorKind::Unavailable, "no leader");
    }

    #[tokio::test]
    async fn credentials_are_shown_over_tls() {
        let port = broker(true).await;
        let server = || KafkaServer::at(&format!("localhost:{port}")).unwrap();
        let known = || server().with_authorities(&certificate("ca.pem")).unwrap();
        assert_eq!(ask(known().with_password("reader", "secret")).await.unwrap(), (5, 5));
        let error = ask(known().with_password("reader", "other")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(error.message().contains("who are you") && !error.chain().contains("other"), "{error}");
        let error = ask(known().with_scram_sha_256("reader", "secret")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "what it says is no challenge: {error}");
        let error = ask(server().with_tls()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "an authority that nobody knows: {error}");
        let error = ask(server()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("only with TLS"), "{error}");
    }
}
