//! From a URL and options to a store, and what the store can sign.
//!
//! Invariant: credentials come from the options alone, never from the environment; an option that the store does not
//! know is refused by name, its value never shown.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Error, Result};
use object_store::{ObjectStore, ObjectStoreScheme, path::Path};
use url::Url;

use super::SignedPart;

/// What a store offers to clients that it lets in by signed URLs.
#[async_trait]
pub(super) trait Signing: fmt::Debug + Send + Sync + 'static {
    /// A URL by which anybody reads the file until it expires.
    async fn read(&self, at: &Path, valid: Duration) -> Result<Url>;

    /// Uploads in parts, where the store can sign them.
    fn parts(&self) -> Option<&dyn SigningParts> {
        None
    }
}

/// Uploads whose parts clients send to the store itself.
#[async_trait]
pub(super) trait SigningParts: fmt::Debug + Send + Sync + 'static {
    /// Begins an upload; gives its id and a URL for each part, numbered from 1.
    async fn begin(&self, at: &Path, parts: u16, valid: Duration) -> Result<(String, Vec<SignedPart>)>;
    /// Makes the file of the parts whose tags are given in order.
    async fn complete(&self, at: &Path, upload: &str, tags: Vec<String>) -> Result<()>;
    /// Forgets the parts.
    async fn abort(&self, at: &Path, upload: &str) -> Result<()>;
}

/// A store with the path of the files in it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    pub(super) signing: Option<Arc<dyn Signing>>,
}

pub(super) fn bad(message: impl fmt::Display) -> Error {
    Error::invalid_argument(format!("artifact URL is not usable: {message}"))
}

/// Opens the store of a URL that is no local directory.
pub(super) fn open(url: &Url, options: &[(String, String)]) -> Result<Opened> {
    let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(bad)?;
    let (store, signing): (Arc<dyn ObjectStore>, Option<Arc<dyn Signing>>) = match scheme {
        ObjectStoreScheme::Memory => {
            known::<Nothing>("memory", options)?;
            (Arc::new(object_store::memory::InMemory::new()), None)
        }
        #[cfg(feature = "s3")]
        ObjectStoreScheme::AmazonS3 => super::s3::open(url, options)?,
        #[cfg(feature = "gcs")]
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder = object_store::gcp::GoogleCloudStorageBuilder::new().with_url(url.as_str());
            let builder = known("gs", options)?.into_iter().fold(builder, |b, (key, value)| b.with_config(key, value));
            signed(Arc::new(builder.build().map_err(bad)?))
        }
        #[cfg(feature = "azure")]
        ObjectStoreScheme::MicrosoftAzure => {
            let builder = object_store::azure::MicrosoftAzureBuilder::new().with_url(url.as_str());
            let builder = known("az", options)?.into_iter().fold(builder, |b, (key, value)| b.with_config(key, value));
            signed(Arc::new(builder.build().map_err(bad)?))
        }
        #[cfg(feature = "http")]
        ObjectStoreScheme::Http => {
            let host = &url[..url::Position::BeforePath];
            let builder = object_store::http::HttpBuilder::new().with_url(host);
            let options = known("http", options)?.into_iter();
            (Arc::new(options.fold(builder, |b, (key, value)| b.with_config(key, value)).build().map_err(bad)?), None)
        }
        _ => {
            let scheme = url.scheme();
            return Err(bad(format_args!(
                "{scheme}: is not in this build; turn on the feature s3, gcs, azure or http"
            )));
        }
    };
    Ok(Opened { store, prefix, signing })
}

/// The options as keys of one store.
pub(super) fn known<K: std::str::FromStr>(store: &str, options: &[(String, String)]) -> Result<Vec<(K, String)>> {
    let mut unknown = Vec::new();
    let mut found = Vec::with_capacity(options.len());
    for (key, value) in options {
        match key.to_ascii_lowercase().parse() {
            Ok(parsed) => found.push((parsed, value.clone())),
            Err(_) => unknown.push(key.as_str()),
        }
    }
    if unknown.is_empty() {
        return Ok(found);
    }
    Err(Error::invalid_argument(format!("artifact store {store:?} has no options {unknown:?}; remove or rename them")))
}

/// Options of a store that has none.
#[derive(Debug)]
struct Nothing;

impl std::str::FromStr for Nothing {
    type Err = ();
    fn from_str(_: &str) -> std::result::Result<Self, ()> {
        Err(())
    }
}

/// A store that signs reads in `object_store`'s own way.
#[cfg(any(feature = "gcs", feature = "azure"))]
fn signed<S>(store: Arc<S>) -> (Arc<dyn ObjectStore>, Option<Arc<dyn Signing>>)
where
    S: ObjectStore + object_store::signer::Signer,
{
    (Arc::clone(&store) as Arc<dyn ObjectStore>, Some(Arc::new(Reads(store))))
}

#[cfg(any(feature = "gcs", feature = "azure"))]
#[derive(Debug)]
struct Reads<S>(Arc<S>);

#[cfg(any(feature = "gcs", feature = "azure"))]
#[async_trait]
impl<S: object_store::signer::Signer> Signing for Reads<S> {
    async fn read(&self, at: &Path, valid: Duration) -> Result<Url> {
        sign(self.0.as_ref(), at, valid).await
    }
}

/// A signed read.
#[cfg(any(feature = "gcs", feature = "azure", feature = "s3"))]
pub(super) async fn sign(store: &dyn object_store::signer::Signer, at: &Path, valid: Duration) -> Result<Url> {
    // The method's type is of a crate that is not named here; its name is read instead.
    let method = "GET".parse().map_err(|_| Error::internal("GET is no method"))?;
    store.signed_url(method, at, valid).await.map_err(|error| super::from_store(error, at.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, options: &[(&str, &str)]) -> String {
        let options: Vec<_> = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        open(&url.parse().unwrap(), &options).unwrap_err().message().to_owned()
    }

    #[test]
    fn an_unknown_option_is_named_without_its_value() {
        let message = refused("memory:///", &[("aws_secret_access_key", "hunter2")]);
        assert!(message.contains("aws_secret_access_key") && !message.contains("hunter2"), "{message}");
        #[cfg(feature = "s3")]
        for bad in ["colour", "aws_colour"] {
            let message = refused("s3://bucket/prefix", &[(bad, "hunter2"), ("region", "eu-west-1")]);
            assert!(message.contains(bad) && !message.contains("region") && !message.contains("hunter2"), "{message}");
        }
    }

    #[cfg(not(feature = "s3"))]
    #[test]
    fn a_cloud_that_is_not_built_in_names_the_feature() {
        assert!(refused("s3://bucket", &[]).contains("feature s3"));
    }

    #[test]
    fn a_scheme_of_nothing_is_refused() {
        assert!(refused("ftp://host/x", &[]).contains("not usable"));
    }
}
