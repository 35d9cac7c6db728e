//! How a NATS server lets a source in: by name and password, by a token, by certificates.

use std::{path::Path, sync::Arc, time::Duration};

use mlops_core::{ErrorKind, Result};
use mlops_features::stream::{JsonMessages, NatsServer, NatsSource, Positions};

use super::{nats_streams::Nats, number, take};
use crate::servers::{Kind, Server};

/// Whether a source of `server` is let in and can ask about streams.
async fn ask(server: &NatsServer) -> Result<()> {
    let decoder = Arc::new(JsonMessages::new(number()));
    let settings = Nats::settings(true, Duration::ZERO);
    let source = NatsSource::connect(server, "events", [("0", "events")], decoder, settings).await?;
    let error = take(&source, &mut Positions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    Ok(())
}

#[tokio::test]
async fn credentials_are_shown_to_the_server() {
    let Some(server) = Server::start_nats(&["--user", "reader", "--pass", "p@ss"]) else { return };
    let url = server.url();
    let at = |user: &str| NatsServer::at(&url.replace("//", &format!("//{user}"))).unwrap();
    ask(&at("reader:p%40ss@")).await.unwrap();
    ask(&at("").with_password("reader", "p@ss")).await.unwrap();
    for wrong in [at(""), at("reader:pass@"), at("").with_token("p@ss")] {
        let error = ask(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(error.message().contains("localhost:") && !error.chain().contains("p@ss"), "{error}");
    }
    let server = Server::start_nats(&["--auth", "t0ken"]).unwrap();
    ask(&NatsServer::at(&server.url().replace("//", "//t0ken@")).unwrap()).await.unwrap();
    ask(&NatsServer::at(&server.url()).unwrap().with_token("t0ken")).await.unwrap();
    let address = NatsServer::at(&server.url()).unwrap();
    drop(server);
    let error = ask(&address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains(&address.to_string()), "{error}");
}

/// The certificates are those of the model server's tests: `ca` signed `server` (for localhost) and `client`.
#[tokio::test]
async fn tls_is_spoken_and_mutual_where_the_server_wants_it() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlops-serve/tests/it/certificates");
    let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let read = |name: &str| std::fs::read(home.join(name)).unwrap();
    let (server, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
    let options = ["--tls", "--tlscert", &server, "--tlskey", &key, "--tlscacert", &ca];
    let Some(server) = Server::start_nats(&[options.as_slice(), &["--tlsverify"]].concat()) else { return };
    let at = || NatsServer::at(&server.url()).unwrap();
    let known = at().with_authorities(&read("ca.pem")).unwrap();
    let error = ask(&known).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "a client without a certificate: {error}");
    ask(&known.with_certificate(&read("client.pem"), &read("client.key")).unwrap()).await.unwrap();
    let stranger = at().with_certificate(&read("client.pem"), &read("client.key")).unwrap();
    let error = ask(&stranger).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "an authority that nobody knows: {error}");
    let plain = Server::start(Kind::Nats).unwrap();
    let at = || NatsServer::at(&plain.url()).unwrap();
    ask(&at()).await.unwrap();
    let error = ask(&at().with_authorities(&read("ca.pem")).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "a server that does not speak TLS: {error}");
}
