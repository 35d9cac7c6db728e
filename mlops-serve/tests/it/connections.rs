//! Real connections: slow ones are cut, many are served, and a shutdown loses no request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mlops_core::ErrorKind;
use mlops_serve::{Server, ServerSettings};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use crate::{
    client::models,
    support::{GATED, Gate, Listening, answer, exchange, in_time, posted, settings},
};

const ADD: (&str, &str) = ("/v1/models/add:predict", r#"{"instances":[[1,2]]}"#);
const SUM: &[u8] = br#"{"predictions":[3.0]}"#;

async fn listening(settings: ServerSettings) -> Listening {
    Listening::start(Server::builder(models()).with_settings(settings).build().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_is_cut_off_and_others_are_served() {
    let limits = json!({"connections": {"header_timeout_ms": 200}, "limits": {"body_timeout_ms": 200}});
    let server = listening(settings(limits)).await;
    for sent in ["", "P", "POST /v1/models/add:predict HTTP/1.1\r\nhost: here\r\nx-slow: "] {
        let mut stream = server.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // A reset is an end, too.
        let ended = in_time(stream.read_to_end(&mut rest)).await;
        assert!(ended.is_err() || rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{sent:?}: {rest:?}");
    }
    let head = "POST /v1/models/add:predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/grpc\r\n";
    told(&server, &format!("{head}content-length: 100\r\n\r\n{{"), 408).await;
    told(&server, &posted(ADD), 200).await;
    in_time(server.stop()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_served_is_cut_off_when_the_next_head_does_not_come() {
    let server = listening(settings(json!({"connections": {"header_timeout_ms": 200}}))).await;
    for sent in ["", "POST /v1/models/add:predict HTTP/1.1\r\nhost: he"] {
        let (mut stream, began) = in_time(served(&server)).await;
        // On a busy machine it may be cut off before this comes.
        let _ = stream.write_all(sent.as_bytes()).await;
        let mut rest = Vec::new();
        let ended = in_time(stream.read_to_end(&mut rest)).await;
        assert!(began.elapsed() >= Duration::from_millis(200), "{sent:?}: too early");
        assert!(ended.is_err() || rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{sent:?}: {rest:?}");
    }
    in_time(server.stop()).await.unwrap().unwrap();
}

/// A connection on which a request was answered, and when that was sent.
async fn served(server: &Listening) -> (TcpStream, Instant) {
    loop {
        let mut stream = server.connect().await;
        let began = Instant::now();
        if exchange(&mut stream, &posted(ADD)).await.is_ok_and(|answered| answered.status == 200) {
            return (stream, began);
        }
    }
}

/// Sends a request until it is told this: on a busy machine, this client may itself be the slow one.
async fn told(server: &Listening, request: &str, status: u16) {
    in_time(async {
        while !exchange(&mut server.connect().await, request).await.is_ok_and(|answered| answered.status == status) {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_open_connections_are_served_and_no_more_than_may_be() {
    let server = listening(settings(json!({"connections": {"connections_max": 200}}))).await;
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(server.connect().await);
    }
    for round in 0..2 {
        for stream in &mut open {
            assert_eq!(exchange(stream, &posted(ADD)).await.unwrap().body, SUM, "round {round}");
        }
    }
    // The operating system takes it; the server does so when another has gone.
    let mut waiting = server.connect().await;
    waiting.write_all(posted(ADD).as_bytes()).await.unwrap();
    for stream in &mut open {
        assert_eq!(exchange(stream, &posted(ADD)).await.unwrap().status, 200);
    }
    let mut nothing = [0; 1];
    assert!(waiting.try_read(&mut nothing).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    drop(open.pop());
    assert_eq!(answer(&mut waiting).await.unwrap().body, SUM);
    drop((waiting, open));
    in_time(server.stop()).await.unwrap().unwrap();
}

/// Sends requests until the server is gone. One that was sent must be answered; only a connection that the server never
/// accepted may end without an answer, and only when the shutdown has begun.
async fn client(address: std::net::SocketAddr, stopping: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    while let Ok(mut stream) = TcpStream::connect(address).await {
        let mut fresh = true;
        loop {
            let told = match exchange(&mut stream, &posted(ADD)).await {
                Ok(told) => told,
                Err(_) if fresh && stopping.load(Ordering::SeqCst) => break,
                Err(error) => panic!("a request got no answer: {error}"),
            };
            assert_eq!((told.status, told.body.as_slice()), (200, SUM));
            answered.fetch_add(1, Ordering::SeqCst);
            if told.head.contains("connection: close") {
                break;
            }
            fresh = false;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_under_load_fails_no_request() {
    // A connection is open for as long as its client may need to send the next request, however busy the machine is.
    let server = listening(settings(json!({"connections": {"linger_ms": 20_000}}))).await;
    let (stopping, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> =
        (0..8).map(|_| tokio::spawn(client(server.address, Arc::clone(&stopping), Arc::clone(&answered)))).collect();
    in_time(async {
        while answered.load(Ordering::SeqCst) < 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stopping.store(true, Ordering::SeqCst);
    in_time(server.stop()).await.unwrap().unwrap();
    for client in clients {
        in_time(client).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_after_the_shutdown_began() {
    let (gate, repository) = Gate::model();
    let server = Listening::start(Server::builder(repository).build().unwrap()).await;
    let mut stream = server.connect().await;
    stream.write_all(posted(GATED).as_bytes()).await.unwrap();
    gate.started().await;
    let stopped = server.stop();
    gate.open();
    let answered = answer(&mut stream).await.unwrap();
    assert_eq!((answered.status, answered.body.as_slice()), (200, br#"{"predictions":[1.5]}"#.as_slice()));
    in_time(stopped).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_waits_at_the_end_of_the_drain_is_told_to_come_again() {
    let (gate, repository) = Gate::model();
    let settings = settings(json!({"workers": 1, "drain_timeout_ms": 300, "connections": {"linger_ms": 0}}));
    let server = Server::builder(repository).with_settings(settings).build().unwrap();
    let router = server.clone().into_router();
    let server = Listening::start(server).await;
    let mut running = server.connect().await;
    running.write_all(posted(GATED).as_bytes()).await.unwrap();
    gate.started().await;
    let mut waiting = server.connect().await;
    waiting.write_all(posted(GATED).as_bytes()).await.unwrap();
    in_time(async {
        let page =
            async || crate::client::call(&router, "GET", "/metrics", axum::body::Body::empty()).await.1.to_string();
        while !page().await.contains("mlops_serve_queue_entries 1\\n") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stopped = server.stop();
    let answered = answer(&mut waiting).await.unwrap();
    assert_eq!(answered.status, 503);
    assert!(answered.head.contains("retry-after: 1\r\n"), "{}", answered.head);
    let outcome = in_time(stopped).await.unwrap();
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::DeadlineExceeded, "one was still running");
    gate.open();
}
