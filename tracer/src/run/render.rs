//! `offheap report`: a capture again, in another form.

use std::fs;
use std::io::IsTerminal as _;

use anyhow::Context;

use super::options::{options, print};
use crate::cli;
use crate::exit::{Exit, Usage};
use crate::report::{self, Format};
use crate::settings::View;

pub fn run(args: &cli::Report, view: &View) -> anyhow::Result<Exit> {
    let file = if args.capture.is_dir() {
        args.capture.join("capture.json")
    } else {
        args.capture.clone()
    };
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let capture =
        report::json::parse(&bytes).with_context(|| format!("{} is no capture", file.display()))?;
    let format = format(args.format);
    if format.is_binary() && std::io::stdout().is_terminal() {
        let (word, name) = (format.word(), format.file_name());
        return Err(Usage(format!(
            "{word} is no text for a terminal: send it to a file, as in `offheap report -f {word} {} > {name}`",
            args.capture.display()
        ))
        .into());
    }
    print(&capture, format, &options(view))?;
    Ok(Exit::Done)
}

fn format(asked: cli::Format) -> Format {
    match asked {
        cli::Format::Text => Format::Text,
        cli::Format::Folded => Format::Folded,
        cli::Format::Svg => Format::Svg,
        cli::Format::Json => Format::Json,
        cli::Format::Pprof => Format::Pprof,
        cli::Format::Speedscope => Format::Speedscope,
    }
}
