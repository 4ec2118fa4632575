//! Where the output goes.

use std::env;
use std::io::{self, IsTerminal as _};

/// What the terminal, where there is one, is fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// The report on stdout may be coloured.
    pub colour: bool,
    /// The report on stdout may be redrawn in place.
    pub redraw: bool,
    /// A progress bar may be drawn on stderr.
    pub progress: bool,
}

impl Console {
    /// The console of this process.
    pub fn here() -> Console {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Console::new(
            io::stdout().is_terminal() && !dumb,
            io::stderr().is_terminal() && !dumb,
            set("NO_COLOR"),
        )
    }

    /// Pipes and files get neither colours nor progress; `NO_COLOR` (no-color.org) takes only the colours away.
    pub(super) fn new(stdout: bool, stderr: bool, no_color: bool) -> Console {
        Console {
            colour: stdout && !no_color,
            redraw: stdout,
            progress: stderr,
        }
    }
}
