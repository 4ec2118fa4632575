//! The keys.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::{Paragraph, Wrap};

/// The line at the bottom.
pub const KEYS: &str =
    "q quit  enter stack  / filter  tab kind  b c g a sort  p pause  s save  ? help";

const HELP: &str = "\
up down, k j, page up and down, home, end   choose a site
enter      its stack, ages and trend; esc or enter: back
b c g a    sort by bytes, count, growth since the last reading, age of the oldest
/          show only sites with this text in a frame, library, thread or kind; esc: all
tab        show only one kind after the other: deflate, inflate, malloc, mmap ...
e          in the columns of bytes and count: what samples stand for (~), or the samples
p, space   stop the clock here; the trace goes on
r          read now
s          write a bundle now, with flame graph and capture.json, and go on
q, ctrl-c  detach, and print the final report

GROWTH is of the outstanding bytes since the last reading, HISTORY since the attach.
~ marks what is estimated from samples; streams and mappings are always exact.";

pub fn draw(frame: &mut Frame, area: Rect) {
    frame.render_widget(Paragraph::new(HELP).wrap(Wrap { trim: false }), area);
}
