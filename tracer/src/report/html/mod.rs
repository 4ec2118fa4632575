//! One page with everything, for a browser: `report.html`.
//!
//! See `docs/formats/html.md`. The page loads nothing. What needs no script is in it as text and drawings; the flame graph
//! and the table are drawn by `page.js` from the data that `data` makes. The script makes text nodes of the target's
//! names, and the page's policy lets no other script run.

mod ages;
mod axes;
pub(super) mod data;
mod growth;
mod names;
mod stacks;
mod timeline;

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::capture::{Capture, Site};
use crate::report::text::{self, Style};
use crate::report::units::{Bytes, Count, Seconds};
use crate::report::verdict::{self, mark};
use crate::report::{Options, accounting, clean};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// What the data of a page may take, so that a page with 10,000 sites has less than 3 MB: the smallest sites beyond it are
/// summed up.
const MOST_DATA: usize = 2_700_000;

/// Writes the page.
///
/// # Errors
/// Those of the writer.
pub fn write(capture: &Capture, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let shown = options.filter.select(capture);
    write_head(capture, out)?;
    write_verdict(capture, &shown, out)?;
    timeline::write(capture, &shown, out)?;
    write_flame(capture, out)?;
    write_table(out)?;
    ages::write(capture, &shown, out)?;
    write_honesty(capture, out)?;
    write_data(capture, &shown, out)
}

fn write_head(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    let target = &capture.target;
    let title = format!("{} (pid {})", clean::name(&target.comm), target.pid);
    let hash = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
    write!(
        out,
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>offheap: {title}</title>
<style>
{STYLE}</style>
</head>
<body>
"#,
        title = escape(&title),
    )
}

/// What was looked at, and what was found.
fn write_verdict(capture: &Capture, shown: &[&Site], out: &mut dyn Write) -> io::Result<()> {
    let target = &capture.target;
    let (bytes, estimated) = accounting::total(capture, shown);
    writeln!(
        out,
        "<header>\n<h1>{}{} outstanding in {} (pid {})</h1>\n<p class=\"meta\">{}</p>\n</header>\n<main>\n<ul class=\"verdict\">",
        mark(estimated),
        Bytes(bytes),
        escape(&clean::name(&target.comm)),
        target.pid,
        escape(&summary(capture, shown)),
    )?;
    for finding in verdict::findings(capture, shown) {
        let class = match text::style(&finding) {
            Style::Alarm => " class=\"alarm\"",
            Style::Warning => " class=\"warning\"",
            Style::Strong | Style::Faint => "",
        };
        writeln!(out, "<li{class}>{}.</li>", escape(&finding.to_string()))?;
    }
    writeln!(out, "</ul>")
}

/// `java -jar server.jar · window 30 s, 2026-01-02T03:04:05Z to … · 7 of 7 sites · RSS 1 GiB`.
fn summary(capture: &Capture, shown: &[&Site]) -> String {
    let (window, memory) = (&capture.window, &capture.memory);
    let command = capture.target.cmdline.join(" ");
    let short: String = command.chars().take(200).collect();
    format!(
        "{} · window {}, {} to {} · {} of {} sites · RSS {} at the start, {} at the end",
        clean::name(&short),
        Seconds(window.seconds),
        to_the_second(&window.start),
        to_the_second(&window.end),
        Count(shown.len() as u64),
        Count(capture.sites.len() as u64),
        Bytes(memory.rss_start),
        Bytes(memory.rss_end),
    )
}

/// `2026-01-02 03:04:05 UTC`.
fn to_the_second(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => clean::name(time).into_owned(),
    }
}

/// The controls and the place of the flame graph; the colours are those of `flame.svg`.
fn write_flame(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(
        br#"<section aria-labelledby="flame-title">
<h2 id="flame-title">Where it comes from</h2>
<noscript><p>The flame graph and the table are drawn by the script in this file. report.txt has the sites without one.</p></noscript>
<div class="tools">
<label>Show <select id="metric">
<option value="bytes">outstanding bytes</option>
<option value="count">outstanding count</option>
<option value="allocated">allocated bytes</option>
"#,
    )?;
    match growth::Growth::of(capture) {
        Some(growth) => writeln!(out, "<option value=\"growth\">{}</option>", growth.words())?,
        None => writeln!(
            out,
            "<option value=\"growth\" disabled>growth (this capture has one reading only)</option>"
        )?,
    }
    out.write_all(
        br#"</select></label>
<label>Kind <select id="kind">
<option value="">all, each byte once</option>
"#,
    )?;
    for kind in data::kinds(capture) {
        writeln!(out, "<option value=\"{kind}\">{kind}</option>")?;
    }
    out.write_all(
        br#"</select></label>
<label>Search <input id="search" type="search" placeholder="part of a frame" autocomplete="off" spellcheck="false"></label>
<button id="reset" type="button">Reset</button>
</div>
<p id="flame-says" class="says" aria-live="polite"></p>
<div class="scroll"><div id="flame" role="tree" aria-label="flame graph, the roots of the stacks on top"></div></div>
<p id="flame-at" class="says faint"></p>
<p class="faint hint">A click or Enter zooms, a click on what is above zooms out, arrow keys walk, Escape shows all, / searches.</p>
<p><span class="key k4">C2</span> <span class="key k3">C1</span> <span class="key k5">interpreted</span>
<span class="key k6">inlined Java</span> <span class="key k2">native Java method</span> <span class="key k0">native</span>
<span class="key k1">C++, Rust</span> <span class="key k8">stub</span> <span class="key k9">unknown or missing</span></p>
</section>
"#,
    )
}

fn write_table(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(
        br#"<section aria-labelledby="sites-title">
<h2 id="sites-title">Sites</h2>
<p class="faint">All allocations of one kind with one stack. <span id="sites-say" aria-live="polite"></span>. <span class="hint">The search and the kind above choose them. Grey: its bytes are counted at another site.</span></p>
<div class="scroll"><table>
<thead><tr id="head">
<th scope="col" class="n" data-sort="bytes"><button type="button">Outstanding</button></th>
<th scope="col" class="n" data-sort="count"><button type="button">Count</button></th>
<th scope="col" data-sort="kind"><button type="button">Kind</button></th>
<th scope="col" data-sort="caller"><button type="button">Caller</button></th>
<th scope="col" class="n" data-sort="growth"><button type="button">Growth</button></th>
<th scope="col" data-sort="trend"><button type="button">Trend</button></th>
<th scope="col" class="n" data-sort="oldest"><button type="button">Oldest</button></th>
<th scope="col" class="n" data-sort="allocated"><button type="button">Allocated</button></th>
</tr></thead>
<tbody id="sites"></tbody>
</table></div>
<p class="printed">On paper: the first 40 rows.</p>
<p><button id="more" type="button" hidden></button></p>
</section>
"#,
    )
}

fn write_honesty(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    let mut block = Vec::new();
    text::write_honesty(capture, &mut block)?;
    let block = String::from_utf8_lossy(&block);
    let body = block
        .trim_start()
        .split_once('\n')
        .map_or("", |(_, body)| body);
    writeln!(
        out,
        "<section aria-labelledby=\"honesty-title\">\n<h2 id=\"honesty-title\">How this was measured</h2>\n<pre>{}</pre>\n</section>\n</main>",
        escape(body)
    )
}

fn write_data(capture: &Capture, shown: &[&Site], out: &mut dyn Write) -> io::Result<()> {
    let json = data::bounded(capture, shown, MOST_DATA)?;
    // Within a JSON document `<` is in strings only: the page's parser never sees one.
    let json = json.replace('<', "\\u003c");
    writeln!(
        out,
        "<script id=\"data\" type=\"application/json\">{json}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>"
    )
}

/// Text as HTML, also within attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
