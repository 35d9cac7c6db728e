//! One HTTP request, by hand.

use std::net::SocketAddr;

use mlops::{Error, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The status and body of the answer to `body` at `path`.
pub(crate) async fn post(address: SocketAddr, path: &str, body: &str) -> Result<String> {
    let failed = |error: std::io::Error| Error::unavailable(format!("{address} does not answer")).with_source(error);
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or("no status");
    Ok(format!("{status} {body}"))
}
