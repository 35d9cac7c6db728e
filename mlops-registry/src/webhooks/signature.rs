//! Signatures of messages as MLflow makes them: HMAC-SHA-256 (RFC 2104) over `<delivery id>.<timestamp>.<body>`, written
//! `v1,` and Base64.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mlops_core::{Error, Result};
use sha2::Sha256;

/// The header of the signature.
pub const SIGNATURE_HEADER: &str = "X-MLflow-Signature";
/// The header of the time of the attempt, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "X-MLflow-Timestamp";
/// The header of the delivery's id, the same in every attempt.
pub const DELIVERY_ID_HEADER: &str = "X-MLflow-Delivery-Id";

/// The signature of a message.
///
/// ```
/// use mlops_registry::webhooks::sign;
///
/// let signature = sign("secret", "id", 5, "{}")?;
/// assert!(signature.starts_with("v1,"));
/// assert_ne!(signature, sign("secret", "id", 6, "{}")?);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `Internal` when the secret cannot be a key; any text can.
pub fn sign(secret: &str, delivery_id: &str, timestamp: i64, body: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|error| Error::internal("a webhook secret is no key").with_source(error))?;
    mac.update(format!("{delivery_id}.{timestamp}.{body}").as_bytes());
    Ok(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_python() {
        // Python 3.11: base64.b64encode(hmac.new(b"s3cret", b"d-1.1700000000.{\"a\":1}", hashlib.sha256).digest()).
        let signature = sign("s3cret", "d-1", 1_700_000_000, r#"{"a":1}"#).unwrap();
        assert_eq!(signature, "v1,G2ShuVzSSSfy1jCfd6eHfcRxF+GSmEbR2H97FZuxIU8=");
    }
}
