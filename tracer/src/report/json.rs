//! `capture.json`: the capture itself.

use std::io::{self, Write};

use serde::Deserialize;
use thiserror::Error;

use crate::capture::{Capture, SCHEMA};

/// Why bytes are not a capture.
#[derive(Debug, Error)]
pub enum ParseError {
    #[error("not a capture of offheap: {0}")]
    NotJson(serde_json::Error),
    #[error(
        "schema `{found}` is not known: this offheap reads `{SCHEMA}`, use the version that wrote the file"
    )]
    UnknownSchema { found: String },
    #[error("not a valid `{SCHEMA}` document: {0}")]
    Malformed(serde_json::Error),
}

/// Writes the capture as indented JSON with a final newline.
///
/// # Errors
/// Those of the writer.
pub fn write(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, capture)?;
    out.write_all(b"\n")
}

/// Reads a capture. Unknown fields are ignored, so that files of newer versions of this schema can be read.
///
/// # Errors
/// Says whether the bytes are no JSON, another schema, or a broken document of this one.
pub fn parse(bytes: &[u8]) -> Result<Capture, ParseError> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(ParseError::NotJson)?;
    if head.schema != SCHEMA {
        let found = super::clean::name(&head.schema).into_owned();
        return Err(ParseError::UnknownSchema { found });
    }
    serde_json::from_slice(bytes).map_err(ParseError::Malformed)
}
