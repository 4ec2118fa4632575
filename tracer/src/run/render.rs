//! `offheap report`: a capture again, in another form.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;

use super::options::{options, print};
use crate::capture::Capture;
use crate::cli;
use crate::exit::Exit;
use crate::report::{self, Format};
use crate::settings::View;

/// No capture is bigger; what is would not fit into memory, either.
const MAX_BYTES: u64 = 1 << 30;

pub fn run(args: &cli::Report, view: &View) -> anyhow::Result<Exit> {
    let capture = load(&args.capture)?;
    print(&capture, format(args.format), &options(view))?;
    Ok(Exit::Done)
}

/// Reads a `capture.json`, or that of a bundle.
///
/// # Errors
/// When it can't be read, or is none.
pub(super) fn load(path: &Path) -> anyhow::Result<Capture> {
    let file = if path.is_dir() {
        path.join("capture.json")
    } else {
        path.to_owned()
    };
    let mut bytes = Vec::new();
    File::open(&file)
        .and_then(|opened| opened.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() as u64 > MAX_BYTES {
        anyhow::bail!(
            "{} is bigger than any capture: name a capture.json",
            file.display()
        );
    }
    report::json::parse(&bytes).with_context(|| format!("{} is no capture", file.display()))
}

fn format(asked: cli::Format) -> Format {
    match asked {
        cli::Format::Text => Format::Text,
        cli::Format::Folded => Format::Folded,
        cli::Format::Svg => Format::Svg,
        cli::Format::Json => Format::Json,
    }
}
