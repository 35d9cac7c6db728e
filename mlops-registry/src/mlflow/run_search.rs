//! `runs/search`: pages of any size.
//!
//! Invariant: beyond the bytes of the answer itself, what is held does not grow with the page: runs are read and written
//! a thousand at a time.

use axum::{
    body::{Body, Bytes},
    http::header::{CONTENT_LENGTH, CONTENT_TYPE},
    response::Response,
};
use futures::stream;
use mlops_core::{Error, Result};

use super::{auth::Caller, files::Answer, json_list::JsonList, request::Params, run_answer};

/// Runs of a page when the client names no number.
const PAGE_DEFAULT: usize = 1_000;
/// Largest page.
const PAGE_MAX: usize = 50_000;
/// Runs that are held at once.
const HELD_MAX: usize = 1_000;

pub(super) async fn search(Caller(api): Caller, params: Params) -> Answer<Response> {
    let experiments = params.experiment_ids()?;
    let mut search = params.search("run_view_type", params.page(PAGE_DEFAULT, PAGE_MAX)?)?;
    let wanted = search.page.max_results.unwrap_or(PAGE_DEFAULT);
    let (mut list, mut pieces) = (JsonList::new("runs"), Vec::new());
    loop {
        search.page.max_results = Some(HELD_MAX.min(wanted - list.count()));
        let found = api.tracking.search_runs(&experiments, &search).await?;
        let models = api.models_of(&found.items).await?;
        let runs = found.items.iter().enumerate().map(|(index, run)| run_answer::run(run, models.get(index)));
        pieces.push(list.piece(runs)?);
        match found.next_page_token {
            Some(token) if list.count() < wanted => search.page.token = Some(token),
            token => {
                pieces.push(list.end(token.as_deref())?);
                return Ok(joined(pieces)?);
            }
        }
    }
}

fn joined(pieces: Vec<Bytes>) -> Result<Response> {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::convert::Infallible>)));
    let answer = Response::builder().header(CONTENT_TYPE, "application/json").header(CONTENT_LENGTH, length);
    answer.body(body).map_err(|error| Error::internal("the answer has a header that is none").with_source(error))
}
