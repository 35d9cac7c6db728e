//! Pages: a bounded number of results and a token for the next.
//!
//! Invariant: a token names a position in the same search; one that is not ours is refused.

use mlops_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize};

/// Most results on one page.
pub(super) const RESULTS_MAX: usize = 50_000;
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
    /// The token of the next page; none on the last.
    pub next_page_token: Option<String>,
}

/// Short mark of the search that a token belongs to.
fn mark(search: &str) -> String {
    Digest::of(search.as_bytes()).to_string().chars().take(16).collect()
}

impl PageRequest {
    pub(crate) fn size(&self) -> Result<usize> {
        match self.max_results {
            None => Ok(RESULTS_DEFAULT),
            Some(size) if (1..=RESULTS_MAX).contains(&size) => Ok(size),
            Some(size) => Err(Error::invalid_argument(format!(
                "max_results is {size}; it must be a positive integer of at most {RESULTS_MAX}"
            ))),
        }
    }

    /// Where the page begins, as `read` takes it from the token; none on the first page.
    pub(crate) fn position<T>(&self, search: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(token) = self.token.as_deref().filter(|token| !token.is_empty()) else { return Ok(None) };
        let parsed = token.rsplit_once('-').filter(|(_, theirs)| *theirs == mark(search));
        let position = parsed.and_then(|(position, _)| read(position));
        let wrong = || Error::invalid_argument("page token is not one of this search; begin without a token");
        position.map(Some).ok_or_else(wrong)
    }

    /// The token of the page of a search that begins at a position.
    pub(crate) fn token(position: &str, search: &str) -> String {
        format!("{position}-{}", mark(search))
    }

    fn offset(&self, search: &str) -> Result<usize> {
        Ok(self.position(search, |text| text.parse().ok())?.unwrap_or(0))
    }
}

/// The requested page of all results, where `search` is what the results are of.
pub(crate) fn cut<T>(all: Vec<T>, request: &PageRequest, search: &str) -> Result<Page<T>> {
    let (size, offset) = (request.size()?, request.offset(search)?);
    let end = offset.saturating_add(size);
    let next_page_token = (end < all.len()).then(|| PageRequest::token(&end.to_string(), search));
    Ok(Page { items: all.into_iter().skip(offset).take(size).collect(), next_page_token })
}

#[cfg(test)]
mod tests {
    use super::*;

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
