//! How connections to servers of streams are encrypted: by rustls with the ring provider, which is named here, so it
//! works whatever else a program links.

use std::{fmt, sync::Arc};

use mlops_core::{Error, Result};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// Whom we trust, and who we are.
#[derive(Default)]
pub(super) struct Tls {
    /// Those that the system trusts where there are none.
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authorities, identity } = self;
        f.debug_struct("Tls")
            .field("authorities", &authorities.len())
            .field("identity", &identity.is_some())
            .finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn trust(&mut self, authorities: &[u8]) -> Result<()> {
        self.authorities = certificates("the authorities of a server", authorities)?;
        Ok(())
    }

    pub(super) fn identify(&mut self, chain: &[u8], key: &[u8]) -> Result<()> {
        let chain = certificates("the certificate for a server", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad("the key for a server", error))?;
        self.identity = Some((chain, key));
        Ok(())
    }

    /// Whether somebody said whom we trust or who we are.
    #[cfg(feature = "nats")]
    pub(super) fn is_given(&self) -> bool {
        !self.authorities.is_empty() || self.identity.is_some()
    }

    pub(super) fn config(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        if self.authorities.is_empty() {
            // Where the system has none, a server that wants TLS is not trusted, and that is told.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(|error| bad("an authority of a server", error))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("the ring provider has no usual version of TLS").with_source(error))?
            .with_root_certificates(roots);
        match &self.identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| bad("the certificate and the key for a server", error)),
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Error::invalid_argument(format!("{what}: there is no certificate in it; expected PEM"))),
        Err(error) => Err(bad(what, error)),
    }
}

fn bad(what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid_argument(format!("{what} cannot be used; expected PEM")).with_source(error)
}
