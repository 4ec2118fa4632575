//! Outstanding bytes over time, the biggest sites stacked, beside what the process gained.

use std::io::{self, Write};

use plotters::prelude::*;

use super::axes::{AXIS, COLORED, GRID, REST, RSS, byte_unit, color, failed, tick, time_unit};
use super::escape;
use crate::capture::{Capture, Series, Site};
use crate::report::units::{Bytes, Delta};
use crate::report::verdict::mark;
use crate::report::{accounting, caller, text};

/// Most points of a line; the page has no room to show more.
const MOST_POINTS: usize = 2_000;

/// Below this share of the height a site is not drawn apart.
const THINNEST: f64 = 0.005;

/// Seconds that an axis can span.
const SHORTEST: f64 = 0.001;
const LONGEST: f64 = 1e10;

/// A site's bytes at each reading.
struct Layer<'a> {
    site: &'a Site,
    bytes: Vec<f64>,
}

/// What is drawn. All lists are of one length.
struct Lines<'a> {
    seconds: Vec<f64>,
    /// The biggest first; they lie on each other.
    layers: Vec<Layer<'a>>,
    /// What all sites hold.
    outstanding: Vec<f64>,
    /// Bytes above those at the attach.
    rss: Vec<f64>,
}

/// Writes the section; where there are no readings a sentence that says so.
pub(super) fn write(capture: &Capture, shown: &[&Site], out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<section aria-labelledby=\"time-title\">\n<h2 id=\"time-title\">Over time</h2>"
    )?;
    match capture
        .series
        .as_ref()
        .and_then(|series| lines(capture, series, shown))
    {
        None => writeln!(
            out,
            "<p class=\"faint\">This capture has no readings over time: it was made by an older version, or its window was too \
             short for two of them.</p>"
        )?,
        Some(lines) => {
            writeln!(
                out,
                "<div class=\"chart\" role=\"img\" aria-label=\"outstanding bytes and RSS over the window\">\n{}</div>",
                draw(&lines)?
            )?;
            write_legend(&lines, out)?;
            write_course(capture, out)?;
        }
    }
    writeln!(out, "</section>")
}

fn lines<'a>(capture: &Capture, series: &Series, shown: &[&'a Site]) -> Option<Lines<'a>> {
    let length = series
        .seconds
        .len()
        .min(series.rss.len())
        .min(series.outstanding.len());
    if !is_time(&series.seconds[..length]) {
        return None;
    }
    let picked = picked(length);
    let at = |values: &[u64]| -> Option<Vec<f64>> {
        picked
            .iter()
            .map(|at| values.get(*at).map(|value| *value as f64))
            .collect()
    };
    let counted = shown
        .iter()
        .filter(|site| accounting::counts(site, &capture.settings.hooks));
    let mut layers: Vec<Layer<'a>> = counted
        .filter_map(|site| {
            let bytes = at(&site.series.as_ref()?.bytes)?;
            bytes
                .iter()
                .any(|held| *held > 0.0)
                .then_some(Layer { site, bytes })
        })
        .collect();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.site.outstanding_bytes));
    layers.truncate(COLORED);
    let outstanding = at(&series.outstanding)?;
    let visible = highest(&outstanding) * THINNEST;
    layers.retain(|layer| highest(&layer.bytes) >= visible);
    let rss = at(&series.rss)?;
    let start = rss.first().copied().unwrap_or(0.0);
    Some(Lines {
        seconds: picked.iter().map(|at| series.seconds[*at]).collect(),
        outstanding,
        rss: rss.iter().map(|rss| rss - start).collect(),
        layers,
    })
}

fn highest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Whether these are moments that an axis can show: two of them at least, in order, neither all at once nor ages apart.
fn is_time(seconds: &[f64]) -> bool {
    let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else {
        return false;
    };
    seconds.is_sorted() && *first >= 0.0 && (SHORTEST..=LONGEST).contains(&(last - first))
}

/// Which readings are drawn: all, or evenly chosen ones with the last.
fn picked(length: usize) -> Vec<usize> {
    let step = length.div_ceil(MOST_POINTS).max(1);
    let mut picked: Vec<usize> = (0..length).step_by(step).collect();
    if picked.last() != Some(&(length - 1)) {
        picked.push(length - 1);
    }
    picked
}

fn draw(lines: &Lines<'_>) -> io::Result<String> {
    let tops = tops(lines);
    let most = tops
        .iter()
        .map(|top| highest(top))
        .fold(highest(&lines.rss), f64::max);
    let least = lines.rss.iter().copied().fold(0.0, f64::min);
    let (bytes, byte_word) = byte_unit(most.max(-least));
    let last = lines.seconds.last().copied().unwrap_or(1.0);
    let first = lines.seconds.first().copied().unwrap_or(0.0);
    let (time, time_word) = time_unit(last);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (1100, 320)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(10)
            .margin_right(36)
            .x_label_area_size(26)
            .y_label_area_size(76)
            .build_cartesian_2d(
                first / time..last.max(first + 1e-9) / time,
                least * 1.05 / bytes..(most * 1.05 / bytes).max(1e-9),
            )
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .y_labels(7)
            .x_labels(9)
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(AXIS)
            .label_style(("sans-serif", 13))
            .x_label_formatter(&|value| format!("{} {time_word}", tick(*value)))
            .y_label_formatter(&|value| format!("{} {byte_word}", tick(*value)))
            .draw()
            .map_err(failed)?;
        let points = |values: &[f64]| -> Vec<(f64, f64)> {
            let pairs = lines.seconds.iter().zip(values);
            pairs
                .map(|(at, value)| (at / time, value / bytes))
                .collect()
        };
        // The highest first: each covers the lower part of the one before.
        for (rank, top) in tops.iter().enumerate().rev() {
            let fill = if rank < lines.layers.len() {
                color(rank)
            } else {
                REST
            };
            chart
                .draw_series(AreaSeries::new(points(top), 0.0, fill.filled()))
                .map_err(failed)?;
        }
        chart
            .draw_series(LineSeries::new(points(&lines.rss), RSS.stroke_width(2)))
            .map_err(failed)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The upper edges of the layers, and at last that of everything.
fn tops(lines: &Lines<'_>) -> Vec<Vec<f64>> {
    let mut tops: Vec<Vec<f64>> = Vec::with_capacity(lines.layers.len() + 1);
    let mut sum = vec![0.0; lines.seconds.len()];
    for layer in &lines.layers {
        for (sum, bytes) in sum.iter_mut().zip(&layer.bytes) {
            *sum += bytes;
        }
        tops.push(sum.clone());
    }
    let edge = sum.iter().zip(&lines.outstanding);
    tops.push(edge.map(|(layers, all)| all.max(*layers)).collect());
    tops
}

/// What the readings say, in the words of the text report.
fn write_course(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    let mut words = Vec::new();
    text::write_course(capture, &mut words)?;
    for line in String::from_utf8_lossy(&words).lines() {
        writeln!(out, "<p>{}</p>", escape(line))?;
    }
    Ok(())
}

fn write_legend(lines: &Lines<'_>, out: &mut dyn Write) -> io::Result<()> {
    let end = |values: &[f64]| values.last().copied().unwrap_or(0.0);
    writeln!(out, "<ul class=\"legend\">")?;
    writeln!(
        out,
        "<li><span class=\"swatch rule\" style=\"--c:var(--s-rss)\"></span>RSS above that at the attach: {}</li>",
        Delta(end(&lines.rss) as i128)
    )?;
    for (rank, layer) in lines.layers.iter().enumerate() {
        writeln!(
            out,
            "<li><span class=\"swatch\" style=\"--c:var(--s{})\"></span>{}: {}{}</li>",
            rank + 1,
            escape(&caller::of(layer.site).to_string()),
            mark(layer.site.estimated),
            Bytes(end(&layer.bytes) as u64),
        )?;
    }
    let others = end(&lines.outstanding)
        - lines
            .layers
            .iter()
            .map(|layer| end(&layer.bytes))
            .sum::<f64>();
    writeln!(
        out,
        "<li><span class=\"swatch\" style=\"--c:var(--s-rest)\"></span>all other sites: {}</li>\n</ul>",
        Bytes(others.max(0.0) as u64)
    )
}
