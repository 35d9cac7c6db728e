//! The bytes of a file as a stream of pieces.
//!
//! Invariant: one piece is in memory at a time, whatever the size of the file.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    ops::Range,
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use mlops_core::{Error, Result};
use object_store::{GetResult, GetResultPayload};

use super::from_store;

/// Size of a piece that is read from a local file; a smaller one costs more hops between threads than it reads.
const READ_BYTES: u64 = 1 << 20;

pub(super) fn pieces(found: GetResult, path: &str) -> BoxStream<'static, Result<Bytes>> {
    let named = path.to_owned();
    match found.payload {
        GetResultPayload::File(file, _) => of_file(file, found.range, named),
        GetResultPayload::Stream(pieces) => pieces.map_err(move |error| from_store(error, &named)).boxed(),
    }
}

fn of_file(file: File, range: Range<u64>, path: String) -> BoxStream<'static, Result<Bytes>> {
    let read = move |(file, range): (File, Range<u64>)| {
        let path = path.clone();
        async move {
            if range.is_empty() {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || read_piece(file, range)).await;
            let read = read.map_err(|error| Error::internal("reading a file was cut short").with_source(error))?;
            read.map(Some).map_err(|error| {
                Error::unavailable(format!("artifact {path:?}: the file cannot be read")).with_source(error)
            })
        }
    };
    stream::try_unfold((file, range), read).boxed()
}

/// The piece at the beginning of the range, and what remains.
fn read_piece(mut file: File, range: Range<u64>) -> std::io::Result<(Bytes, (File, Range<u64>))> {
    let wanted = READ_BYTES.min(range.end - range.start);
    file.seek(SeekFrom::Start(range.start))?;
    let mut piece = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
    let read = file.by_ref().take(wanted).read_to_end(&mut piece)?;
    if read as u64 != wanted {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok((piece.into(), (file, range.start + wanted..range.end)))
}
