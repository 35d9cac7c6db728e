//! TLS and mutual TLS with a real client. The certificates are those of `certificates/`: `ca` signed `server` (for
//! `localhost`) and `client`.

use std::sync::Arc;

use mlops_core::{Digest, Principal};
use mlops_serve::{Server, Tls};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    client::models,
    support::{Answered, Listening, access, exchange, in_time, keys, posted},
};

const CA: &[u8] = include_bytes!("certificates/ca.pem");
const SERVER: (&[u8], &[u8]) = (include_bytes!("certificates/server.pem"), include_bytes!("certificates/server.key"));
const CLIENT: (&[u8], &[u8]) = (include_bytes!("certificates/client.pem"), include_bytes!("certificates/client.key"));
const ADD: (&str, &str) = ("/v1/models/add:predict", r#"{"instances":[[1,2]]}"#);

fn certificate(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

/// A server of TLS; with access control, the owner of the client's certificate may ask `add`.
async fn listening(tls: Tls, guarded: bool) -> Listening {
    let mut server = Server::builder(models());
    if guarded {
        let owner = Digest::of(certificate(CLIENT.0).as_ref());
        server = server.with_access(access(keys().with_digest(owner, Principal::new("asker"))));
    }
    let server = server.build().unwrap();
    Listening::with(|listener, shutdown| server.serve_tls(listener, tls, shutdown)).await
}

async fn shake_hands(server: &Listening, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    in_time(TlsConnector::from(Arc::new(config)).connect(name, server.connect().await)).await
}

async fn ask(server: &Listening, config: ClientConfig) -> std::io::Result<Answered> {
    exchange(&mut shake_hands(server, config).await?, &posted(ADD)).await
}

/// A client that trusts `authority`, and shows its certificate if it is told to.
fn client(authority: &[u8], shows: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(authority)).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    if shows {
        let key = PrivateKeyDer::from_pem_slice(CLIENT.1).unwrap();
        builder.with_client_auth_cert(vec![certificate(CLIENT.0)], key).unwrap()
    } else {
        builder.with_no_client_auth()
    }
}

fn tls() -> Tls {
    Tls::from_pem(SERVER.0, SERVER.1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_encrypted_for_clients_that_trust_the_server() {
    let server = listening(tls(), false).await;
    assert_eq!(ask(&server, client(CA, false)).await.unwrap().body, br#"{"predictions":[3.0]}"#);
    assert!(shake_hands(&server, client(CLIENT.0, false)).await.is_err(), "another authority vouches for nothing");
    let plain = exchange(&mut server.connect().await, &posted(ADD)).await;
    assert!(plain.is_err(), "nothing is told in the clear");
    for protocol in ["h2", "http/1.1"] {
        let mut config = client(CA, false);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = shake_hands(&server, config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    }
    in_time(server.stop()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_asked_for_and_is_who_the_client_is() {
    let server = listening(tls().with_required_clients(CA).unwrap(), true).await;
    assert_eq!(ask(&server, client(CA, true)).await.unwrap().status, 200);
    assert!(ask(&server, client(CA, false)).await.is_err(), "nobody comes in without one");
    in_time(server.stop()).await.unwrap().unwrap();
    let server = listening(tls().with_optional_clients(CA).unwrap(), true).await;
    assert_eq!(ask(&server, client(CA, true)).await.unwrap().status, 200);
    assert_eq!(ask(&server, client(CA, false)).await.unwrap().status, 401, "who shows none is nobody");
    in_time(server.stop()).await.unwrap().unwrap();
}

#[test]
fn what_is_no_certificate_or_no_key_of_it_is_refused() {
    assert!(Tls::from_pem(b"no PEM", SERVER.1).is_err());
    assert!(Tls::from_pem(SERVER.0, CLIENT.1).is_err());
    assert!(tls().with_required_clients(b"").is_err());
}

#[cfg(feature = "remote-https")]
mod remote {
    use std::process::{Command, Output};

    use mlops_core::{
        ErrorKind, Model as _,
        arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, cast::AsArray as _, types::Float64Type},
    };
    use mlops_serve::{RemoteModel, RemoteSettings};

    use super::*;

    const PORT: &str = "MLOPS_TEST_TLS_PORT";
    const TRUSTS: &str = "MLOPS_TEST_TLS_TRUSTS";

    /// The child, for what the system trusts is read from the environment: asks the server over every protocol. Does
    /// nothing when run as a test.
    #[test]
    fn child() {
        let Ok(port) = std::env::var(PORT) else { return };
        let trusts = std::env::var(TRUSTS).unwrap() == "yes";
        let protocols: &[&str] = if cfg!(feature = "grpc") { &["https", "grpcs"] } else { &["https"] };
        for protocol in protocols {
            let settings = RemoteSettings::new(format!("{protocol}://localhost:{port}"), "add");
            let model = RemoteModel::connect(RemoteSettings { attempts_max: 1, ..settings });
            if !trusts {
                assert_eq!(model.unwrap_err().kind(), ErrorKind::Unavailable, "{protocol}");
                continue;
            }
            let a: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
            let b: ArrayRef = Arc::new(Int64Array::from(vec![2]));
            let row = RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap();
            let answer = model.unwrap().predict(&row).unwrap();
            assert_eq!(answer["y"].as_primitive::<Float64Type>().values(), &[3.5], "{protocol}");
        }
    }

    fn ask_as_a_child(port: u16, authority: &str, trusts: &str) -> Output {
        let authority = format!("{}/tests/it/certificates/{authority}", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tls::remote::child"]);
        command.env("SSL_CERT_FILE", authority).env(PORT, port.to_string()).env(TRUSTS, trusts).output().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn models_of_a_server_are_asked_over_tls_if_its_authority_is_trusted() {
        let server = listening(tls(), false).await;
        let port = server.address.port();
        for (authority, trusts) in [("ca.pem", "yes"), ("client.pem", "no")] {
            let asked = tokio::task::spawn_blocking(move || ask_as_a_child(port, authority, trusts));
            let Output { status, stdout, stderr } = in_time(asked).await.unwrap();
            let (told, failed) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            assert!(status.success() && told.contains("1 passed"), "{authority}: {told}{failed}");
        }
        in_time(server.stop()).await.unwrap().unwrap();
    }
}
