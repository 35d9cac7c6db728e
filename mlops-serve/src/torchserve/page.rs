//! Which part of a list a client asks for.

use axum::http::StatusCode;
use serde::Deserialize;

use crate::protocol::Failure;

/// Most models on one page, unless the client asks for fewer.
const PAGE_MAX: usize = 100;

/// As the query has it. TorchServe's clients leave a parameter empty, or below 0, where they ask for nothing by it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    limit: String,
    /// The number of models on the pages before.
    #[serde(default)]
    next_page_token: String,
}

impl Page {
    /// How many models to skip.
    ///
    /// # Errors
    /// 400 for what is no number.
    pub(super) fn from(&self) -> Result<usize, Failure> {
        Ok(number("next_page_token", &self.next_page_token)?.unwrap_or(0))
    }

    /// How many models to tell.
    ///
    /// # Errors
    /// 400 for what is no number.
    pub(super) fn limit(&self) -> Result<usize, Failure> {
        Ok(number("limit", &self.limit)?.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX))
    }
}

fn number(name: &str, text: &str) -> Result<Option<usize>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let number: i64 = text
        .parse()
        .map_err(|_| Failure::new(StatusCode::BAD_REQUEST, format!("{name} must be a whole number, found {text:?}")))?;
    Ok(usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_may_be_empty_or_below_0() {
        let page = |limit: &str, token: &str| {
            let page = Page { limit: limit.to_owned(), next_page_token: token.to_owned() };
            (page.limit().ok(), page.from().ok())
        };
        assert_eq!(page("", ""), (Some(PAGE_MAX), Some(0)));
        assert_eq!(page("-1", "-1"), (Some(PAGE_MAX), Some(0)));
        assert_eq!(page("0", "7"), (Some(1), Some(7)));
        assert_eq!(page("1000", "x"), (Some(PAGE_MAX), None));
        assert_eq!(page("1.5", "99999999999999999999"), (None, None));
    }
}
