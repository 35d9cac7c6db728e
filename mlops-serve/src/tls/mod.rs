//! TLS for the server's own listener, by rustls with the ring provider; mutual where the client must show a
//! certificate.
//!
//! The provider is named here, so it works whatever else a program links. Certificates are handed in as PEM text; where
//! they come from is the application's business.

use std::{fmt, io, sync::Arc};

use mlops_core::{Error, Result};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::access::PeerCertificate;

/// Whether a client must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clients {
    Anyone,
    MayBeKnown,
    MustBeKnown,
}

/// How connections are encrypted, and which clients are let in.
///
/// ```no_run
/// use mlops_serve::Tls;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (chain, key) = (std::fs::read("server.pem")?, std::fs::read("server.key")?);
/// let tls = Tls::from_pem(&chain, &key)?;
/// let mutual = Tls::from_pem(&chain, &key)?.with_required_clients(&std::fs::read("clients-ca.pem")?)?;
/// # drop((tls, mutual)); Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tls {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    acceptor: TlsAcceptor,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

fn bad(what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid_argument(format!("{what} cannot be used; expected PEM")).with_source(error)
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<_, _>>().map_err(|error| bad(what, error))?;
    if chain.is_empty() {
        return Err(Error::invalid_argument(format!("{what}: there is no certificate in it; expected PEM")));
    }
    Ok(chain)
}

impl Tls {
    /// With the certificate of the server and those that vouch for it, in this order, and its private key.
    ///
    /// # Errors
    /// `InvalidArgument` for text that is no PEM, and for a key that is not the certificate's.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self> {
        let chain = certificates("the certificate chain", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad("the private key", error))?;
        let acceptor = acceptor(&chain, &key, Clients::Anyone, &[])?;
        Ok(Self { chain, key: Arc::new(key), acceptor })
    }

    /// Lets in only clients that show a certificate of one of these authorities.
    ///
    /// # Errors
    /// `InvalidArgument` for text that is no PEM of certificates.
    pub fn with_required_clients(self, authorities: &[u8]) -> Result<Self> {
        self.with_clients(Clients::MustBeKnown, authorities)
    }

    /// Takes a certificate of one of these authorities as credentials, and lets in clients without one too.
    ///
    /// # Errors
    /// As [`Tls::with_required_clients`].
    pub fn with_optional_clients(self, authorities: &[u8]) -> Result<Self> {
        self.with_clients(Clients::MayBeKnown, authorities)
    }

    fn with_clients(mut self, clients: Clients, authorities: &[u8]) -> Result<Self> {
        let authorities = certificates("the authorities of clients", authorities)?;
        self.acceptor = acceptor(&self.chain, &self.key, clients, &authorities)?;
        Ok(self)
    }

    /// Shakes hands.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<PeerCertificate>)> {
        let stream = self.acceptor.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(|certificate| PeerCertificate(Arc::from(certificate.as_ref())));
        Ok((stream, certificate))
    }
}

fn acceptor(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    clients: Clients,
    authorities: &[CertificateDer<'static>],
) -> Result<TlsAcceptor> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("tls cannot be set up").with_source(error))?;
    let builder = if clients == Clients::Anyone {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).map_err(|error| bad("an authority of clients", error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = if clients == Clients::MayBeKnown { verifier.allow_unauthenticated() } else { verifier };
        let verifier = verifier.build().map_err(|error| bad("the authorities of clients", error))?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut config = builder
        .with_single_cert(chain.to_vec(), key.clone_key())
        .map_err(|error| bad("the certificate with its key", error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
