//! What is sent: a page, or a file piece by piece.

use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// The body of an answer.
pub(super) enum Sent {
    Page(Option<Bytes>),
    File { file: File, left: u64 },
}

impl Sent {
    pub(super) fn page(text: String) -> Self {
        Sent::Page(Some(Bytes::from(text)))
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    /// A local file is read without waiting for it: that takes less than the bookkeeping of another thread.
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let read = match self.get_mut() {
            Sent::Page(page) => page.take().map(Ok),
            Sent::File { left: 0, .. } => None,
            Sent::File { file, left } => Some(piece(file, left)),
        };
        Poll::Ready(read.map(|read| read.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Sent::Page(page) => page.as_ref().map_or(0, |page| page.len() as u64),
            Sent::File { left, .. } => *left,
        })
    }
}

/// As many bytes as were promised, also when the file has grown; an error when it has become shorter.
fn piece(file: &mut File, left: &mut u64) -> io::Result<Bytes> {
    let mut piece = vec![0; PIECE.min(usize::try_from(*left).unwrap_or(PIECE))];
    let read = file.read(&mut piece)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    piece.truncate(read);
    *left -= read as u64;
    Ok(piece.into())
}
