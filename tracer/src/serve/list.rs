//! The page that lists the bundles.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::bundle::Bundle;
use crate::report::units::Bytes;
use crate::report::{Format, clean, html};

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>offheap: bundles</title>
<style>
:root { color-scheme: light dark; }
body { margin: 1rem auto; padding: 0 1rem; max-width: 70rem; font: 15px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid #8886; overflow-wrap: anywhere; }
td.files a { margin-right: .8rem; white-space: nowrap; }
</style>
</head>
<body>
<h1>Bundles, the newest first</h1>
"#;

/// The list as a page.
pub(super) fn page(bundles: &[Bundle]) -> String {
    let mut page = HEAD.to_owned();
    if bundles.is_empty() {
        page += "<p>There is no bundle in this folder yet. <code>offheap watch -o</code> writes one per period.</p>\n";
    } else {
        page += "<table>\n<tr><th>Bundle</th><th>Written</th><th>Files</th></tr>\n";
        for bundle in bundles {
            page += &row(bundle);
        }
        page += "</table>\n";
    }
    page + "</body>\n</html>\n"
}

fn row(bundle: &Bundle) -> String {
    let written = Timestamp::try_from(bundle.written)
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
        .unwrap_or_default();
    let name = match bundle.name.as_str() {
        "" => "this folder".into(),
        name => clean::name(name),
    };
    let link = |format: &Format| match bundle.name.as_str() {
        "" => format.file_name().to_owned(),
        name => format!("{}/{}", encoded(name), format.file_name()),
    };
    let mut row = format!(
        "<tr><td>{}</td><td>{written}</td><td class=\"files\">",
        html::escape(&name)
    );
    for (format, bytes) in &bundle.files {
        // Writing to a string does not fail.
        let _ = write!(
            row,
            "<a href=\"{}\" title=\"{}\">{}</a>",
            link(format),
            Bytes(*bytes),
            format.file_name()
        );
    }
    row + "</td></tr>\n"
}

/// A name as a segment of a path: everything that is not plainly harmless as `%` and two digits.
pub(super) fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                encoded.push(byte.into())
            }
            other => {
                let _ = write!(encoded, "%{other:02X}");
            }
        }
    }
    encoded
}

/// The name that a segment stands for; none where it is malformed.
pub(super) fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| (byte as char).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
