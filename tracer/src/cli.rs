//! What can be typed. What it means is decided in [`settings`](crate::settings).

mod export;
pub mod paper;
pub mod units;
mod usage;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::budget::Budget;
use crate::target::Pid;
use crate::threshold::Level;

pub use export::Export;
pub use usage::one_line;

/// Says which Java and native stacks hold the native memory of a live JVM
#[derive(Clone, Debug, Parser)]
#[command(name = "offheap", version, disable_help_subcommand = true, after_help = usage::START_HERE)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Say more on stderr; -vv turns on the messages of the probes in the kernel as well
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch a live process: a table of the outstanding memory by stack, refreshed until Ctrl-C
    #[command(override_usage = "offheap attach [OPTIONS] <PID>", after_help = usage::ATTACH)]
    Attach(Attach),
    /// Trace for one window, print the report and write a bundle with a flame graph
    #[command(override_usage = "offheap capture [OPTIONS] <PID>", after_help = usage::CAPTURE)]
    Capture(CaptureArgs),
    /// Write a bundle per period until stopped, for leaks that take hours
    #[command(override_usage = "offheap watch [OPTIONS] <PID>", after_help = usage::WATCH)]
    Watch(Watch),
    /// Render a capture.json again
    #[command(after_help = usage::REPORT)]
    Report(Report),
    /// Say where the memory is, by owner, and which of it grows; traces nothing and leaves the process alone
    #[command(override_usage = "offheap triage [OPTIONS] <PID>", after_help = usage::TRIAGE)]
    Triage(Triage),
    /// Say what grew between two captures
    #[command(after_help = usage::DIFF)]
    Diff(Diff),
    /// Show the JVMs on this host: pid, user, main class, JDK, RSS
    List,
    /// Say what this kernel, these privileges and the target allow, and what to do about the rest
    #[command(after_help = usage::DOCTOR)]
    Doctor(Doctor),
    /// Print the script with which bash, zsh or fish complete this command
    #[command(hide = true, after_help = usage::COMPLETIONS)]
    Completions(paper::Completions),
    /// Print the manual page, or write all of them
    #[command(hide = true)]
    Man(paper::Man),
}

#[derive(Clone, Debug, Args)]
pub struct Attach {
    #[command(flatten)]
    pub target: TargetArg,
    /// Time between two tables
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = units::positive_duration)]
    pub interval: Duration,
    /// Stop after this time [default: at Ctrl-C]
    #[arg(short, long, value_name = "TIME", value_parser = units::positive_duration)]
    pub duration: Option<Duration>,
    /// Print tables also on a terminal, instead of the view with keys
    #[arg(long)]
    pub plain: bool,
    /// Write a bundle here at once when memory passes one of these, and at each new high-water mark behind it: 80%,95% of
    /// the limit of the target's cgroup, or resident sizes as in 2g
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = units::level)]
    pub snapshot_at: Vec<Level>,
    #[command(flatten)]
    pub trace: Trace,
    #[command(flatten)]
    pub view: View,
}

#[derive(Clone, Debug, Args)]
pub struct CaptureArgs {
    #[command(flatten)]
    pub target: TargetArg,
    /// Length of the window; Ctrl-C ends it early and still writes everything
    #[arg(short, long, value_name = "TIME", default_value = "30s", value_parser = units::positive_duration)]
    pub duration: Duration,
    /// Directory of the bundle; %p stands for the pid, %t for the time
    #[arg(short, long, value_name = "DIR", default_value = "offheap-%p-%t")]
    pub output: String,
    #[command(flatten)]
    pub trace: Trace,
    #[command(flatten)]
    pub view: View,
}

#[derive(Clone, Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    pub target: TargetArg,
    /// Time between two bundles; each covers everything since the attach
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::positive_duration)]
    pub every: Duration,
    /// Bundles to keep; the oldest is removed
    #[arg(long, value_name = "N", default_value = "48", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    /// Write a bundle at once when memory passes one of these, and at each new high-water mark behind it: 80%,95% of
    /// the limit of the target's cgroup, or resident sizes as in 2g
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = units::level)]
    pub snapshot_at: Vec<Level>,
    /// Directory of the bundles; %p stands for the pid, %t for the time of the start
    #[arg(short, long, value_name = "DIR", default_value = "offheap-%p")]
    pub output: String,
    #[command(flatten)]
    pub export: Export,
    #[command(flatten)]
    pub trace: Trace,
    #[command(flatten)]
    pub view: View,
}

#[derive(Clone, Debug, Args)]
pub struct Report {
    /// A capture.json, or the directory of its bundle; with --serve a directory of bundles
    #[arg(value_name = "CAPTURE")]
    pub capture: PathBuf,
    /// text, html (one page with everything), pprof, svg (flame graph), folded (stacks in one line each), speedscope
    /// or json (the capture)
    #[arg(short, long, value_enum, default_value_t = Format::Text, hide_possible_values = true)]
    pub format: Format,
    /// Show the bundles of a directory in a browser instead: PORT on 127.0.0.1, or an address with a port
    #[arg(long, value_name = "ADDR", value_parser = units::listen, conflicts_with = "format")]
    pub serve: Option<SocketAddr>,
    #[command(flatten)]
    pub view: View,
}

#[derive(Clone, Debug, Args)]
pub struct Diff {
    /// The earlier capture.json, or the directory of its bundle
    #[arg(value_name = "BASE")]
    pub base: PathBuf,
    /// The later one
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// text, json or svg (flame graph: red grew, blue shrank)
    #[arg(short, long, value_enum, default_value_t = DiffFormat::Text, hide_possible_values = true)]
    pub format: DiffFormat,
    /// Write to this file instead of standard output; an old one is replaced
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Number of sites to show as text
    #[arg(short = 'T', long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// Compare only sites with a frame that matches
    #[arg(long, value_name = "REGEX")]
    pub include: Option<String>,
    /// Leave out sites with a frame that matches
    #[arg(long, value_name = "REGEX")]
    pub exclude: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub target: TargetArg,
}

#[derive(Clone, Debug, Args)]
pub struct Triage {
    #[command(flatten)]
    pub target: TargetArg,
    /// Look again until this time is over, and say what grew [default: one look]
    #[arg(short, long, value_name = "TIME", value_parser = units::positive_duration)]
    pub duration: Option<Duration>,
    /// text or json
    #[arg(short, long, value_enum, default_value_t = TriageFormat::Text, hide_possible_values = true)]
    pub format: TriageFormat,
    /// Ask the JVM itself as well (VM.native_memory, GC.heap_info), through its attach socket
    #[arg(long)]
    pub ask_jvm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TriageFormat {
    Text,
    Json,
}

/// The process, as an argument or as a flag.
#[derive(Clone, Copy, Debug, Args)]
pub struct TargetArg {
    /// The process to trace, as this host numbers it
    #[arg(value_name = "PID")]
    pub pid: Option<Pid>,
    /// The same as a flag
    #[arg(short = 'p', long = "pid", value_name = "PID", conflicts_with = "pid")]
    pub pid_flag: Option<Pid>,
}

impl TargetArg {
    /// The pid, whichever way it was given.
    pub fn given(&self) -> Option<Pid> {
        self.pid.or(self.pid_flag)
    }
}

/// What is traced, and how closely.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub struct Trace {
    /// What to trace: zlib streams, mapped regions, the malloc family, pairs of functions (see --pair); or growth: whatever
    /// enlarges the process
    #[arg(
        long,
        value_name = "GROUPS",
        value_enum,
        value_delimiter = ',',
        default_value = "zlib,mmap,malloc,pairs",
        hide_possible_values = true
    )]
    pub hooks: Vec<Hook>,
    /// Count what a pair of functions opens and closes: `NAME=OPEN(ret|argN)/CLOSE(argN)[@library regex]`, as in
    /// 'conn=conn_open(ret)/conn_close(arg0)@libconn'; may be repeated
    #[arg(long, value_name = "DECL")]
    pub pair: Vec<String>,
    /// Presets of pairs, where their library is mapped (rocksdb, zstd, ssl, bio, evp, dlopen, file; or none, all), and
    /// TOML files with more pairs [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub pairs: Vec<String>,
    /// Record one malloc per so many bytes on average; 0 or `exact`: each (zlib and mmap always)
    #[arg(long, value_name = "SIZE", default_value = "512k", value_parser = units::sample_bytes)]
    pub sample_bytes: u64,
    /// Most that tracing may cost in percent of the CPU time that the target uses; `none`: no limit
    /// [default: 5; when exact none]
    #[arg(long, value_name = "PCT", value_parser = units::budget)]
    pub max_overhead: Option<Budget>,
    /// Trace only allocations of at least this size
    #[arg(short = 'z', long, value_name = "SIZE", value_parser = units::size)]
    pub min_size: Option<u64>,
    /// Trace only allocations of at most this size
    #[arg(short = 'Z', long, value_name = "SIZE", value_parser = units::size)]
    pub max_size: Option<u64>,
    /// Most that is copied of one stack: 4k, 8k, 16k, 32k or 64k
    #[arg(long, value_name = "SIZE", default_value = "64k", value_parser = units::size)]
    pub stack_bytes: u64,
    /// Keep the threads apart: one site per stack and thread
    #[arg(long)]
    pub threads: bool,
    /// Buffer between the kernel and offheap, a power of two [default: 16m; when exact 64m]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub ring_bytes: Option<u64>,
    /// Allocations that can be outstanding at once [default: 1048576; when exact 4194304]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1024..))]
    pub max_outstanding: Option<u32>,
}

/// What of it is shown.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Report")]
pub struct View {
    /// Show only sites with memory outstanding for longer than this
    #[arg(long, value_name = "AGE", value_parser = units::duration)]
    pub older: Option<Duration>,
    /// Number of sites to show
    #[arg(short = 'T', long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// Order of the sites: bytes, count, growth (per hour) or age (of the oldest)
    #[arg(long, value_name = "BY", value_enum, default_value_t = Sort::Bytes, hide_possible_values = true)]
    pub sort: Sort,
    /// Show only sites with a frame that matches
    #[arg(long, value_name = "REGEX")]
    pub include: Option<String>,
    /// Leave out sites with a frame that matches
    #[arg(long, value_name = "REGEX")]
    pub exclude: Option<String>,
}

/// A group of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Hook {
    Zlib,
    Mmap,
    Malloc,
    Pairs,
    Growth,
}

/// Order of the sites in a report, greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Outstanding bytes
    #[value(alias = "size")]
    Bytes,
    /// Outstanding allocations
    Count,
    /// Bytes gained per hour
    Growth,
    /// Age of the oldest outstanding allocation
    Age,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The verdict, the top sites with their stacks, what is missing
    Text,
    /// One line per stack, for flamegraph.pl, inferno and speedscope
    Folded,
    /// Flame graph
    Svg,
    /// The capture itself
    Json,
    /// One page with everything, for a browser
    Html,
    /// Compressed profile, for go tool pprof, Pyroscope and Parca
    Pprof,
    /// Stacks for speedscope
    Speedscope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// What changed, the sites that changed most with their stacks
    Text,
    /// All of it, schema offheap.diff/1
    Json,
    /// Flame graph
    Svg,
}

/// Parses a command line, the program's name first.
///
/// # Errors
/// A [`clap::Error`], which is also how `--help` and `--version` arrive.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Cli> {
    Ok(Cli::try_parse_from(args)?)
}

#[cfg(test)]
mod tests;
