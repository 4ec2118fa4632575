//! Pairs in a TOML file: `[[pair]]` tables.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::syntax::Parts;
use super::{Pair, Reopening};

/// Bytes of a file.
const LONGEST: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declarations {
    #[serde(default)]
    pair: Vec<Declaration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    name: String,
    open: String,
    close: String,
    #[serde(rename = "ref")]
    refer: Option<String>,
    #[serde(default)]
    reopen: bool,
    library: Option<String>,
}

/// Whether a word of `--pairs` means a file.
pub fn is_path(word: &str) -> bool {
    word.contains('/') || word.ends_with(".toml")
}

/// # Errors
/// A sentence for the user, in lower case.
pub fn read(path: &Path) -> Result<Vec<Pair>, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| format!("--pairs: can't read {}: {error}", path.display()))?;
    if text.len() as u64 > LONGEST {
        return Err(format!(
            "--pairs: {} is longer than {LONGEST} bytes",
            path.display()
        ));
    }
    parse(&text).map_err(|error| format!("--pairs {}: {error}", path.display()))
}

/// # Errors
/// A sentence for the user, in lower case.
pub fn parse(text: &str) -> Result<Vec<Pair>, String> {
    let declarations: Declarations = toml::from_str(text).map_err(|error| {
        let reason = error.message().replace('\n', ", ");
        match error.span() {
            Some(span) => format!("line {}: {reason}", line(text, span.start)),
            None => reason,
        }
    })?;
    if declarations.pair.is_empty() {
        return Err("it declares no pair: each begins with a line [[pair]]".to_owned());
    }
    declarations.pair.iter().map(pair).collect()
}

fn pair(declaration: &Declaration) -> Result<Pair, String> {
    let Declaration {
        name,
        open,
        close,
        refer,
        reopen,
        library,
    } = declaration;
    let parts = Parts {
        name,
        open,
        close,
        refer: refer.as_deref(),
        reopening: match reopen {
            true => Reopening::Reference,
            false => Reopening::Another,
        },
        library: library.as_deref(),
    };
    parts
        .pair()
        .map_err(|error| format!("pair `{name}`: {error}"))
}

fn line(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
