//! The little HTTP that tests speak: one request, the whole answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::DEADLINE;

/// The body of `GET path` at `address` (`127.0.0.1:9090`), where the answer is a success.
///
/// # Errors
/// The status line, or why there is no answer.
pub fn get(address: &str, path: &str) -> Result<String, String> {
    let asked = || -> std::io::Result<(String, String)> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        // Version 1.0: the answer ends with the connection, and is not in chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        Ok((head.to_owned(), body.to_owned()))
    };
    let (head, body) = asked().map_err(|error| error.to_string())?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body),
        _ => Err(head.lines().next().unwrap_or_default().to_owned()),
    }
}

/// A request that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method, path and version.
    pub line: String,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

/// Reads one request with a body of a known length.
///
/// # Errors
/// Those of the connection, and nonsense.
pub fn read_request(stream: &mut impl Read) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let mut lines = lines.into_iter();
    Ok(Request {
        line: lines.next().unwrap_or_default(),
        headers: lines.collect(),
        body,
    })
}
