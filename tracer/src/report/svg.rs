//! A flame graph of the outstanding bytes, coloured by frame kind.
//!
//! See `docs/formats/svg.md`. Drawn by inferno; the file is self-contained.

use std::collections::HashSet;
use std::io::{self, Write};

use inferno::flamegraph::color::{BackgroundColor, Color, MultiPalette, PaletteMap};
use inferno::flamegraph::{self, Palette, TextTruncateDirection};

use crate::capture::{Capture, Frame, FrameKind};
use crate::report::units::{Bytes, Seconds};
use crate::report::{Filter, accounting, caller, clean, folded};

/// Largest sum that a browser's numbers hold exactly.
const MAX_TOTAL: u128 = 1 << 53;

/// Writes the flame graph; without outstanding bytes a picture that says so.
///
/// # Errors
/// Those of the writer.
pub fn write(capture: &Capture, filter: &Filter, out: &mut dyn Write) -> io::Result<()> {
    let stacks = folded::stacks(capture, filter);
    if stacks.is_empty() {
        return write_empty(&title(capture), "nothing is outstanding", out);
    }
    let (lines, factor) = scaled(stacks.iter().map(|(stack, bytes)| (stack.as_str(), *bytes)));
    let mut palette = palette(capture);
    let mut options = flamegraph::Options::default();
    options.title = title(capture);
    options.subtitle = Some(subtitle(capture, filter));
    options.count_name = "bytes".to_owned();
    options.name_type = "Frame:".to_owned();
    options.notes = title(capture);
    options.colors = Palette::Multi(MultiPalette::Java);
    options.bgcolors = Some(BackgroundColor::Flat(Color {
        r: 248,
        g: 248,
        b: 248,
    }));
    options.palette_map = Some(&mut palette);
    options.deterministic = true;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.factor = factor;
    // The stacks are sorted as inferno wants them; sorting whole lines would not be the same.
    options.no_sort = true;
    // inferno fails on no input only, which is handled above; what is left is the writer's.
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)
}

/// Input for inferno, scaled down where the sum is too big for it, and the factor that scales it back.
pub(super) fn scaled<'a>(
    stacks: impl Iterator<Item = (&'a str, u64)> + Clone,
) -> (Vec<String>, f64) {
    let total: u128 = stacks.clone().map(|(_, bytes)| u128::from(bytes)).sum();
    let mut shift = 0;
    while (total >> shift) > MAX_TOTAL {
        shift += 1;
    }
    let line = |(stack, bytes): (&str, u64)| format!("{stack} {}", (bytes >> shift).max(1));
    (stacks.map(line).collect(), (1u128 << shift) as f64)
}

/// `outstanding bytes of java (pid 4242), window 30 s, malloc sampled every 512 KiB`.
fn title(capture: &Capture) -> String {
    let comm = clean::name(&capture.target.comm);
    format!(
        "outstanding bytes of {comm} (pid {}), window {}, {}",
        capture.target.pid,
        Seconds(capture.window.seconds),
        sampling(capture),
    )
}

fn sampling(capture: &Capture) -> String {
    let malloc = capture.settings.hooks.iter().any(|hook| hook == "malloc");
    match capture.settings.sample_bytes {
        _ if !malloc => format!("{} only", capture.settings.hooks.join(" and ")),
        0 => "every malloc recorded".to_owned(),
        interval => format!("malloc sampled every {}", Bytes(interval)),
    }
}

fn subtitle(capture: &Capture, filter: &Filter) -> String {
    let (bytes, estimated) = accounting::total(capture, &filter.select(capture));
    let mark = if estimated { "~" } else { "" };
    format!(
        "{mark}{} · green C2, lime C1, pale green interpreted, teal inlined, orange native Java method, red native, \
         yellow C++, violet stub, grey unknown",
        Bytes(bytes)
    )
}

/// The colour of every frame, by the name that it has in the folded stacks.
fn palette(capture: &Capture) -> PaletteMap {
    let mut palette = PaletteMap::default();
    let mut seen = HashSet::new();
    for frame in capture.sites.iter().flat_map(|site| &site.frames) {
        if seen.insert(frame) {
            let name = folded::frame(frame);
            let color = shade(base_color(frame), &name);
            palette.insert(name, color);
        }
    }
    for site in &capture.sites {
        palette.insert(folded::end_marker(site), shade(GREY, &site.stack_end));
    }
    for name in ["deflate stream", "inflate stream", "[no frames]"] {
        palette.insert(name, shade(GREY, name));
    }
    palette.insert(
        "",
        Color {
            r: 225,
            g: 225,
            b: 225,
        },
    );
    palette
}

const GREY: (u8, u8, u8) = (190, 190, 190);

fn base_color(frame: &Frame) -> (u8, u8, u8) {
    match frame.kind {
        FrameKind::C2 => (80, 210, 80),
        FrameKind::C1 => (190, 220, 110),
        FrameKind::Interpreted => (178, 225, 178),
        FrameKind::Inlined if caller::is_java(frame) => (80, 204, 190),
        FrameKind::Native if caller::is_java(frame) => (240, 170, 70),
        FrameKind::Native | FrameKind::Inlined if frame.name.contains("::") => (215, 205, 70),
        FrameKind::Native | FrameKind::Inlined => (230, 105, 95),
        FrameKind::Stub => (190, 140, 220),
        FrameKind::Unknown => GREY,
    }
}

/// Neighbours of one kind get slightly different shades, the same in every run.
fn shade((r, g, b): (u8, u8, u8), name: &str) -> Color {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let darker = ((hash >> 16) % 25) as u8;
    Color {
        r: r.saturating_sub(darker),
        g: g.saturating_sub(darker),
        b: b.saturating_sub(darker),
    }
}

pub(super) fn write_empty(title: &str, why: &str, out: &mut dyn Write) -> io::Result<()> {
    let title = escape(title);
    writeln!(
        out,
        r##"<?xml version="1.0" standalone="no"?>
<svg version="1.1" width="1200" height="100" viewBox="0 0 1200 100" xmlns="http://www.w3.org/2000/svg">
<rect x="0" y="0" width="100%" height="100%" fill="#f8f8f8"/>
<g font-family="monospace" text-anchor="middle">
<text x="600" y="30" font-size="17">{title}</text>
<text x="600" y="65" font-size="14">{why}</text>
</g>
</svg>"##
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
