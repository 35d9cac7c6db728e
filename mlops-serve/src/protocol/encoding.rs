//! Compressed bodies: gzip and deflate, both ways.
//!
//! Invariant: no more than the limit is ever inflated, whatever a body claims. `deflate` is the zlib format of
//! RFC 9110; the bare stream that some clients send under that name is taken too.

use std::io::{Read, Write};

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use flate2::{
    Compression,
    read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use mlops_core::{Error, Result};

use super::Failure;

/// A compression that the server reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn parse(token: &str) -> Option<Self> {
        match token {
            _ if token.eq_ignore_ascii_case("gzip") || token.eq_ignore_ascii_case("x-gzip") => Some(Self::Gzip),
            _ if token.eq_ignore_ascii_case("deflate") => Some(Self::Deflate),
            _ => None,
        }
    }
}

/// How the body of a request is compressed.
///
/// # Errors
/// 415 for anything but `gzip`, `deflate` and `identity`.
pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Encoding>, Failure> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(None) };
    let token = value.to_str().unwrap_or_default().trim();
    if token.eq_ignore_ascii_case("identity") {
        return Ok(None);
    }
    Encoding::parse(token).map(Some).ok_or_else(|| {
        let text = format!("content encoding {token:?} is not taken; send gzip, deflate or the body as it is");
        Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
    })
}

/// The compression that the client prefers among those the server writes; none when it accepts neither.
pub(crate) fn for_response(headers: &HeaderMap) -> Option<Encoding> {
    let listed = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut best: Option<(f32, Encoding)> = None;
    for part in listed.flat_map(|list| list.split(',')) {
        let (token, parameters) = part.split_once(';').unwrap_or((part, ""));
        let Some(encoding) = Encoding::parse(token.trim()) else { continue };
        let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
        if weight > 0.0 && best.is_none_or(|(least, _)| weight > least) {
            best = Some((weight, encoding));
        }
    }
    best.map(|(_, encoding)| encoding)
}

/// What inflating came to.
#[derive(Debug)]
pub(crate) enum Inflated {
    Body(Bytes),
    TooLarge,
}

/// Undoes the compression of a request. Computation.
///
/// # Errors
/// `InvalidArgument` for damaged data.
pub(crate) fn inflate(encoding: Encoding, body: &[u8], bytes_max: usize) -> Result<Inflated> {
    // RFC 1950: method 8 in the low four bits, and the first two bytes are a multiple of 31.
    let zlib =
        matches!(body, [first, second, ..] if first & 15 == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0);
    match encoding {
        Encoding::Gzip => read_all(MultiGzDecoder::new(body), encoding, bytes_max),
        Encoding::Deflate if zlib => read_all(ZlibDecoder::new(body), encoding, bytes_max),
        Encoding::Deflate => read_all(DeflateDecoder::new(body), encoding, bytes_max),
    }
}

fn read_all(decoder: impl Read, encoding: Encoding, bytes_max: usize) -> Result<Inflated> {
    let mut inflated = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(limit)
        .read_to_end(&mut inflated)
        .map_err(|_| Error::invalid_argument(format!("the body is not valid {}", encoding.name())))?;
    Ok(if inflated.len() > bytes_max { Inflated::TooLarge } else { Inflated::Body(inflated.into()) })
}

/// Compresses an answer, fast rather than small. Computation.
///
/// # Errors
/// Never in practice: memory is the only thing written to.
pub(crate) fn deflate(encoding: Encoding, body: &[u8]) -> Result<Vec<u8>> {
    let room = Vec::with_capacity(body.len() / 2);
    let written = match encoding {
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(room, Compression::fast());
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        Encoding::Deflate => {
            let mut encoder = ZlibEncoder::new(room, Compression::fast());
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
    };
    written.map_err(|error| Error::internal("the answer cannot be compressed").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> Option<Encoding> {
        for_response(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value.parse().unwrap())]))
    }

    #[test]
    fn the_best_accepted_encoding_wins() {
        assert_eq!(accepts("gzip, deflate, br"), Some(Encoding::Gzip));
        assert_eq!(accepts("gzip;q=0.2, deflate;q=0.8"), Some(Encoding::Deflate));
        assert_eq!(accepts("gzip;q=0, br"), None);
        assert_eq!(accepts("identity"), None);
        assert_eq!(for_response(&HeaderMap::new()), None);
    }

    #[test]
    fn bodies_survive_both_ways_and_bombs_stop_at_the_limit() {
        let body = vec![7_u8; 100_000];
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let small = deflate(encoding, &body).unwrap();
            assert!(small.len() < 1_000);
            assert!(matches!(inflate(encoding, &small, 100_000).unwrap(), Inflated::Body(back) if back == body));
            assert!(matches!(inflate(encoding, &small, 99_999).unwrap(), Inflated::TooLarge));
            assert!(inflate(encoding, &small[..small.len() / 2], 100_000).is_err());
            assert!(inflate(encoding, b"neither", 100).is_err());
        }
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        bare.write_all(&body).unwrap();
        let bare = bare.finish().unwrap();
        assert!(matches!(inflate(Encoding::Deflate, &bare, 100_000).unwrap(), Inflated::Body(back) if back == body));
    }
}
