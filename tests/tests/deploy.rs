//! What is in `deploy/` works: the privileges that it gives are enough, and its scripts do what they say.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use offheap::capture::SiteKind;
use offheap_tests::session::lacks_program;
use offheap_tests::tool::{RING_BYTES, binary};
use offheap_tests::{
    CFlags, DEADLINE, Target, Tool, assert_exact, c_program, classpath, java, session, skip,
};
use tempfile::TempDir;

const NOBODY: u32 = 65534;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(deploy(file)).expect("a file of deploy/")
}

/// As `bpf`, `sys_ptrace` …
fn lower(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let names = names.into_iter().map(|name| name.to_lowercase());
    names
        .map(|name| name.trim_start_matches("cap_").to_owned())
        .collect()
}

fn of_unit() -> BTreeSet<String> {
    let unit = text("systemd/offheap-watch@.service");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .expect("the unit bounds its capabilities");
    lower(line.split_whitespace().map(str::to_owned))
}

/// The words in the brackets after `add`.
fn of_kubernetes(file: &str) -> BTreeSet<String> {
    let text = text(file);
    let line = text
        .lines()
        .find(|line| line.trim().trim_matches('"').starts_with("add"))
        .expect("the file adds capabilities");
    let (_, list) = line.split_once('[').expect("a list");
    let list = list.trim_end_matches(']').split(',');
    lower(list.map(|word| word.trim().trim_matches('"').to_owned()))
}

/// All of `deploy/` gives the same capabilities, which are those that are tried below.
#[test]
fn one_set_of_capabilities() {
    let expected = ["bpf", "dac_read_search", "perfmon", "sys_ptrace"];
    assert_eq!(of_unit(), expected.map(str::to_owned).into());
    for file in ["kubernetes/daemonset.yaml", "kubernetes/debug-profile.json"] {
        assert_eq!(of_kubernetes(file), of_unit(), "{file}");
    }
}

/// A target of another user, as which it may read what the harness has built.
fn nobodys_target() -> Target {
    let folder = TempDir::new().expect("a temporary directory");
    let program = folder.path().join("reuse");
    fs::copy(c_program("reuse", CFlags::default()), &program).expect("a copy");
    for path in [folder.path(), &program] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).expect("own files");
    }
    // The folder goes as soon as the target runs; a deleted program is traced as well, but needs one capability more.
    let folder = folder.keep();
    let target = Target::start(Command::new(&program).uid(NOBODY).gid(NOBODY));
    std::mem::forget(folder);
    target
}

/// Root with exactly the capabilities that `deploy/` gives, and no way to more, traces a process of another user
/// exactly.
#[test]
fn least_capabilities() {
    if lacks_program("setpriv") {
        return;
    }
    let Some(_session) = session() else { return };
    if !perf_links_are_not_needed() {
        return skip("uprobe_multi links (before Linux 6.6 some kernels ask for CAP_SYS_ADMIN)");
    }
    let mut target = nobodys_target();
    let set: Vec<String> = of_unit().iter().map(|name| format!("+{name}")).collect();
    let mut command = Command::new("setpriv");
    command
        .args(["--no-new-privs", "--inh-caps=-all"])
        .arg(format!("--bounding-set=-all,{}", set.join(",")))
        .arg(binary().expect("a session was begun"));
    let out = TempDir::new().expect("a temporary directory");
    command.args(["capture", &target.pid().to_string(), "-d", "600s"]);
    command.args(["--hooks", "malloc", "--sample-bytes", "0"]);
    command.args(["--ring-bytes", RING_BYTES, "-o"]);
    command.arg(out.path().join("bundle"));
    let tool = Tool::spawn(&mut command, out);
    tool.await_live();
    assert_eq!(effective(tool.pid()), mask(&of_unit()), "exactly these");
    let truths = target.work();
    assert_exact(&tool.finish(), SiteKind::Malloc, "work", &truths);
}

/// The target's own user needs but two capabilities.
#[test]
fn as_the_targets_user() {
    if lacks_program("setpriv") {
        return;
    }
    let Some(_session) = session() else { return };
    if !perf_links_are_not_needed() {
        return skip("uprobe_multi links (before Linux 6.6 some kernels ask for CAP_SYS_ADMIN)");
    }
    let mut target = nobodys_target();
    let out = TempDir::new().expect("a temporary directory");
    let tool_copy = out.path().join("offheap");
    fs::copy(binary().expect("a session was begun"), &tool_copy).expect("a copy");
    std::os::unix::fs::chown(out.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    let set = "-all,+bpf,+perfmon";
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(format!("--bounding-set={set}"))
        .arg(format!("--inh-caps={set}"))
        .arg(format!("--ambient-caps={set}"))
        .arg(&tool_copy);
    command.args(["capture", &target.pid().to_string(), "-d", "600s"]);
    command.args(["--hooks", "malloc", "--sample-bytes", "0"]);
    command.args(["--ring-bytes", RING_BYTES, "-o"]);
    command.arg(out.path().join("bundle"));
    let tool = Tool::spawn(&mut command, out);
    tool.await_live();
    let two = ["bpf", "perfmon"].map(str::to_owned).into();
    assert_eq!(effective(tool.pid()), mask(&two), "exactly these");
    let truths = target.work();
    assert_exact(&tool.finish(), SiteKind::Malloc, "work", &truths);
}

/// `CapEff` of a process.
fn effective(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("proc of a child");
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    u64::from_str_radix(set.expect("a set").trim(), 16).expect("hexadecimal")
}

/// Bits of include/uapi/linux/capability.h.
fn mask(names: &BTreeSet<String>) -> u64 {
    let bit = |name: &String| match name.as_str() {
        "dac_read_search" => 2,
        "sys_ptrace" => 19,
        "perfmon" => 38,
        "bpf" => 39,
        other => panic!("{other} has no bit here"),
    };
    names.iter().map(|name| 1_u64 << bit(name)).sum()
}

/// Perf links need CAP_SYS_ADMIN on some kernels.
fn perf_links_are_not_needed() -> bool {
    use offheap::probes::LinkKind;
    LinkKind::best() != LinkKind::Perf
}

/// A script of `deploy/bin` that finds `offheap` as the one under test.
fn script(name: &str) -> Command {
    let folder = binary().expect("a session was begun");
    let folder = folder.parent().expect("it is in a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(deploy("bin").join(name));
    command.env("PATH", format!("{}:{path}", folder.display()));
    command
}

/// A selector that is a pid or a main class gives the process, and one that fits nothing says so with exit code 3.
#[test]
fn selectors() {
    let Some(_session) = session() else { return };
    let Some(classpath) = classpath() else {
        return skip("a JDK");
    };
    let jvm = Target::start(&mut java(&classpath, &[], "Streams"));
    let select = |selector: &str| {
        let output = script("offheap-select")
            .arg(selector)
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.code(), said)
    };
    let pid = jvm.pid().to_string();
    assert_eq!(select(&pid), (Some(0), pid.clone()));
    assert_eq!(select("/targets.Streams$/"), (Some(0), pid));
    assert_eq!(select("/no\\.such\\.Main/"), (Some(3), String::new()));
    assert_eq!(select("4194305"), (Some(3), String::new()));
}

/// The script of the DaemonSet watches a JVM that matches, writes what it promises, and ends with its last bundle when it
/// is asked to.
#[test]
fn node_script() {
    let Some(_session) = session() else { return };
    let Some(classpath) = classpath() else {
        return skip("a JDK");
    };
    let jvm = Target::start(&mut java(&classpath, &[], "Streams"));
    let folder = TempDir::new().expect("a temporary directory");
    let out = folder.path().join("bundles");
    let mut command = script("offheap-node");
    command
        .env("OFFHEAP_MATCH", "targets.Streams$")
        .env("OFFHEAP_DIR", &out)
        .env("OFFHEAP_ARGS", "--every 1s --hooks zlib")
        .env("OFFHEAP_LOOK", "1")
        .stdin(Stdio::null());
    let tool = Tool::spawn(&mut command, folder);
    tool.await_live();
    let of_jvm = out.join(jvm.pid().to_string());
    let bundles = || fs::read_dir(&of_jvm).map_or(0, |entries| entries.flatten().count());
    let until = Instant::now() + DEADLINE;
    while bundles() == 0 {
        assert!(Instant::now() < until, "no bundle: {:#?}", tool.stderr());
        std::thread::yield_now();
    }
    let before = bundles();
    tool.signal(libc::SIGTERM);
    let finished = tool.ended();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    assert!(
        bundles() > before || before > 1,
        "the last bundle is written"
    );
    let live = finished
        .stderr
        .iter()
        .filter(|line| line.starts_with("probes live"));
    assert_eq!(
        live.count(),
        1,
        "one watch for one JVM: {:#?}",
        finished.stderr
    );
}

/// systemd finds nothing wrong with the unit.
#[test]
fn unit_is_sound() {
    if lacks_program("systemd-analyze") {
        return;
    }
    let folder = TempDir::new().expect("a temporary directory");
    let unit = folder.path().join("offheap-watch@kafka.service");
    fs::copy(deploy("systemd/offheap-watch@.service"), &unit).expect("a copy");
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()
        .expect("systemd-analyze");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
