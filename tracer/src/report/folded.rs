//! Folded stacks: one line per stack, root first, `;` between frames, one space, outstanding bytes.
//!
//! See `docs/formats/folded.md`. Each outstanding byte is in one line, by the rule of
//! [`accounting`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::capture::{Capture, Frame, FrameKind, Site, SiteKind};
use crate::report::{Filter, accounting, clean};

/// Writes one line per distinct stack, sorted by stack.
///
/// # Errors
/// Those of the writer.
pub fn write(capture: &Capture, filter: &Filter, out: &mut dyn Write) -> io::Result<()> {
    for (stack, bytes) in stacks(capture, filter) {
        writeln!(out, "{stack} {bytes}")?;
    }
    Ok(())
}

/// Outstanding bytes by folded stack. Sites without outstanding bytes are left out.
pub fn stacks(capture: &Capture, filter: &Filter) -> BTreeMap<String, u64> {
    let mut merged = BTreeMap::new();
    for site in filter.select(capture) {
        if site.outstanding_bytes == 0 || !accounting::counts(site, &capture.settings.hooks) {
            continue;
        }
        let bytes: &mut u64 = merged.entry(fold(site)).or_default();
        *bytes = bytes.saturating_add(site.outstanding_bytes);
    }
    merged
}

/// The frames of a site, root first.
pub fn fold(site: &Site) -> String {
    let mut stack = String::new();
    for name in names(site) {
        if !stack.is_empty() {
            stack.push(';');
        }
        stack.push_str(&name);
    }
    stack
}

/// The same names one by one, without how the JVM ran them, which two captures may differ in.
pub fn plain_names(site: &Site) -> Vec<String> {
    names_with(site, |frame| segment(&frame.name).into_owned())
}

/// Frame names, root first; incomplete stacks begin with the reason, streams end with what they are.
fn names(site: &Site) -> Vec<String> {
    names_with(site, frame)
}

fn names_with(site: &Site, name: impl Fn(&Frame) -> String) -> Vec<String> {
    let mut names = Vec::with_capacity(site.frames.len() + 2);
    if !accounting::end_is_told(site) {
        names.push(end_marker(site));
    }
    names.extend(site.frames.iter().rev().map(|frame| name(frame)));
    names.extend(leaf(site).map(Cow::into_owned));
    if names.is_empty() {
        names.push("[no frames]".to_owned());
    }
    names
}

/// What stands for a stream or an object below its stack, since its bytes are computed and not seen being allocated.
pub fn leaf(site: &Site) -> Option<Cow<'_, str>> {
    match site.kind {
        SiteKind::Deflate => Some(Cow::Borrowed("deflate stream")),
        SiteKind::Inflate => Some(Cow::Borrowed("inflate stream")),
        SiteKind::Pair => site.pair.as_deref().map(segment),
        SiteKind::Malloc | SiteKind::Mmap | SiteKind::Fault => None,
    }
}

/// What stands at the root of an incomplete stack: why it ended.
pub fn end_marker(site: &Site) -> String {
    segment(&format!("[{}]", site.stack_end)).into_owned()
}

/// One frame with the annotation of its kind, as async-profiler writes them.
pub fn frame(frame: &Frame) -> String {
    let name = segment(&frame.name);
    match frame.kind {
        FrameKind::C2 => format!("{name}_[j]"),
        FrameKind::C1 => format!("{name}_[1]"),
        FrameKind::Interpreted => format!("{name}_[0]"),
        FrameKind::Inlined => format!("{name}_[i]"),
        FrameKind::Native | FrameKind::Stub | FrameKind::Unknown => name.into_owned(),
    }
}

/// A name that cannot be mistaken for a separator, a comment or a number column.
fn segment(raw: &str) -> Cow<'_, str> {
    let clean = clean::name(raw);
    let last_word = clean.rsplit(' ').next().unwrap_or_default();
    let is_number =
        last_word.len() < clean.len() && last_word.chars().all(|c| c.is_ascii_digit() || c == '.');
    if !is_number && !clean.contains(';') && !clean.starts_with('#') {
        return clean;
    }
    let number_at = clean.len() - last_word.len();
    let replaced = clean.char_indices().map(|(at, c)| match c {
        ';' => ':',
        '#' if at == 0 => '_',
        ' ' if is_number && at + 1 == number_at => '_',
        other => other,
    });
    Cow::Owned(replaced.collect())
}
