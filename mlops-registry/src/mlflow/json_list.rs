//! A JSON object with one long list, written piece by piece.
//!
//! Invariant: what is written joins to what serde would write of the whole; a list without items is left out, as MLflow
//! leaves it out.

use axum::body::Bytes;
use mlops_core::{Error, Result};
use serde::Serialize;

/// Most bytes that are reserved for a piece by what its first item takes.
const RESERVED_MAX: usize = 1 << 20;

/// Writes `{"name":[...],"next_page_token":"..."}`.
#[derive(Debug)]
pub(super) struct JsonList {
    name: &'static str,
    count: usize,
}

impl JsonList {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, count: 0 }
    }

    /// Items so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The next items.
    pub(super) fn piece<T: Serialize>(&mut self, items: impl IntoIterator<Item = T>) -> Result<Bytes> {
        let (mut piece, mut items) = (Vec::new(), items.into_iter());
        while let Some(item) = items.next() {
            let first = piece.is_empty();
            match self.count {
                0 => piece.extend_from_slice(format!("{{\"{}\":[", self.name).as_bytes()),
                _ => piece.push(b','),
            }
            write(&mut piece, &item)?;
            self.count += 1;
            if first {
                // The others may well be as long, and a list that grows is copied each time it doubles.
                piece.reserve((items.size_hint().0 * piece.len()).min(RESERVED_MAX));
            }
        }
        Ok(piece.into())
    }

    /// What comes after the last item.
    pub(super) fn end(self, token: Option<&str>) -> Result<Bytes> {
        let (open, comma): (&[u8], &[u8]) = if self.count == 0 { (b"{", b"") } else { (b"]", b",") };
        let mut end = open.to_vec();
        if let Some(token) = token {
            end.extend_from_slice(comma);
            end.extend_from_slice(b"\"next_page_token\":");
            write(&mut end, &token)?;
        }
        end.push(b'}');
        Ok(end.into())
    }
}

fn write(to: &mut Vec<u8>, what: &impl Serialize) -> Result<()> {
    serde_json::to_writer(to, what).map_err(|error| Error::internal("an answer is not JSON").with_source(error))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn whole(pieces: &[&[u32]], token: Option<&str>) -> Value {
        let mut list = JsonList::new("runs");
        let mut text: Vec<u8> = pieces.iter().flat_map(|piece| list.piece(*piece).unwrap()).collect();
        text.extend(list.end(token).unwrap());
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn pieces_join_to_the_whole() {
        assert_eq!(whole(&[], None), json!({}));
        assert_eq!(whole(&[&[]], Some("t")), json!({ "next_page_token": "t" }));
        assert_eq!(whole(&[&[1], &[], &[2, 3]], None), json!({ "runs": [1, 2, 3] }));
        assert_eq!(whole(&[&[1, 2]], Some("\"")), json!({ "runs": [1, 2], "next_page_token": "\"" }));
    }
}
