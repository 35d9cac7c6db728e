//! S3 and what speaks like it, with parts that clients send to it directly.
//!
//! Invariant: a URL of a part allows exactly that part of that upload until it expires; the secret key never leaves
//! the process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mlops_core::{Digest, Error, Result};
use object_store::{
    ObjectStore,
    aws::{AmazonS3, AmazonS3Builder},
    multipart::{MultipartStore as _, PartId},
    path::Path,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;
use url::Url;

use super::{
    SignedPart,
    cloud::{Signing, SigningParts, bad, known, sign},
    from_store,
};

/// What AWS leaves as it is in a query (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug)]
struct S3(Arc<AmazonS3>);

pub(super) type Store = (Arc<dyn ObjectStore>, Option<Arc<dyn Signing>>);

pub(super) fn open(url: &Url, options: &[(String, String)]) -> Result<Store> {
    let builder = AmazonS3Builder::new().with_url(url.as_str());
    let builder = known("s3", options)?.into_iter().fold(builder, |b, (key, value)| b.with_config(key, value));
    let store = Arc::new(builder.build().map_err(bad)?);
    Ok((Arc::clone(&store) as Arc<dyn ObjectStore>, Some(Arc::new(S3(store)))))
}

#[async_trait]
impl Signing for S3 {
    async fn read(&self, at: &Path, valid: Duration) -> Result<Url> {
        sign(self.0.as_ref(), at, valid).await
    }

    fn parts(&self) -> Option<&dyn SigningParts> {
        Some(self)
    }
}

#[async_trait]
impl SigningParts for S3 {
    async fn begin(&self, at: &Path, parts: u16, valid: Duration) -> Result<(String, Vec<SignedPart>)> {
        let credential = self.0.credentials().get_credential().await.map_err(|error| from_store(error, at.as_ref()))?;
        let read = sign(self.0.as_ref(), at, valid).await?;
        let signer = PartSigner::new(read, &credential.secret_key)?;
        let upload = self.0.create_multipart(at).await.map_err(|error| from_store(error, at.as_ref()))?;
        let part = |number: u16| Ok(SignedPart { number, url: signer.sign(&upload, number)?.into() });
        Ok((upload.clone(), (1..=parts).map(part).collect::<Result<_>>()?))
    }

    async fn complete(&self, at: &Path, upload: &str, tags: Vec<String>) -> Result<()> {
        let parts = tags.into_iter().map(|content_id| PartId { content_id }).collect();
        let made = self.0.complete_multipart(at, &upload.to_owned(), parts).await;
        made.map(drop).map_err(|error| from_store(error, at.as_ref()))
    }

    async fn abort(&self, at: &Path, upload: &str) -> Result<()> {
        self.0.abort_multipart(at, &upload.to_owned()).await.map_err(|error| from_store(error, at.as_ref()))
    }
}

/// Signs the URLs of parts by Signature Version 4 in the query (AWS, "Authenticating Requests: Using Query Parameters"):
/// date, scope and term are those of a signed read of the same object.
struct PartSigner {
    read: Url,
    /// The query of the read without its signature, encoded.
    pairs: Vec<(String, String)>,
    date: String,
    scope: String,
    key: Vec<u8>,
}

impl PartSigner {
    fn new(read: Url, secret: &str) -> Result<Self> {
        let value = |name: &str| read.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let (Some(date), Some(credential)) = (value("X-Amz-Date"), value("X-Amz-Credential")) else {
            return Err(Error::unimplemented("this store signs URLs in another way than Signature Version 4"));
        };
        let Some((_, scope)) = credential.split_once('/') else {
            return Err(Error::internal("a signed URL has a credential without scope"));
        };
        let signed = read.query_pairs().filter(|(key, _)| key != "X-Amz-Signature");
        let pairs = signed.map(|(key, value)| (encoded(&key), encoded(&value))).collect();
        Ok(Self { pairs, date, scope: scope.to_owned(), key: signing_key(secret, scope)?, read })
    }

    /// The URL of one part.
    fn sign(&self, upload: &str, number: u16) -> Result<Url> {
        let part = [("partNumber".to_owned(), number.to_string()), ("uploadId".to_owned(), encoded(upload))];
        let mut pairs: Vec<&(String, String)> = self.pairs.iter().chain(&part).collect();
        pairs.sort_unstable();
        let query = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&");
        let host = &self.read[url::Position::BeforeHost..url::Position::AfterPort];
        let canonical = format!("PUT\n{}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD", self.read.path());
        let (date, scope) = (&self.date, &self.scope);
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", Digest::of(canonical.as_bytes()));
        let signature: String = mac(&self.key, &to_sign)?.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut url = self.read.clone();
        url.set_query(Some(&format!("{query}&X-Amz-Signature={signature}")));
        Ok(url)
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The key of one day, region and service.
fn signing_key(secret: &str, scope: &str) -> Result<Vec<u8>> {
    scope.split('/').try_fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part))
}

fn mac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Error::internal("HMAC refuses a key"))?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signing_key_is_the_one_of_the_published_example() {
        // AWS General Reference, "Deriving the signing key": secret, date, region, service and the key in hex.
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let key = signing_key(secret, "20120215/us-east-1/iam/aws4_request").unwrap();
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
    }

    #[test]
    fn a_part_is_signed_for_itself_alone() {
        let read: Url = "https://b.s3.eu-west-1.amazonaws.com/a%20b?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=K%2F20260102%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20260102T030405Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
            .parse()
            .unwrap();
        let signer = PartSigner::new(read, "secret").unwrap();
        let of = |upload: &str, number: u16| signer.sign(upload, number).unwrap();
        let value = |url: &Url, name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        let first = of("u+1/=", 1);
        assert_eq!((value(&first, "partNumber"), value(&first, "uploadId")), ("1".to_owned(), "u+1/=".to_owned()));
        assert_eq!(value(&first, "X-Amz-Expires"), "60");
        assert_eq!(first.query_pairs().filter(|(key, _)| key == "X-Amz-Signature").count(), 1);
        let signatures = [&first, &of("u+1/=", 2), &of("other", 1)].map(|url| value(url, "X-Amz-Signature"));
        assert!(signatures.iter().all(|signature| signature.len() == 64));
        assert!(signatures[0] != signatures[1] && signatures[0] != signatures[2]);
    }
}
