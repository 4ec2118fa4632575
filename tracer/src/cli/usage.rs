//! The examples below the help texts, and usage errors in one line.

use clap::error::{ContextKind, ContextValue, ErrorKind};

pub const START_HERE: &str = "\
It attaches from outside, with eBPF uprobes: nothing is loaded into the JVM, nothing is restarted,
the target is only read. Tracing takes root.

Start here:
  offheap list                     which JVMs are there
  sudo offheap triage 4242         where is its memory
  sudo offheap doctor 4242         can this one be traced
  sudo offheap capture 4242        what holds its native memory

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the target or the kernel does not allow it,
4 the target ended before tracing began";

pub const ATTACH: &str = "\
Sizes: 4096, 512k, 1m, 2g (powers of 1024). Times: 500ms, 30s, 5m, 1h; a plain number is seconds.
Signals: Ctrl-C prints the final report, a second one leaves at once; SIGTERM is the same but fast;
SIGUSR1 prints a report and goes on.
What was allocated before the attach is unknown to offheap.

Examples:
  sudo offheap attach 4242
  sudo offheap attach 4242 --hooks zlib              Deflaters and Inflaters only: nearly free
  sudo offheap attach 4242 --older 2m --sort age     what stays";

pub const CAPTURE: &str = "\
The bundle: report.txt, report.html, flame.svg, stacks.folded, profile.pb.gz (pprof), capture.json.
The report goes to stdout as well.
Sizes: 4096, 512k, 1m, 2g (powers of 1024). Times: 500ms, 30s, 5m, 1h; a plain number is seconds.
When all probes are in place one line that begins with `probes live` goes to stderr.

Examples:
  sudo offheap capture 4242 -d 30s -o incident
  sudo offheap capture 4242 -d 10s --sample-bytes exact --hooks malloc";

pub const WATCH: &str = "\
Each bundle holds report.txt, report.html, flame.svg, stacks.folded, profile.pb.gz (pprof) and capture.json,
complete as soon as it is there; `offheap report --serve` shows them.
Sizes: 4096, 512k, 1m, 2g (powers of 1024). Times: 500ms, 30s, 5m, 1h; a plain number is seconds.
Ctrl-C or SIGTERM writes the last bundle and stops; SIGUSR1 writes one now.

Examples:
  sudo offheap watch 4242 --every 5m --keep 48 -o /var/tmp/offheap-%p
  sudo offheap watch 4242 --listen 9400                    metrics at http://127.0.0.1:9400/metrics
  sudo offheap watch 4242 --push http://pyroscope:4040 --label env=prod";

pub const COMPLETIONS: &str = "\
Examples:
  offheap completions bash > /usr/share/bash-completion/completions/offheap
  offheap completions zsh > /usr/local/share/zsh/site-functions/_offheap
  offheap completions fish > ~/.config/fish/completions/offheap.fish";

pub const TRIAGE: &str = "\
The verdict comes first, with what speaks for it and what to do next. Owners add up to RSS.
It reads /proc, the cgroup, and the memory of the JVM and of malloc; nothing is stopped or signalled.
With --ask-jvm the JVM gets the signal and the request that jcmd sends, and the report says so.
With -d: Ctrl-C ends early, SIGUSR1 looks now.

Examples:
  sudo offheap triage 4242             where is the memory
  sudo offheap triage 4242 -d 30s      and what grows";

pub const REPORT: &str = "\
Examples:
  offheap report incident                                  the report again
  offheap report incident/capture.json -f svg > flame.svg
  offheap report incident -f pprof > profile.pb.gz && go tool pprof -top profile.pb.gz
  offheap report incident --include GzipHandler --top 3
  offheap report --serve 8080 /var/tmp/offheap-4242         the bundles of a watch, in a browser";

pub const DIFF: &str = "\
Sites are matched by kind and stack; captures of one process also by line. Two bundles of one `watch`
tell what grew in between; captures of two attaches are compared by their rates. What makes them hard
to compare (another build, other settings, losses) is said in the report and on stderr.

Examples:
  offheap diff before after                                two bundles
  offheap diff watch/offheap-4242-20260102T030405Z watch/offheap-4242-20260102T040405Z
  offheap diff before after -f svg -o growth.svg";

pub const DOCTOR: &str = "\
Exit codes: 0 tracing will work, 3 it will not.

Examples:
  sudo offheap doctor              this kernel and these privileges
  sudo offheap doctor 4242         and this process";

/// What clap has to say, in one line: the reason, its tips, and where the help is.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut parts = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        match line.strip_prefix("tip: ") {
            Some(tip) => parts.push(format!("({tip})")),
            None => parts.push(line.trim_start_matches("error: ").to_owned()),
        }
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command given: `offheap --help` shows them, `offheap list` is a good first one"
            .to_owned();
    }
    if let Some(pid) = typed_pid(error) {
        parts.push(format!("(to watch process {pid}: `offheap attach {pid}`)"));
    }
    parts.push("(see --help)".to_owned());
    parts.join(" ")
}

/// A number where a command should be is a pid.
fn typed_pid(error: &clap::Error) -> Option<u32> {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => word.parse().ok(),
        _ => None,
    }
}
