//! `attach`: what somebody sees who watches a target.

use std::process::Command;

use offheap_tests::kernel::{assert_gone, objects_of_tool};
use offheap_tests::{CFlags, Target, Tool, c_program, session};

/// The table is refreshed while the target works, and Ctrl-C gives the final report and a clean end.
#[test]
fn shows_sites_and_a_final_report() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("process", CFlags::default())));
    let pid = target.pid().to_string();
    let tool = Tool::start(["attach", &pid, "--interval", "1s", "--sample-bytes", "0"]);
    tool.await_live();
    let held = objects_of_tool(tool.pid());
    target.work();
    tool.await_stdout("a table with the site", |line| line.contains("at_parent"));

    let shown = tool.interrupted();
    assert_eq!(shown.code, Some(0), "{:#?}", shown.stderr);
    let times = shown
        .stdout
        .iter()
        .filter(|line| line.contains("at_parent"))
        .count();
    assert!(
        times >= 2,
        "in a table and in the final report: {:#?}",
        shown.stdout
    );
    assert!(
        !shown.stdout.iter().any(|line| line.contains('\u{1b}')),
        "no control sequences without a terminal"
    );
    assert_gone(&held);
}

/// The pid may also be given as `-p`, as the users of other tools type it.
#[test]
fn the_pid_is_also_an_option() {
    let Some(_session) = session() else { return };
    let target = Target::start(&mut Command::new(c_program("process", CFlags::default())));
    let tool = Tool::start(["attach", "-p", &target.pid().to_string()]);
    tool.await_live();
    assert_eq!(tool.interrupted().code, Some(0));
}

/// `list` shows a JVM with its pid and main class, and leaves out what is no JVM.
#[test]
fn list_names_jvms() {
    let Some(_session) = session() else { return };
    let Some(classpath) = offheap_tests::classpath() else {
        return;
    };
    let opens = ["--add-opens", "java.base/java.util.zip=ALL-UNNAMED"];
    let jvm = Target::start(&mut offheap_tests::java(&classpath, &opens, "Streams"));
    let other = Target::start(&mut Command::new(c_program("process", CFlags::default())));
    let listed = Tool::start(["list"]).ended();
    assert_eq!(listed.code, Some(0), "{:#?}", listed.stderr);
    let row = |pid: u32| {
        listed
            .stdout
            .iter()
            .find(|line| line.split_whitespace().any(|word| word == pid.to_string()))
    };
    assert!(
        row(jvm.pid()).is_some_and(|line| line.contains("targets.Streams")),
        "{:#?}",
        listed.stdout
    );
    assert_eq!(row(other.pid()), None);
}

/// `doctor` finds nothing wrong for root and a JVM that can be traced.
#[test]
fn doctor_allows_what_works() {
    let Some(_session) = session() else { return };
    let target = Target::start(&mut Command::new(c_program("process", CFlags::default())));
    let healthy = Tool::start(["doctor", &target.pid().to_string()]).ended();
    assert_eq!(healthy.code, Some(0), "{healthy:#?}");
    assert!(!healthy.stdout.is_empty(), "doctor says what it looked at");
}
