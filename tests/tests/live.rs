//! `attach` on a terminal: the view with keys.

use std::process::Command;

use offheap_tests::kernel::{assert_gone, objects_of_tool};
use offheap_tests::terminal::Terminal;
use offheap_tests::{CFlags, Target, Tool, c_program, session};

const SMALL: (u16, u16) = (24, 80);

fn target() -> Target {
    Target::start(&mut Command::new(c_program("process", CFlags::default())))
}

/// Everything exact, read four times a second, so that keys are all that a test waits for.
fn attach(
    target: &Target,
    flags: &[&str],
    variables: &[(&str, &str)],
    size: (u16, u16),
) -> Terminal {
    let pid = target.pid().to_string();
    let mut arguments = vec!["attach", &pid, "--interval", "250ms", "--sample-bytes", "0"];
    arguments.extend(flags);
    Terminal::start(arguments, variables, size)
}

fn has(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

/// On 80 columns by 24 lines the sites are listed with their figures; one can be chosen, looked into, filtered for and
/// sorted, and at the end the terminal is as it was, with the report on it.
#[test]
fn sites_can_be_looked_into() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let mut terminal = attach(&target, &[], &[], SMALL);
    terminal.await_screen("the first picture", |lines| has(lines, "(pid "));
    assert!(terminal.is_taken_over());
    let held = objects_of_tool(terminal.pid());
    target.work();

    let lines = terminal.await_screen("the site", |lines| has(lines, "at_parent"));
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{lines:#?}"
    );
    assert!(has(&lines, "BYTESv"), "sorted by bytes: {lines:#?}");
    terminal.type_keys("/at_parent\r");
    terminal.await_screen("only that one", |lines| {
        has(lines, "with \"at_parent\"") && has(lines, "malloc") && !has(lines, "thread_start")
    });
    terminal.type_keys("\r");
    let lines = terminal.await_screen("its stack", |lines| has(lines, "process.c:"));
    assert!(has(&lines, "allocated "), "{lines:#?}");
    terminal.type_keys("\x1b");
    terminal.await_screen("the list", |lines| has(lines, "CALLER"));
    terminal.type_keys("c");
    terminal.await_screen("another order", |lines| has(lines, "COUNTv"));
    terminal.type_keys("?");
    terminal.await_screen("the help", |lines| has(lines, "choose a site"));
    terminal.type_keys("\r");
    terminal.await_screen("the list again", |lines| has(lines, "COUNTv"));
    terminal.type_keys("e");
    terminal.await_screen("what was recorded", |lines| has(lines, "SAMPLES"));

    terminal.type_keys("q");
    let (code, all) = terminal.wait_end();
    assert_eq!(code, Some(0), "{all}");
    assert!(!terminal.is_taken_over());
    let report = all.rsplit("\x1b[?1049l").next().unwrap_or_default();
    assert!(
        report.contains("at_parent") && report.contains("window"),
        "{report}"
    );
    assert_gone(&held);
}

/// A window that is made tiny and large again loses nothing but room.
#[test]
fn sizes_are_survived() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let mut terminal = attach(&target, &[], &[], SMALL);
    terminal.await_screen("the first picture", |lines| has(lines, "(pid "));
    target.work();
    terminal.await_screen("the site", |lines| has(lines, "at_parent"));
    for size in [(1, 1), (2, 7), (5, 200), (200, 20), (24, 80)] {
        terminal.resize(size.0, size.1);
    }
    terminal.await_screen("the site again", |lines| has(lines, "at_parent"));
    terminal.resize(30, 120);
    terminal.await_screen("a wider table", |lines| has(lines, "TREND"));
    terminal.type_keys("\x03");
    assert_eq!(terminal.wait_end().0, Some(0), "ctrl-c is a normal end");
}

/// A key that is typed in the moment in which the window changes is heard, and not kept until the next one.
#[test]
fn keys_are_heard_beside_a_resize() {
    let Some(_session) = session() else { return };
    let target = target();
    let terminal = attach(&target, &[], &[], SMALL);
    terminal.await_screen("the first picture", |lines| has(lines, "(pid "));
    for round in 0..40 {
        terminal.resize(24 + round % 2, 80);
        terminal.type_keys("?");
        terminal.await_screen("the help", |lines| has(lines, "choose a site"));
        terminal.resize(30, 80 + round);
        terminal.type_keys("\r");
        terminal.await_screen("the list", |lines| has(lines, "CALLER"));
    }
    terminal.type_keys("q");
}

/// Where no colour is wanted there is none, and without UTF-8 there is nothing but ASCII.
#[test]
fn plain_terminals_get_plain_pictures() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let plain = [("NO_COLOR", "1"), ("LC_ALL", "C")];
    let terminal = attach(&target, &[], &plain, SMALL);
    terminal.await_screen("the first picture", |lines| has(lines, "(pid "));
    target.work();
    let lines = terminal.await_screen("the site", |lines| has(lines, "at_parent"));
    assert!(lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
    assert!(!terminal.is_coloured());
    terminal.type_keys("q");
}

/// While the view is paused its figures stand still; what happened meanwhile is there afterwards.
#[test]
fn a_pause_keeps_the_picture() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let terminal = attach(&target, &[], &[], SMALL);
    terminal.await_screen("the first picture", |lines| has(lines, "(pid "));
    terminal.type_keys("p");
    terminal.await_screen("the pause", |lines| has(lines, "[paused]"));
    target.work();
    terminal.type_keys("?");
    terminal.await_screen("a picture after that", |lines| has(lines, "choose a site"));
    terminal.type_keys("\r");
    let lines = terminal.await_screen("the list", |lines| has(lines, "CALLER"));
    assert!(!has(&lines, "at_parent"), "{lines:#?}");
    terminal.type_keys("p");
    terminal.await_screen("the site", |lines| has(lines, "at_parent"));
    terminal.type_keys("q");
}

/// A target that ends leaves its last state on the screen until somebody has seen it.
#[test]
fn the_end_of_the_target_is_shown() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let mut terminal = attach(&target, &[], &[], SMALL);
    terminal.await_screen("the first picture", |lines| has(lines, "(pid "));
    target.work();
    terminal.await_screen("the site", |lines| has(lines, "at_parent"));
    target.kill();
    let lines = terminal.await_screen("the end", |lines| has(lines, "[ended]"));
    assert!(has(&lines, "at_parent"), "{lines:#?}");
    terminal.type_keys("\r");
    terminal.await_screen("the stack, still with names", |lines| {
        has(lines, "process.c:")
    });
    terminal.type_keys("q");
    let (code, all) = terminal.wait_end();
    assert_eq!(code, Some(0));
    assert!(all.contains("ended in the window"), "{all}");
}

/// With `--plain` a terminal gets the tables that a pipe gets.
#[test]
fn tables_can_be_asked_for() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let mut terminal = attach(&target, &["--plain"], &[], (50, 160));
    terminal.await_screen("the probes", |lines| has(lines, "probes live"));
    target.work();
    terminal.await_screen("a table", |lines| {
        has(lines, "at_parent") && has(lines, "CALLER")
    });
    assert!(!terminal.is_taken_over());
    terminal.type_keys("\x03");
    assert_eq!(terminal.wait_end().0, Some(0));
}

/// A bundle can be asked for without an end of the trace; where it can't be written the view says so.
#[test]
fn a_bundle_is_written_on_the_way() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let terminal = attach(&target, &[], &[], (24, 160));
    terminal.await_screen("the first picture", |lines| has(lines, "(pid "));
    target.work();
    terminal.await_screen("the site", |lines| has(lines, "at_parent"));
    terminal.type_keys("s");
    let lines = terminal.await_screen("the place", |lines| has(lines, "written: "));
    let place = lines.iter().find_map(|line| line.split("written: ").nth(1));
    let place = place.expect("it was there").trim().to_owned();
    let capture = std::path::Path::new(&place).join("capture.json");
    assert!(capture.is_file(), "{place}");
    let report = Tool::start(["report", &place, "-f", "text"]).ended();
    assert!(
        report.stdout.iter().any(|line| line.contains("at_parent")),
        "{report:?}"
    );
    std::fs::remove_dir_all(&place).expect("the bundle can be removed");
    terminal.type_keys("q");
}
