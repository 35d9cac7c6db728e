//! The hash chain: what makes a changed, removed or reordered row show.
//!
//! Layout: the hash of entry `n` is SHA-256 over four parts, each preceded by its length as eight little-endian
//! bytes: the text `mlops-audit-1`, the hash of entry `n - 1` (32 bytes; zeros for the first), the sequence
//! number `n` as eight little-endian bytes counting from 1, and the entry as JSON. See `docs/formats.md`.

use mlops_core::{AuditEntry, Digest, Error, Result};
use serde::{Deserialize, Serialize};

const DOMAIN: &[u8] = b"mlops-audit-1";

/// The hash before the first entry.
pub(crate) const GENESIS: Digest = Digest::from_bytes([0; 32]);

/// One entry with its place in the chain, as exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainedEntry {
    /// Its number, from 1 without gaps.
    pub sequence: u64,
    /// The entry as JSON text; the hash covers these very bytes.
    pub entry: String,
    /// The hash of the entry before.
    pub previous: Digest,
    /// The hash of this entry.
    pub hash: Digest,
}

impl ChainedEntry {
    /// The entry after `previous`.
    pub(crate) fn after(previous: Digest, sequence: u64, entry: String) -> Self {
        let hash = hash(previous, sequence, &entry);
        Self { sequence, entry, previous, hash }
    }

    /// The entry itself.
    ///
    /// # Errors
    /// `DataLoss` when the text is not an entry.
    pub fn entry(&self) -> Result<AuditEntry> {
        serde_json::from_str(&self.entry)
            .map_err(|error| Error::data_loss(format!("audit entry {} cannot be read: {error}", self.sequence)))
    }
}

fn hash(previous: Digest, sequence: u64, entry: &str) -> Digest {
    Digest::of_parts([DOMAIN, previous.as_bytes().as_slice(), &sequence.to_le_bytes(), entry.as_bytes()])
}

/// What an unbroken chain amounts to. Keep the head elsewhere to notice a log that was cut off at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Number of entries.
    pub entries: u64,
    /// Hash of the last one; zeros when there is none.
    pub head: Digest,
}

/// Checks a chain link by link.
#[derive(Debug)]
pub(crate) struct Verifier {
    state: Verification,
}

impl Verifier {
    pub(crate) fn new() -> Self {
        Self { state: Verification { entries: 0, head: GENESIS } }
    }

    pub(crate) fn next(&mut self, link: &ChainedEntry) -> Result<()> {
        let sequence = self.state.entries + 1;
        let broken = |what: &str| {
            Error::data_loss(format!("audit log is broken at entry {sequence}: {what}")).with("sequence", sequence)
        };
        if link.sequence != sequence {
            return Err(broken(&format!("entry {} stands in its place", link.sequence)));
        }
        if link.previous != self.state.head {
            return Err(broken("it does not follow the entry before"));
        }
        if link.hash != hash(link.previous, link.sequence, &link.entry) {
            return Err(broken("its content was changed"));
        }
        self.state = Verification { entries: sequence, head: link.hash };
        Ok(())
    }

    pub(crate) fn finish(self) -> Verification {
        self.state
    }
}

/// Checks an exported log (one [`ChainedEntry`] as JSON per line) without a database.
///
/// # Errors
/// `DataLoss` naming the first entry that was changed, removed, added or moved.
pub fn verify_export(lines: &str) -> Result<Verification> {
    let mut verifier = Verifier::new();
    for (number, line) in (1_u64..).zip(lines.lines().filter(|line| !line.trim().is_empty())) {
        let link: ChainedEntry = serde_json::from_str(line)
            .map_err(|error| Error::data_loss(format!("line {number} of the audit export cannot be read: {error}")))?;
        verifier.next(&link)?;
    }
    Ok(verifier.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn export(n: u64) -> String {
        let mut previous = GENESIS;
        let mut lines = Vec::new();
        for sequence in 1..=n {
            let link = ChainedEntry::after(previous, sequence, format!("{{\"n\":{sequence}}}"));
            previous = link.hash;
            lines.push(serde_json::to_string(&link).unwrap());
        }
        lines.join("\n")
    }

    #[test]
    fn removed_and_swapped_lines_are_named() {
        let whole = export(5);
        assert_eq!(verify_export(&whole).unwrap().entries, 5);
        let without = |skip: usize| {
            whole.lines().enumerate().filter(|(i, _)| *i != skip).map(|(_, l)| l).collect::<Vec<_>>().join("\n")
        };
        for skip in 0..4 {
            let error = verify_export(&without(skip)).unwrap_err();
            assert!(error.message().contains(&format!("entry {}", skip + 1)), "{error}");
        }
        assert_ne!(
            verify_export(&without(4)).unwrap().head,
            verify_export(&whole).unwrap().head,
            "a cut end changes the head"
        );
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_found(position in any::<prop::sample::Index>(), flip in 1_u8..=127) {
            let whole = export(4);
            let mut bytes = whole.clone().into_bytes();
            let index = position.index(bytes.len());
            bytes[index] ^= flip;
            if let Ok(text) = String::from_utf8(bytes)
                && text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.trim()).ne(whole.lines())
            {
                let same = verify_export(&text).is_ok_and(|found| Some(found) == verify_export(&whole).ok());
                prop_assert!(!same, "{text}");
            }
        }
    }
}
