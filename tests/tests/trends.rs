//! What grows is told from what does not, with the right figures; and what grew between two captures.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use offheap::capture::{Capture, Site, SiteKind, TrendClass};
use offheap_tests::{
    CFlags, Finished, Target, Tool, assert_conserved, assert_truth, c_program, classpath, java,
    session, sites_through,
};
use serde_json::Value;
use tempfile::TempDir;

/// Of the target `shapes`.
const GROWN_A_STEP: f64 = 20.0 * 5003.0;
const STEPS: f64 = 100.0;
/// Of the target `pace`.
const KEPT: u64 = 1_048_583;

const EXACT: [&str; 4] = ["--hooks", "malloc", "--sample-bytes", "0"];

fn shapes() -> Target {
    Target::start(&mut Command::new(c_program("shapes", CFlags::default())))
}

/// Lets the target take its steps; how long they took, in hours.
fn steps(target: &mut Target) -> f64 {
    target.say("go");
    let milliseconds: f64 = target.await_value("elapsed ").parse().expect("a number");
    milliseconds / 3_600_000.0
}

fn only<'a>(capture: &'a Capture, kind: SiteKind, function: &str) -> &'a Site {
    let sites = sites_through(capture, kind, function);
    assert_eq!(sites.len(), 1, "{function} is one site: {sites:#?}");
    sites[0]
}

fn class(site: &Site) -> Option<TrendClass> {
    site.trend.as_ref().and_then(|trend| trend.class)
}

/// The slope is the one that the target had, this share more or less.
fn assert_slope(site: &Site, hours: f64, off: f64) {
    let truth = GROWN_A_STEP * (STEPS - 1.0) / hours;
    let trend = site.trend.as_ref().expect("a trend");
    let share = trend.bytes_per_hour / truth;
    assert!(
        (share - 1.0).abs() <= off,
        "{share} of the truth {truth}: {trend:?}"
    );
    assert!(trend.low <= trend.bytes_per_hour && trend.bytes_per_hour <= trend.high);
    assert!(trend.p < 0.01 && trend.points >= 8, "{trend:?}");
}

/// Each function of the target has the class of its shape, in an exact capture with exact figures: the slope, the readings
/// at the end, and how long its blocks lived.
#[test]
fn shapes_are_told_apart() {
    let Some(_session) = session() else { return };
    let mut target = shapes();
    let tool = Tool::capture(target.pid(), &EXACT);
    let hours = steps(&mut target);
    let truths = target.await_word("done");
    let capture = tool.finish();
    assert_conserved(&capture);
    assert_truth(&capture, &truths);
    let classes = [
        ("at_grow", TrendClass::Growing),
        ("at_level", TrendClass::Plateau),
        ("at_teeth", TrendClass::Sawtooth),
        ("at_late", TrendClass::New),
    ];
    for (function, expected) in classes {
        let site = only(&capture, SiteKind::Malloc, function);
        assert_eq!(
            class(site),
            Some(expected),
            "{function}: {:#?}\n{:?}",
            site.trend,
            site.series
        );
    }
    assert_slope(only(&capture, SiteKind::Malloc, "at_grow"), hours, 0.05);
    assert_readings(&capture);
    assert_ages(&capture);
}

/// The lists are of one length, within bounds, begin at nothing and end at what the capture says itself.
fn assert_readings(capture: &Capture) {
    let series = capture.series.as_ref().expect("readings");
    let moments = series.seconds.len();
    assert!((40..=121).contains(&moments), "{moments} readings");
    assert!(series.seconds.is_sorted());
    assert_eq!(
        (series.rss.len(), series.outstanding.len()),
        (moments, moments)
    );
    assert_eq!(series.outstanding.first(), Some(&0));
    assert_eq!(
        series.outstanding.last(),
        Some(&capture.memory.outstanding_bytes)
    );
    assert!(series.rss.iter().all(|rss| *rss > 0));
    for site in &capture.sites {
        let Some(of_site) = &site.series else {
            continue;
        };
        assert_eq!(
            (of_site.bytes.len(), of_site.count.len()),
            (moments, moments)
        );
        assert_eq!(
            of_site.bytes.last(),
            Some(&site.outstanding_bytes),
            "{site:#?}"
        );
        assert_eq!(
            of_site.count.last(),
            Some(&site.outstanding_count),
            "{site:#?}"
        );
    }
}

/// Each allocation has one age. What is freed at once lived for less than some milliseconds, and what is freed five steps
/// later for more than a quarter of a second.
fn assert_ages(capture: &Capture) {
    for site in &capture.sites {
        let ages = site.ages.as_ref().expect("ages");
        assert_eq!(
            ages.outstanding.iter().sum::<u64>(),
            site.outstanding_count,
            "{site:#?}"
        );
        assert_eq!(
            ages.freed.iter().sum::<u64>(),
            site.freed_count,
            "{site:#?}"
        );
    }
    let freed = |function| {
        &only(capture, SiteKind::Malloc, function)
            .ages
            .as_ref()
            .expect("ages")
            .freed
    };
    let brief = freed("at_brief");
    let at_once: u64 = brief.iter().take(4).sum();
    assert!(at_once * 10 >= brief.iter().sum::<u64>() * 9, "{brief:?}");
    let level = freed("at_level");
    assert_eq!(level.iter().take(9).sum::<u64>(), 0, "{level:?}");
}

/// A sampled capture says the same, as an estimate.
#[test]
fn sampled_shapes_are_told_apart() {
    let Some(_session) = session() else { return };
    let mut target = shapes();
    let tool = Tool::capture(
        target.pid(),
        &["--hooks", "malloc", "--sample-bytes", "16k"],
    );
    let hours = steps(&mut target);
    target.await_word("done");
    let finished = tool.interrupted();
    let capture = finished.capture();
    let grown = only(&capture, SiteKind::Malloc, "at_grow");
    assert!(grown.estimated);
    assert_eq!(
        class(grown),
        Some(TrendClass::Growing),
        "{:#?}",
        grown.trend
    );
    // 2,000 blocks of which a quarter is kept: the standard deviation over the last half is about 5 %.
    assert_slope(grown, hours, 0.3);
    let teeth = only(&capture, SiteKind::Malloc, "at_teeth");
    assert_eq!(
        class(teeth),
        Some(TrendClass::Sawtooth),
        "{:#?}\n{:?}",
        teeth.trend,
        teeth.series
    );
}

/// `attach` shows rates and classes, orders by them, and speaks of a leak only with the figures beside it.
#[test]
fn attach_names_what_grows() {
    let Some(_session) = session() else { return };
    let mut target = shapes();
    let pid = target.pid().to_string();
    let mut arguments = vec![
        "attach",
        &pid,
        "--interval",
        "1s",
        "--sort",
        "growth",
        "--max-overhead",
        "none",
    ];
    arguments.extend(EXACT);
    let tool = Tool::start(arguments);
    tool.await_live();
    steps(&mut target);
    let grows =
        |line: &str| line.contains("at_grow") && line.contains("growing") && line.contains("/h");
    tool.await_stdout("a table with the rate", grows);
    let finished = tool.interrupted();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    let leaks: Vec<_> = finished
        .stdout
        .iter()
        .filter(|line| line.to_lowercase().contains("leak"))
        .collect();
    assert_eq!(leaks.len(), 1, "{leaks:#?}");
    for figure in [
        "Leak candidate: ",
        "at_grow",
        "growing by +",
        "95 %",
        "p < 0.001",
        "readings over",
    ] {
        assert!(leaks[0].contains(figure), "{figure}: {leaks:#?}");
    }
    let first = finished
        .stdout
        .iter()
        .position(|line| line.starts_with("#1 "))
        .expect("a list");
    let stack = &finished.stdout[first..finished.stdout.len().min(first + 10)];
    assert!(
        stack.iter().any(|line| line.contains("at_grow")),
        "{stack:#?}"
    );
}

/// Deflaters that a JVM keeps grow; Inflaters that it drops are ended late by the cleaner.
#[test]
fn streams_of_a_jvm_have_classes() {
    let Some(_session) = session() else { return };
    let Some(classpath) = classpath() else { return };
    let mut target = Target::start(&mut java(&classpath, &[], "Shapes"));
    let tool = Tool::capture(target.pid(), &["--hooks", "zlib"]);
    target.say("go");
    target.await_word("done");
    let capture = tool.finish();
    let kept = only(&capture, SiteKind::Deflate, "targets.Shapes.keep");
    assert_eq!(kept.outstanding_count, 90);
    assert_eq!(
        class(kept),
        Some(TrendClass::Growing),
        "{:#?}\n{:?}",
        kept.trend,
        kept.series
    );
    let dropped = only(&capture, SiteKind::Inflate, "targets.Shapes.drop");
    assert!(dropped.freed_by_cleaner > 100, "{dropped:#?}");
    assert_eq!(
        class(dropped),
        Some(TrendClass::EndedByCleaner),
        "{:#?}",
        dropped.trend
    );
}

/// A `pace` target with some blocks kept under a capture: the capture before and after more were kept.
fn before_and_after(flags: &[&str], before: u32, after: u32) -> (TempDir, PathBuf, Finished) {
    let mut target = Target::start(&mut Command::new(c_program("pace", CFlags::default())));
    let tool = Tool::capture(target.pid(), flags);
    keep(&mut target, before);
    tool.signal(libc::SIGUSR1);
    tool.await_stderr("the bundle", |line| line.contains("written: "));
    let folder = TempDir::new().expect("a temporary directory");
    let base = folder.path().join("base.json");
    fs::copy(tool.bundle().join("capture.json"), &base).expect("the first bundle");
    keep(&mut target, after);
    (folder, base, tool.interrupted())
}

fn keep(target: &mut Target, blocks: u32) {
    target.say(&format!("keep {blocks}"));
    target.await_value("count ");
}

fn diff(base: &Path, new: &Path, flags: &[&str]) -> Finished {
    let mut arguments = vec![
        "diff".to_owned(),
        base.display().to_string(),
        new.display().to_string(),
    ];
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    Tool::start(arguments).ended()
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout.join("\n")).expect("JSON on stdout")
}

/// Between two captures of one attach the difference is exact in bytes, count and rate, and there is nothing to warn of.
#[test]
fn diff_of_one_attach_is_exact() {
    let Some(_session) = session() else { return };
    let (_folder, base, finished) = before_and_after(&EXACT, 3, 5);
    let compared = diff(&base, &finished.bundle(), &["-f", "json"]);
    assert_eq!((compared.code, compared.messages()), (Some(0), vec![]));
    let document = json(&compared);
    let seconds = document["seconds"].as_f64().expect("the time between");
    let site = &document["sites"][0];
    assert_eq!(
        (&document["same_run"], &site["kind"]),
        (&Value::from(true), &Value::from("malloc"))
    );
    assert_eq!(site["growth_bytes"], Value::from(5 * KEPT));
    assert_eq!(site["growth_count"], Value::from(5));
    assert_eq!(site["base"]["outstanding_bytes"], Value::from(3 * KEPT));
    assert_eq!(site["new"]["outstanding_count"], Value::from(8));
    let rate = site["bytes_per_hour"].as_f64().expect("a rate");
    let truth = (5 * KEPT) as f64 / seconds * 3600.0;
    assert!((rate / truth - 1.0).abs() < 1e-9, "{rate} is not {truth}");
    assert_eq!(document["total"]["growth_bytes"], Value::from(5 * KEPT));

    let text = diff(&base, &finished.bundle(), &[]);
    let first = text
        .stdout
        .iter()
        .find(|line| line.starts_with("#1 "))
        .expect("a site");
    assert!(
        first.contains("+5 MiB") && first.contains("+5 blocks") && first.contains("at_kept"),
        "{first}"
    );
    let picture = finished.out.path().join("growth.svg");
    let drawn = diff(
        &base,
        &finished.bundle(),
        &["-f", "svg", "-o", &picture.display().to_string()],
    );
    assert_eq!((drawn.code, drawn.stdout.len()), (Some(0), 0));
    assert!(
        fs::read_to_string(&picture)
            .expect("a picture")
            .contains("at_kept [+5 MiB]")
    );
    let mode = fs::metadata(&picture)
        .expect("a picture")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Two attaches with other settings to two processes are compared with a warning for each difference, on stderr and in the
/// report.
#[test]
fn diff_of_two_attaches_warns() {
    let Some(_session) = session() else { return };
    let (_one, base, _finished) = before_and_after(&EXACT, 2, 0);
    let (_two, _, other) =
        before_and_after(&["--hooks", "malloc,mmap", "--sample-bytes", "4k"], 1, 5);
    let compared = diff(&base, &other.bundle(), &[]);
    assert_eq!(compared.code, Some(0));
    let (said, report) = (compared.stderr.join("\n"), compared.stdout.join("\n"));
    for difference in [
        "process: ",
        "sampling of malloc: exact in BASE, one per 4 KiB in NEW",
        "hooks: ",
    ] {
        assert!(said.contains(difference), "{difference}: {said}");
        assert!(report.contains(difference), "{difference}: {report}");
    }
    let document = json(&diff(
        &base,
        &other.bundle(),
        &["-f", "json", "--include", "at_kept"],
    ));
    let sites = document["sites"].as_array().expect("sites");
    let of_malloc = |site: &&Value| site["kind"] == "malloc";
    let site = sites.iter().find(of_malloc).expect("a malloc site");
    // Blocks of the interval and more are always kept: both counts are exact.
    assert_eq!(site["growth_count"], Value::from(4), "{site}");
    assert_eq!(site["estimated"], Value::from(true));
}

/// What is no capture, is not there or can't be written ends with one line that says so; a wrong flag is wrong usage.
#[test]
fn diff_refuses_what_is_no_capture() {
    let folder = TempDir::new().expect("a temporary directory");
    if session().is_none() {
        return;
    }
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let deep = "[".repeat(100_000);
    let cases = [
        (folder.path().join("nowhere.json"), "cannot read"),
        (folder.path().to_owned(), "capture.json"),
        (file("empty.json", ""), "is no capture"),
        (file("deep.json", &deep), "is no capture"),
        (
            file("other.json", r#"{"schema": "offheap.capture/9"}"#),
            "offheap.capture/9",
        ),
        (
            file(
                "half.json",
                r#"{"schema": "offheap.capture/1", "sites": 3}"#,
            ),
            "is no capture",
        ),
        (PathBuf::from("/dev/zero"), "is bigger than any capture"),
    ];
    for (path, expected) in cases {
        let refused = diff(&path, &path, &[]);
        let messages = refused.messages();
        assert_eq!((refused.code, messages.len()), (Some(1), 1), "{messages:?}");
        assert!(messages[0].contains(expected), "{expected}: {messages:?}");
        assert!(refused.stdout.is_empty());
    }
    for flags in [["-f", "png"], ["--include", "("], ["--top", "0"]] {
        assert_eq!(
            diff(folder.path(), folder.path(), &flags).code,
            Some(2),
            "{flags:?}"
        );
    }
}
