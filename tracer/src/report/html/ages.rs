//! How long allocations have lived: two histograms.

use std::io::{self, Write};

use plotters::prelude::*;

use super::axes::{AXIS, GRID, color, failed, tick};
use crate::capture::{Capture, Site};
use crate::report::accounting;
use crate::report::units::{Count, Seconds};

/// Bars of a histogram; 2^62 ms are an age of the universe.
const MOST_BARS: usize = 64;

/// Writes the section; where no ages were kept a sentence that says so.
pub(super) fn write(capture: &Capture, shown: &[&Site], out: &mut dyn Write) -> io::Result<()> {
    let counted = |site: &&&Site| accounting::counts(site, &capture.settings.hooks);
    let ages = shown
        .iter()
        .filter(counted)
        .filter_map(|site| site.ages.as_ref());
    let (mut outstanding, mut freed) = (Vec::new(), Vec::new());
    for ages in ages {
        add(&mut outstanding, &ages.outstanding);
        add(&mut freed, &ages.freed);
    }
    writeln!(
        out,
        "<section aria-labelledby=\"ages-title\">\n<h2 id=\"ages-title\">Ages</h2>"
    )?;
    if outstanding.is_empty() && freed.is_empty() {
        writeln!(
            out,
            "<p class=\"faint\">No ages were kept in this capture.</p>"
        )?;
    } else {
        writeln!(out, "<div class=\"charts\">")?;
        write_chart("Outstanding: how old at the end", &outstanding, 0, out)?;
        write_chart("Freed: how long they lived", &freed, 2, out)?;
        writeln!(out, "</div>")?;
    }
    writeln!(out, "</section>")
}

fn add(sums: &mut Vec<u64>, more: &[u64]) {
    let more = &more[..more.len().min(MOST_BARS)];
    if sums.len() < more.len() {
        sums.resize(more.len(), 0);
    }
    for (sum, count) in sums.iter_mut().zip(more) {
        *sum = sum.saturating_add(*count);
    }
}

fn write_chart(title: &str, bars: &[u64], rank: usize, out: &mut dyn Write) -> io::Result<()> {
    let all = bars
        .iter()
        .fold(0u64, |sum, count| sum.saturating_add(*count));
    writeln!(out, "<div>\n<h3>{title} ({})</h3>", Count(all))?;
    if all == 0 {
        return writeln!(out, "<p class=\"faint\">None.</p>\n</div>");
    }
    writeln!(
        out,
        "<div class=\"chart\" role=\"img\" aria-label=\"{title}; most of them {}\">\n{}</div>\n</div>",
        most(bars),
        draw(bars, rank)?
    )
}

/// `below 1 ms`, `4 s to 8 s`: the highest bar in words.
fn most(bars: &[u64]) -> String {
    let highest = (0..bars.len()).max_by_key(|at| bars[*at]).unwrap_or(0);
    match highest {
        0 => format!("below {}", bound(0)),
        at => format!("{} to {}", bound(at - 1), bound(at)),
    }
}

/// The upper bound of a bar.
fn bound(bar: usize) -> Seconds {
    Seconds(2f64.powi(bar as i32) / 1000.0)
}

fn draw(bars: &[u64], rank: usize) -> io::Result<String> {
    let first = bars.iter().position(|count| *count > 0).unwrap_or(0);
    let most = bars.iter().copied().max().unwrap_or(1) as f64;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (560, 220)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(10)
            .margin_right(30)
            .x_label_area_size(24)
            .y_label_area_size(64)
            .build_cartesian_2d(first as f64..bars.len() as f64, 0.0..most * 1.05)
            .map_err(failed)?;
        // The left edge of a bar is the upper bound of the one before.
        let edge = |value: &f64| match value.round() as usize {
            0 => "0".to_owned(),
            at => bound(at - 1).to_string(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .y_labels(5)
            .x_labels(6)
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(AXIS)
            .label_style(("sans-serif", 12))
            .x_label_formatter(&edge)
            .y_label_formatter(&|value| match *value {
                whole if whole >= 1.0 => Count(whole.round() as u64).to_string(),
                part => tick(part),
            })
            .draw()
            .map_err(failed)?;
        let bar = |(at, count): (usize, &u64)| {
            let corners = [(at as f64 + 0.05, 0.0), (at as f64 + 0.95, *count as f64)];
            Rectangle::new(corners, color(rank).filled())
        };
        chart
            .draw_series(bars.iter().enumerate().skip(first).map(bar))
            .map_err(failed)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}
