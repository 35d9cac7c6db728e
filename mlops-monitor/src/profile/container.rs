//! The stored form of a profile, version 1; the layout is in `docs/formats.md`.
//!
//! Invariant: whatever bytes come in, reading ends in a profile that could have been observed or in an error, and
//! allocates no more than a small multiple of the bytes that are there. The same profile gives the same bytes.

use std::collections::HashSet;

use mlops_core::{Digest, Error, Result};

use super::{
    codec::{Reader, Writer, damaged},
    column::{Column, Header},
    reference_format::PROFILE_BYTES_MAX,
    settings::SketchSettings,
    stream::{Part, Profile, ROWS_MAX, Sealed},
};

const MAGIC: &[u8; 8] = b"MLOPSPRF";
const FORMAT_VERSION: u32 = 1;
const DIGEST_BYTES: usize = 32;
/// Bytes of a column header without names.
const HEADER_BYTES_MIN: usize = 9;

impl Profile {
    /// The bytes to store or send. They depend on what was observed by whom, not on the order of merging.
    ///
    /// # Errors
    /// `ResourceExhausted` when they are more than [`PROFILE_BYTES_MAX`]: lower `parts_max` or `kll_k`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let sealed = self.sealed()?;
        let mut to = Writer::default();
        to.bytes(MAGIC);
        to.u32(FORMAT_VERSION);
        to.u16(sealed.settings.kll_k);
        to.u32(sealed.settings.distinct_values_max);
        to.u32(sealed.settings.levels_max);
        to.u32(sealed.settings.parts_max);
        to.length(sealed.headers.len());
        sealed.headers.iter().for_each(|header| header.write(&mut to));
        to.length(sealed.parts.len());
        sealed.parts.iter().for_each(|sealed| sealed.part.write(&mut to));
        if to.len() > PROFILE_BYTES_MAX - DIGEST_BYTES {
            return Err(Error::resource_exhausted(format!(
                "profile takes {} bytes, at most {PROFILE_BYTES_MAX} are allowed; lower parts_max or kll_k",
                to.len() + DIGEST_BYTES
            )));
        }
        let mut bytes = to.into_bytes();
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Ok(bytes)
    }

    /// Reads what [`Profile::to_bytes`] wrote; what is observed next is a part of its own.
    ///
    /// # Errors
    /// `DataLoss` when the bytes are damaged or not a profile, `FailedPrecondition` when they are of a newer format,
    /// `ResourceExhausted` when they exceed [`PROFILE_BYTES_MAX`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > PROFILE_BYTES_MAX {
            return Err(Error::resource_exhausted(format!(
                "profile has {} bytes, at most {PROFILE_BYTES_MAX} are read",
                bytes.len()
            )));
        }
        let mut start = Reader::new(bytes);
        if start.take(MAGIC.len()).ok() != Some(MAGIC.as_slice()) {
            return Err(Error::data_loss("not a profile: it must begin with MLOPSPRF"));
        }
        let version = start.u32()?;
        if version > FORMAT_VERSION {
            return Err(Error::failed_precondition(format!(
                "profile has format {version}, this version reads up to {FORMAT_VERSION}; upgrade mlops"
            )));
        }
        let split = bytes.len().checked_sub(DIGEST_BYTES).and_then(|end| bytes.split_at_checked(end));
        let (content, digest) = split.ok_or_else(|| damaged("it ends too early"))?;
        if version == 0 || Digest::of(content).as_bytes() != digest {
            return Err(damaged("its digest does not match"));
        }
        read(content)
    }
}

fn read(content: &[u8]) -> Result<Profile> {
    let mut from = Reader::new(content);
    from.take(MAGIC.len() + 4)?;
    let settings = SketchSettings {
        kll_k: from.u16()?,
        distinct_values_max: from.u32()?,
        levels_max: from.u32()?,
        parts_max: from.u32()?,
    };
    settings.validate().map_err(|error| damaged("settings out of range").with_source(error))?;
    let columns = from.count(HEADER_BYTES_MIN, usize::MAX)?;
    let headers = (0..columns).map(|_| Header::read(&mut from)).collect::<Result<Vec<_>>>()?;
    let mut seen = HashSet::new();
    if !headers.iter().all(|header| seen.insert(header.name.as_str())) {
        return Err(damaged("a column appears twice"));
    }
    let parts = from.count(8 + 8 * columns, settings.parts_max as usize)?;
    let parts = (0..parts).map(|_| read_part(&mut from, &headers, &settings)).collect::<Result<Vec<_>>>()?;
    from.end()?;
    let rows = parts.iter().try_fold(0_u64, |sum, sealed| sum.checked_add(sealed.part.rows));
    if rows.is_none_or(|rows| rows > ROWS_MAX) {
        return Err(damaged("more rows than a profile counts"));
    }
    Ok(Profile::of_parts(settings, headers, parts))
}

fn read_part(from: &mut Reader<'_>, headers: &[Header], settings: &SketchSettings) -> Result<Sealed> {
    let rows = from.u64()?;
    if rows > ROWS_MAX {
        return Err(damaged("more rows than a profile counts"));
    }
    let columns = headers.iter().map(|header| Column::read(from, header.class, settings, rows));
    Ok(Sealed::of_sealed(Part { rows, columns: columns.collect::<Result<_>>()? }))
}
