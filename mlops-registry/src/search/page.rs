//! Pages: a bounded number of results and a token for the next.
//!
//! Invariant: a token names a position in the same search; one that is not ours is refused.

use mlops_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Most results on one page.
pub(crate) const RESULTS_MAX: usize = 50_000;
const RESULTS_DEFAULT: usize = 1_000;

/// Which page, and how large.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageRequest {
    /// Most results, from 1 to 50,000; absent: 1,000.
    pub max_results: Option<usize>,
    /// The token of the page before; absent or empty: the first page.
    pub token: Option<String>,
}

/// Some results and how to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The results in order.
    pub items: Vec<T>,
    /// The token of the next page, never empty; none on the last.
    pub next_page_token: Option<String>,
}

/// Short mark of the search that a token belongs to.
fn mark(search: &str) -> String {
    Digest::of(search.as_bytes()).to_string().chars().take(16).collect()
}

impl PageRequest {
    /// How many results.
    pub(crate) fn size(&self) -> Result<usize> {
        match self.max_results {
            None => Ok(RESULTS_DEFAULT),
            Some(size) if (1..=RESULTS_MAX).contains(&size) => Ok(size),
            Some(size) => Err(Error::invalid_argument(format!(
                "max_results is {size}; it must be a positive integer of at most {RESULTS_MAX}"
            ))),
        }
    }

    /// Where the page begins, as [`PageRequest::token`] wrote it; none for the first.
    pub(crate) fn position<T: DeserializeOwned>(&self, search: &str) -> Result<Option<T>> {
        let Some(token) = self.token.as_deref().filter(|token| !token.is_empty()) else { return Ok(None) };
        let text =
            token.split_once('-').filter(|(theirs, _)| *theirs == mark(search)).and_then(|(_, hex)| from_hex(hex));
        let position = text.and_then(|text| serde_json::from_slice(&text).ok());
        position.map(Some).ok_or_else(foreign)
    }

    /// The token of the page that begins behind `position` in the order of `search`.
    pub(crate) fn token<T: Serialize>(search: &str, position: &T) -> Result<String> {
        let json = serde_json::to_vec(position)
            .map_err(|error| Error::internal("a page token cannot be written").with_source(error))?;
        let hex: String = json.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{}-{hex}", mark(search)))
    }
}

pub(super) fn foreign() -> Error {
    Error::invalid_argument("Invalid page token: it is not one of this search; begin without a token")
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// The requested page of all results, where `search` is what the results are of.
pub(crate) fn cut<T>(all: Vec<T>, request: &PageRequest, search: &str) -> Result<Page<T>> {
    let (size, offset) = (request.size()?, request.position(search)?.unwrap_or(0_usize));
    let end = offset.saturating_add(size);
    let next_page_token = (end < all.len()).then(|| PageRequest::token(search, &end)).transpose()?;
    Ok(Page { items: all.into_iter().skip(offset).take(size).collect(), next_page_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_and_foreign_ones_are_refused() {
        let position = (i64::MIN, "ключ".to_owned());
        let token = PageRequest::token("all", &position).unwrap();
        let request = |token: &str| PageRequest { max_results: None, token: Some(token.to_owned()) };
        assert_eq!(request(&token).position("all").unwrap(), Some(position));
        assert_eq!(request("").position::<i64>("all").unwrap(), None);
        for bad in [&token[..token.len() - 1], &token[..token.len() - 2], "5", "-", &token.replace('-', "-zz")] {
            assert!(request(bad).position::<(i64, String)>("all").is_err(), "{bad}");
        }
        assert!(request(&token).position::<(i64, String)>("other").is_err());
    }

    #[test]
    fn pages_follow_one_another_and_foreign_tokens_are_refused() {
        let mut request = PageRequest { max_results: Some(2), token: None };
        let mut seen = Vec::new();
        loop {
            let page = cut((0..5).collect(), &request, "all").unwrap();
            seen.push(page.items.len());
            let Some(token) = page.next_page_token else { break };
            request.token = Some(token);
        }
        assert_eq!(seen, [2, 2, 1]);
        assert!(cut(vec![1], &request, "other").is_err());
        request.token = Some("x".into());
        assert!(cut(vec![1], &request, "all").is_err());
        let zero = PageRequest { max_results: Some(0), token: None };
        assert!(cut(vec![1], &zero, "all").unwrap_err().message().contains("max_results"));
    }
}
