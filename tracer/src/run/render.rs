//! `offheap report`: a capture again, in another form.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use super::options::{options, print};
use super::signals::{Request, Signals};
use crate::capture::Capture;
use crate::cli;
use crate::exit::{Exit, Usage};
use crate::report::{self, Format};
use crate::settings::View;

/// No capture is bigger; what is would not fit into memory, either.
const MAX_BYTES: u64 = 1 << 30;

pub fn run(args: &cli::Report, view: &View) -> anyhow::Result<Exit> {
    if let Some(address) = args.serve {
        return serve(&args.capture, address);
    }
    let format = format(args.format);
    if format.is_binary() && std::io::stdout().is_terminal() {
        let (word, name) = (format.word(), format.file_name());
        return Err(Usage(format!(
            "{word} is no text for a terminal: send it to a file, as in `offheap report -f {word} {} > {name}`",
            args.capture.display()
        ))
        .into());
    }
    print(&load(&args.capture)?, format, &options(view))?;
    Ok(Exit::Done)
}

/// Until Ctrl-C or SIGTERM.
fn serve(dir: &Path, address: SocketAddr) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let stop = async { while signals.next().await != Request::Finish {} };
        crate::serve::run(dir, address, stop).await
    })?;
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
        cli::Format::Html => Format::Html,
        cli::Format::Pprof => Format::Pprof,
        cli::Format::Speedscope => Format::Speedscope,
    }
}
