//! `offheap diff`: what grew between two captures.

use anyhow::Result;

use super::render::load;
use crate::bundle::{self, Owner};
use crate::cli;
use crate::exit::{self, Exit};
use crate::report::Filter;
use crate::report::diff::{self, Format};
use crate::settings::pattern;

pub fn run(args: &cli::Diff) -> Result<Exit> {
    let filter = Filter {
        include: pattern("--include", args.include.as_deref())?,
        exclude: pattern("--exclude", args.exclude.as_deref())?,
        ..Filter::default()
    };
    let (base, new) = (load(&args.base)?, load(&args.new)?);
    let diff = diff::of(&base, &new, &filter);
    for warning in &diff.warnings {
        exit::hint(&format!("careful: {warning}"));
    }
    let (format, top) = (format(args.format), args.top as usize);
    match &args.output {
        Some(path) => bundle::write_file(path, Owner::of_invoker(), &mut |out| {
            diff::render(&diff, format, top, out)
        })?,
        None => {
            let mut text = Vec::new();
            diff::render(&diff, format, top, &mut text)?;
            exit::print(&String::from_utf8_lossy(&text))?;
        }
    }
    Ok(Exit::Done)
}

fn format(asked: cli::DiffFormat) -> Format {
    match asked {
        cli::DiffFormat::Text => Format::Text,
        cli::DiffFormat::Json => Format::Json,
        cli::DiffFormat::Svg => Format::Svg,
    }
}
