//! One line per site: what a live view repeats.

use std::io::{self, Write};

use crate::capture::{Capture, Site};
use crate::report::listing::{Listing, count_estimated, kind_word};
use crate::report::units::{Bytes, Count, Delta, Seconds};
use crate::report::verdict::mark;
use crate::report::{Options, accounting, caller, clean, evolution};

/// Writes a headline, the column names and a line for each of the top sites.
///
/// # Errors
/// Those of the writer.
pub fn write(capture: &Capture, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let shown = options.filter.select(capture);
    let (bytes, estimated) = accounting::total(capture, &shown);
    let memory = &capture.memory;
    writeln!(
        out,
        "{} (pid {}), {}: {}{} outstanding; RSS {} ({})",
        clean::name(&capture.target.comm),
        capture.target.pid,
        Seconds(capture.window.seconds),
        mark(estimated),
        Bytes(bytes),
        Bytes(memory.rss_end),
        Delta(i128::from(memory.rss_end) - i128::from(memory.rss_start)),
    )?;
    writeln!(
        out,
        "{:>10} {:>12} {:>14} {:>14} {:<10}  {:<8} CALLER",
        "BYTES", "COUNT", "OLDEST", "GROWTH", "", "KIND"
    )?;
    for site in Listing::new(capture, &shown, options.sort)
        .sites
        .iter()
        .take(options.top)
    {
        let count_mark = mark(count_estimated(site));
        let (growth, class) = growth(site);
        writeln!(
            out,
            "{:>10} {:>12} {:>14} {:>14} {:<10}  {:<8} {}",
            format!("{}{}", mark(site.estimated), Bytes(site.outstanding_bytes)),
            format!("{count_mark}{}", Count(site.outstanding_count)),
            format!("{count_mark}{}", Seconds(site.oldest_seconds)),
            growth,
            class,
            kind_word(site.kind),
            caller::line(site),
        )?;
    }
    Ok(())
}

/// The rate, where one says something, and the class.
fn growth(site: &Site) -> (String, &'static str) {
    let rate = evolution::slope(site).map_or("-".to_owned(), |slope| {
        format!("{}{}", mark(site.estimated), evolution::rate(slope))
    });
    let class = site.trend.as_ref().and_then(|trend| trend.class);
    (rate, class.map_or("", evolution::word))
}
