//! The honesty block: how the numbers came about and what they may miss.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Paint, Style, completeness, probes};
use crate::capture::{Capture, Fill, Function};
use crate::report::units::{Bytes, Count, Delta, Seconds, Share};
use crate::report::verdict::{counted, mark};
use crate::report::{accounting, clean, reconciliation};

pub(super) fn write(capture: &Capture, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{}",
        paint.apply(Style::Strong, "How this was measured")
    )?;
    for (label, text) in lines(capture) {
        writeln!(out, "  {label:<12}{text}")?;
    }
    probes::write(&capture.functions, paint, out)?;
    if !capture.notes.is_empty() {
        writeln!(out, "\n{}", paint.apply(Style::Strong, "Notes"))?;
        for note in &capture.notes {
            writeln!(out, "  {}", clean::name(note))?;
        }
    }
    Ok(())
}

fn lines(capture: &Capture) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("target", target(capture)),
        (
            "command",
            clean::name(&capture.target.cmdline.join(" ")).into_owned(),
        ),
        ("host", host(capture)),
        ("window", window(capture)),
        ("recorded", recorded(capture)),
        ("events", events(&capture.functions)),
        ("losses", losses(&capture.losses)),
        ("high water", high_water(&capture.tracer.high_water)),
        ("stacks", stacks(capture)),
    ];
    lines.extend(completeness::lines(&capture.completeness));
    lines.extend([("frames", frames(capture)), ("memory", memory(capture))]);
    lines.extend(growth(capture).into_iter().map(|line| ("", line)));
    lines.extend([
        ("cost", cost(capture)),
        ("budget", budget(capture)),
        ("tracer", tracer(capture)),
    ]);
    lines
}

fn target(capture: &Capture) -> String {
    let target = &capture.target;
    let jvm = match &target.jvm {
        None => "not a HotSpot JVM".to_owned(),
        Some(jvm) => format!("{} {}", clean::name(&jvm.name), clean::name(&jvm.version)),
    };
    let ended = if target.ended {
        ", ended in the window"
    } else {
        ""
    };
    format!(
        "pid {} ({}), {jvm}{ended}",
        target.pid,
        clean::name(&target.comm)
    )
}

fn host(capture: &Capture) -> String {
    let (kernel, arch) = (
        clean::name(&capture.host.kernel),
        clean::name(&capture.host.arch),
    );
    format!(
        "Linux {kernel}, {arch}; offheap {}",
        clean::name(&capture.tool.version)
    )
}

fn window(capture: &Capture) -> String {
    let window = &capture.window;
    let (start, end) = (clean::name(&window.start), clean::name(&window.end));
    format!(
        "attached {start}, until {end} ({}); memory older than the attach is unknown",
        Seconds(window.seconds)
    )
}

fn recorded(capture: &Capture) -> String {
    let settings = &capture.settings;
    let mut parts: Vec<String> = settings
        .hooks
        .iter()
        .map(|hook| hook_text(hook, settings.sample_bytes))
        .collect();
    if let Some(size) = settings.min_size {
        parts.push(format!("sizes from {}", Bytes(size)));
    }
    if let Some(size) = settings.max_size {
        parts.push(format!("sizes up to {}", Bytes(size)));
    }
    if let Some(age) = settings.older_seconds {
        parts.push(format!("only what is older than {}", Seconds(age)));
    }
    parts.push(format!(
        "up to {} of each stack",
        Bytes(settings.stack_bytes)
    ));
    parts.join("; ")
}

fn hook_text(hook: &str, sample_bytes: u64) -> String {
    match (hook, sample_bytes) {
        ("malloc", 0) | ("zlib" | "mmap" | "pairs", _) => format!("{hook} exact"),
        ("malloc", interval) => format!(
            "malloc sampled by bytes, mean interval {} (~ marks estimates)",
            Bytes(interval)
        ),
        (other, _) => clean::name(other).into_owned(),
    }
}

/// Every call that reached a probe, by what became of it. What does not add up is said.
fn events(functions: &[Function]) -> String {
    let sum = |field: fn(&Function) -> u64| {
        functions
            .iter()
            .fold(0u64, |sum, f| sum.saturating_add(field(f)))
    };
    let (seen, failed, lost) = (sum(|f| f.seen), sum(|f| f.failed), sum(|f| f.lost));
    let (recorded, filtered, unsampled) = (
        sum(|f| f.recorded),
        sum(|f| f.filtered),
        sum(|f| f.unsampled),
    );
    let mut text = format!(
        "{} seen = {} recorded + {} filtered + {} not sampled + {} failed + {} lost",
        Count(seen),
        Count(recorded),
        Count(filtered),
        Count(unsampled),
        Count(failed),
        Count(lost),
    );
    let in_flight = sum(|f| f.in_flight);
    if in_flight > 0 {
        text += &format!(" + {} under way", Count(in_flight));
    }
    let known: i128 = [recorded, filtered, unsampled, failed, lost, in_flight]
        .into_iter()
        .map(i128::from)
        .sum();
    match i128::from(seen) - known {
        0 => {}
        rest => text += &format!("; {rest} unaccounted for"),
    }
    text
}

fn losses(losses: &BTreeMap<String, u64>) -> String {
    let lost: Vec<String> = losses
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{} {}", Count(*count), clean::name(reason)))
        .collect();
    if lost.is_empty() {
        "none".to_owned()
    } else {
        lost.join(", ")
    }
}

fn high_water(fills: &BTreeMap<String, Fill>) -> String {
    let fill = |(name, fill): (&String, &Fill)| {
        let (used, capacity) = (Count(fill.used), Count(fill.capacity));
        format!(
            "{} {used} of {capacity} ({})",
            clean::name(name),
            Share::of(fill.used, fill.capacity)
        )
    };
    match fills.is_empty() {
        true => "not measured".to_owned(),
        false => fills.iter().map(fill).collect::<Vec<_>>().join(", "),
    }
}

fn stacks(capture: &Capture) -> String {
    let completeness = &capture.completeness;
    let mut text = format!(
        "{} taken, {} to the thread's root ({})",
        Count(completeness.stacks),
        Count(completeness.complete),
        Share::of(completeness.complete, completeness.stacks),
    );
    for (end, count) in &completeness.ends {
        text += &format!(", {} {}", Count(*count), clean::name(end));
    }
    text
}

fn frames(capture: &Capture) -> String {
    let completeness = &capture.completeness;
    let share = Share::of(completeness.symbolized_frames, completeness.frames);
    format!(
        "{} of {} named ({share})",
        Count(completeness.symbolized_frames),
        Count(completeness.frames)
    )
}

fn rss_delta(capture: &Capture) -> i128 {
    i128::from(capture.memory.rss_end) - i128::from(capture.memory.rss_start)
}

fn memory(capture: &Capture) -> String {
    let memory = &capture.memory;
    format!(
        "RSS {} at the start, {} at the end ({}); outstanding from this window: {}{}",
        Bytes(memory.rss_start),
        Bytes(memory.rss_end),
        Delta(rss_delta(capture)),
        mark(estimated(capture)),
        Bytes(memory.outstanding_bytes),
    )
}

/// The change of RSS as a sum, where both looks at its owners are there.
fn growth(capture: &Capture) -> Vec<String> {
    let mut lines = reconciliation::lines(capture).unwrap_or_else(|| vec![difference(capture)]);
    lines.extend(reconciliation::missing(capture));
    lines
}

/// RSS cannot tell outstanding from retained memory; the difference is stated, not explained away.
fn difference(capture: &Capture) -> String {
    let rest = rss_delta(capture) - i128::from(capture.memory.outstanding_bytes);
    format!(
        "RSS delta minus outstanding: {}{} (older memory, pages not touched yet, what the allocator keeps after a free)",
        mark(estimated(capture)),
        Delta(rest)
    )
}

fn estimated(capture: &Capture) -> bool {
    accounting::total(capture, &capture.sites.iter().collect::<Vec<_>>()).1
}

fn cost(capture: &Capture) -> String {
    let tracer = &capture.tracer;
    let hits = counted(tracer.probe_hits, "probe hit");
    let Some((trap, seconds)) = tracer.trap_ns.zip(accounting::tracing_seconds(capture)) else {
        return format!("{hits}; the cost of a hit was not measured");
    };
    let parts = accounting::traps(capture, trap);
    let texts: Vec<String> = parts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, cost)| format!("{} {what} × {cost:.0} ns", Count(*count)))
        .collect();
    let programs = tracer.budget.program_seconds;
    let mut text = format!("{hits}: {}", texts.join(" + "));
    if programs > 0.0 {
        text += &format!(" + {} in programs", Seconds(programs));
    }
    let share = Share {
        part: seconds,
        whole: capture.window.seconds,
    };
    text + &format!(
        " = ~{} of the target's CPU time (~{share} of one core)",
        Seconds(seconds)
    )
}

/// What tracing was allowed to cost, the most that it did, and what had to be given up for that.
fn budget(capture: &Capture) -> String {
    let budget = &capture.tracer.budget;
    let Some(percent) = budget.percent else {
        return "no limit".to_owned();
    };
    let mut text = format!(
        "{percent} % of the target's CPU time (of one CPU at least); at most {:.1} % in any quarter of a second",
        budget.peak_percent
    );
    for watched in &budget.watched {
        if let Some(until) = watched.until_seconds {
            let group = clean::name(&watched.group);
            text += &match until - watched.from_seconds {
                recorded if recorded > 0.0 => format!(
                    "; {group} was recorded until second {until:.1}: what was freed later still counts"
                ),
                _ => format!("; {group} was not recorded"),
            };
        }
    }
    for step in &budget.steps {
        text += &format!(
            "; second {:.1}: {}",
            step.at_seconds,
            clean::name(&step.what)
        );
    }
    text
}

fn tracer(capture: &Capture) -> String {
    let tracer = &capture.tracer;
    let text = format!(
        "{} CPU ({} of one core), peak RSS {}; first probe live after {:.0} ms, all after {:.0} ms",
        Seconds(tracer.cpu_seconds),
        Share {
            part: tracer.cpu_seconds,
            whole: capture.window.seconds
        },
        Bytes(tracer.max_rss),
        tracer.first_probe_ms,
        tracer.all_probes_ms,
    );
    match tracer.detach_ms {
        Some(took) => format!("{text}, detached in {took:.0} ms"),
        None => text,
    }
}
