//! What was typed, as what it means: one struct, made once at the edge and passed down.

mod console;
mod export;
mod output;
mod values;

use std::num::NonZeroU64;
use std::time::Duration;

use regex::Regex;

use crate::budget::{Budget, DEFAULT_PERCENT};
use crate::capture;
use crate::cli::{self, Hook, Sort};
use crate::exit::Usage;
use crate::functions::pairs::{DEFAULT, Pairs};
use crate::target::Pid;
use crate::threshold::Level;

pub use console::Console;
pub use export::{Export, Push};
pub use output::OutputPattern;
pub use values::{Capacity, Grouping, Hooks, SampleInterval, SizeFilter, StackCap, Verbosity};

/// Everything that a traced run needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub pid: Pid,
    pub mode: Mode,
    pub hooks: Hooks,
    pub pairs: Pairs,
    pub sampling: SampleInterval,
    pub stack_cap: StackCap,
    pub sizes: SizeFilter,
    pub grouping: Grouping,
    pub view: View,
    pub capacity: Capacity,
    pub verbosity: Verbosity,
    pub budget: Budget,
}

/// The way of working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `duration`: None runs until a signal.
    Attach {
        interval: Duration,
        duration: Option<Duration>,
        /// Tables, whatever the terminal can do.
        plain: bool,
        /// Memory that makes a bundle due at once.
        snapshot_at: Vec<Level>,
    },
    Capture {
        duration: Duration,
        output: OutputPattern,
    },
    Watch {
        every: Duration,
        keep: u32,
        /// Memory that makes a bundle due at once.
        snapshot_at: Vec<Level>,
        output: OutputPattern,
        export: Export,
    },
}

impl Mode {
    /// Memory that makes a bundle due at once.
    pub fn snapshot_at(&self) -> &[Level] {
        match self {
            Mode::Attach { snapshot_at, .. } | Mode::Watch { snapshot_at, .. } => snapshot_at,
            Mode::Capture { .. } => &[],
        }
    }
}

/// What of a snapshot is shown.
#[derive(Clone, Debug)]
pub struct View {
    /// Only sites outstanding for longer.
    pub older: Option<Duration>,
    pub top: usize,
    pub sort: Sort,
    /// Matched against each frame's name.
    pub include: Option<Regex>,
    pub exclude: Option<Regex>,
}

impl Settings {
    /// # Errors
    /// When what was typed can't be meant.
    pub fn attach(args: &cli::Attach, verbose: u8) -> Result<Settings, Usage> {
        at_least("--interval", args.interval, Duration::from_millis(100))?;
        let mode = Mode::Attach {
            interval: args.interval,
            duration: args.duration,
            // What the log says on stderr would run through the view.
            plain: args.plain || verbose > 0,
            snapshot_at: args.snapshot_at.clone(),
        };
        Settings::new(
            "attach",
            mode,
            &args.target,
            &args.trace,
            &args.view,
            verbose,
        )
    }

    /// # Errors
    /// When what was typed can't be meant.
    pub fn capture(args: &cli::CaptureArgs, verbose: u8) -> Result<Settings, Usage> {
        let mode = Mode::Capture {
            duration: args.duration,
            output: OutputPattern::new(&args.output)?,
        };
        Settings::new(
            "capture",
            mode,
            &args.target,
            &args.trace,
            &args.view,
            verbose,
        )
    }

    /// # Errors
    /// When what was typed can't be meant.
    pub fn watch(args: &cli::Watch, verbose: u8) -> Result<Settings, Usage> {
        at_least("--every", args.every, Duration::from_secs(1))?;
        let output = OutputPattern::new(&args.output)?;
        let mode = Mode::Watch {
            every: args.every,
            keep: args.keep,
            snapshot_at: args.snapshot_at.clone(),
            output,
            export: (&args.export).into(),
        };
        Settings::new(
            "watch",
            mode,
            &args.target,
            &args.trace,
            &args.view,
            verbose,
        )
    }

    fn new(
        command: &str,
        mode: Mode,
        target: &cli::TargetArg,
        trace: &cli::Trace,
        view: &cli::View,
        verbose: u8,
    ) -> Result<Settings, Usage> {
        let pid = target.given().ok_or_else(|| {
            Usage(format!("which process? As in `offheap {command} 4242`; `offheap list` shows the JVMs on this host"))
        })?;
        let sampling = sampling(trace.sample_bytes)?;
        let pairs = pairs(trace)?;
        let hooks = hooks(&trace.hooks, &pairs);
        if hooks.groups().is_empty() {
            return Err(Usage(
                "--hooks pairs, and no pair: name presets or a file with --pairs, or declare one with --pair"
                    .to_owned(),
            ));
        }
        Ok(Settings {
            pid,
            mode,
            hooks,
            pairs,
            sampling,
            stack_cap: StackCap::new(trace.stack_bytes).ok_or_else(|| {
                Usage("--stack-bytes: only 4k, 8k, 16k, 32k and 64k can be had".to_owned())
            })?,
            sizes: sizes(trace)?,
            grouping: if trace.threads {
                Grouping::StackAndThread
            } else {
                Grouping::Stack
            },
            view: View::new(view)?,
            capacity: capacity(trace, sampling)?,
            budget: budget(trace.max_overhead, sampling),
            verbosity: match verbose {
                0 => Verbosity::Normal,
                1 => Verbosity::Verbose,
                _ => Verbosity::Probes,
            },
        })
    }
}

/// The part of the settings that a capture keeps.
impl From<&Settings> for capture::Settings {
    fn from(settings: &Settings) -> capture::Settings {
        capture::Settings {
            hooks: settings
                .hooks
                .names()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            sample_bytes: settings.sampling.bytes(),
            stack_bytes: settings.stack_cap.bytes().into(),
            min_size: settings.sizes.min,
            max_size: settings.sizes.max,
            older_seconds: settings.view.older.map(|age| age.as_secs_f64()),
        }
    }
}

impl View {
    /// # Errors
    /// When a pattern is not a regular expression.
    pub fn new(view: &cli::View) -> Result<View, Usage> {
        Ok(View {
            older: view.older,
            top: view.top as usize,
            sort: view.sort,
            include: pattern("--include", view.include.as_deref())?,
            exclude: pattern("--exclude", view.exclude.as_deref())?,
        })
    }
}

/// Presets are for those who hook pairs; what is declared or named is wanted in any case.
fn pairs(trace: &cli::Trace) -> Result<Pairs, Usage> {
    let defaults: &[&str] = match trace.hooks.contains(&Hook::Pairs) {
        true => &DEFAULT,
        false => &[],
    };
    Pairs::select(&trace.pairs, &trace.pair, defaults).map_err(Usage)
}

fn hooks(typed: &[Hook], pairs: &Pairs) -> Hooks {
    let selected = |hook| typed.contains(&hook);
    Hooks {
        zlib: selected(Hook::Zlib),
        mmap: selected(Hook::Mmap) || selected(Hook::Growth),
        malloc: selected(Hook::Malloc),
        pairs: !pairs.is_empty(),
        growth: selected(Hook::Growth),
    }
}

fn sampling(bytes: u64) -> Result<SampleInterval, Usage> {
    if bytes > SampleInterval::LONGEST {
        return Err(Usage(
            "--sample-bytes: at most 1g; beyond that a sample says nothing".to_owned(),
        ));
    }
    Ok(NonZeroU64::new(bytes).map_or(SampleInterval::Exact, SampleInterval::Bytes))
}

/// Who asks for every allocation is not given fewer, unless they also say what it may cost.
fn budget(typed: Option<Budget>, sampling: SampleInterval) -> Budget {
    typed.unwrap_or(match sampling {
        SampleInterval::Exact => Budget::Unlimited,
        SampleInterval::Bytes(_) => Budget::Percent(DEFAULT_PERCENT),
    })
}

fn sizes(trace: &cli::Trace) -> Result<SizeFilter, Usage> {
    match (trace.min_size, trace.max_size) {
        (Some(min), Some(max)) if min > max => Err(Usage(format!(
            "--min-size {min} is above --max-size {max}: no allocation can be both"
        ))),
        (min, max) => Ok(SizeFilter { min, max }),
    }
}

fn capacity(trace: &cli::Trace, sampling: SampleInterval) -> Result<Capacity, Usage> {
    // In exact mode, some 50 ms of 50,000 stacks of 16 KiB a second: a busy machine lets us wait for so long.
    let default_ring: u64 = match sampling {
        SampleInterval::Exact => 64 << 20,
        SampleInterval::Bytes(_) => 16 << 20,
    };
    // Room for one full capture is the least; above 1 GiB the kernel refuses or the host suffers.
    const RING: std::ops::RangeInclusive<u64> = 128 << 10..=1 << 30;
    const MOST_OUTSTANDING: u32 = 64 << 20;

    let ring = trace.ring_bytes.unwrap_or(default_ring);
    let ring_bytes = u32::try_from(ring)
        .ok()
        .filter(|_| ring.is_power_of_two() && RING.contains(&ring))
        .ok_or_else(|| Usage("--ring-bytes: a power of two from 128k to 1g".to_owned()))?;
    let max_outstanding = trace.max_outstanding.unwrap_or(match sampling {
        SampleInterval::Exact => 4 << 20,
        SampleInterval::Bytes(_) => 1 << 20,
    });
    if max_outstanding > MOST_OUTSTANDING {
        return Err(Usage(format!(
            "--max-outstanding: at most {MOST_OUTSTANDING}, which takes gigabytes of kernel memory"
        )));
    }
    Ok(Capacity {
        ring_bytes,
        max_outstanding,
    })
}

fn at_least(flag: &str, given: Duration, least: Duration) -> Result<(), Usage> {
    if given < least {
        Err(Usage(format!("{flag}: at least {}ms", least.as_millis())))
    } else {
        Ok(())
    }
}

/// The regular expression, compiled within the crate's default bounds on memory.
/// # Errors
/// When it is no regular expression; names the flag.
pub fn pattern(flag: &str, typed: Option<&str>) -> Result<Option<Regex>, Usage> {
    typed.map(Regex::new).transpose().map_err(|error| {
        // The crate's message draws a picture of several lines; the last one is the reason.
        let text = error.to_string();
        let reason = text
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        Usage(format!(
            "{flag} `{}` is not a regular expression: {reason}",
            typed.unwrap_or_default()
        ))
    })
}

#[cfg(test)]
mod tests;
