//! The live view: what `attach` shows on a terminal, with the keys that change it.
//!
//! What is drawn is a function of the last capture and of what was typed (`state`, `draw`); only `screen` knows the
//! terminal, and none of them knows the trace.

mod cells;
mod draw;
mod help;
mod screen;
mod stack;
mod state;

pub use screen::Screen;
pub use state::{Live, Request};

#[cfg(test)]
mod tests;
