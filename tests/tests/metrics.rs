//! `watch --listen`: what a real Prometheus gets.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use offheap_tests::lines::Lines;
use offheap_tests::session::lacks_program;
use offheap_tests::tool::{RING_BYTES, binary};
use offheap_tests::{CFlags, DEADLINE, Target, Tool, Truth, c_program, http, process, session};
use serde_json::Value;
use tempfile::TempDir;

/// A target that has worked, its truth, and a watch of it.
struct Watched {
    tool: Tool,
    address: String,
    truths: Vec<Truth>,
    _target: Target,
}

fn watched() -> Watched {
    let mut target = Target::start(&mut Command::new(c_program("reuse", CFlags::default())));
    let out = TempDir::new().expect("a temporary directory");
    let mut command = Command::new(binary().expect("a session was begun"));
    command.args(["watch", &target.pid().to_string(), "--every", "600s"]);
    command.args(["--hooks", "malloc", "--sample-bytes", "0"]);
    command.args(["--listen", "0", "--top", "5"]);
    command.args(["--ring-bytes", RING_BYTES, "-o"]);
    command.arg(out.path().join("bundles"));
    let tool = Tool::spawn(&mut command, out);
    let told = tool.await_stderr("the address", |line| line.starts_with("metrics at http://"));
    let address = told
        .trim_start_matches("metrics at http://")
        .trim_end_matches("/metrics")
        .to_owned();
    assert!(
        address.starts_with("127.0.0.1:"),
        "only this host: {address}"
    );
    tool.await_live();
    let truths = target.work();
    Watched {
        tool,
        address,
        truths,
        _target: target,
    }
}

impl Watched {
    fn outstanding(&self) -> (f64, f64) {
        let sum = |field: fn(&Truth) -> Option<u64>| {
            self.truths.iter().filter_map(field).sum::<u64>() as f64
        };
        (
            sum(|truth| truth.outstanding_bytes),
            sum(|truth| truth.outstanding_count),
        )
    }

    /// The page, as soon as it tells of all that the target has done.
    fn page(&self) -> String {
        let wanted = self.outstanding();
        let until = Instant::now() + DEADLINE;
        loop {
            let page = http::get(&self.address, "/metrics").expect("a page");
            let got = (
                value(&page, "offheap_outstanding_bytes{kind=\"malloc\"}"),
                value(&page, "offheap_outstanding_allocations{kind=\"malloc\"}"),
            );
            if got == (Some(wanted.0), Some(wanted.1)) {
                return page;
            }
            assert!(Instant::now() < until, "{got:?} and not {wanted:?}");
        }
    }
}

fn value(page: &str, row: &str) -> Option<f64> {
    let rest = page.lines().find_map(|line| line.strip_prefix(row))?;
    rest.trim().parse().ok()
}

/// The name of each site by who is to be named for it.
fn sites(page: &str) -> BTreeMap<String, String> {
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    page.lines()
        .filter(|line| line.starts_with("offheap_site_info{"))
        .map(|line| (label(line, "top"), label(line, "site")))
        .map(|(top, site)| (top.expect("a frame"), site.expect("a name")))
        .collect()
}

/// The numbers are the target's own, `promtool` finds nothing to complain about, and sites have the same names when target
/// and watch are started again.
#[test]
fn numbers_and_names() {
    if lacks_program("promtool") {
        return;
    }
    let Some(_session) = session() else { return };
    let first = watched().page();
    assert_clean(&first);
    let again = watched();
    let second = again.page();
    assert!(!sites(&first).is_empty());
    assert_eq!(sites(&first), sites(&second));
    assert!(value(&second, "offheap_losses_total{reason=\"ring-full\"}").is_none());
    assert_eq!(value(&second, "offheap_lost_total"), Some(0.0));
    assert!(value(&second, "offheap_tracing_cpu_seconds_total").is_some_and(|s| s > 0.0));
    assert!(value(&second, "offheap_target_resident_memory_bytes").is_some_and(|b| b > 1e5));
    let finished = again.tool.interrupted();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
}

fn assert_clean(page: &str) {
    let mut lint = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = lint.stdin.take().expect("stdin is piped");
    stdin.write_all(page.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = lint.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

/// A Prometheus of this machine; killed by its pid when dropped.
struct Prometheus {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

impl Prometheus {
    fn scraping(target: &str) -> Prometheus {
        let folder = TempDir::new().expect("a temporary directory");
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\n\
             scrape_configs:\n  - job_name: offheap\n    static_configs:\n      - targets: ['{target}']\n"
        );
        fs::write(&config, text).expect("an own file");
        // It does not say which port it got for 0. Nobody else is given this one so soon.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("its number").to_string();
        drop(free);
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus");
        let stderr = Lines::of(child.stderr.take().expect("stderr is piped"));
        let prometheus = Prometheus {
            child,
            address,
            _folder: folder,
        };
        let ready = |line: &str| line.contains("Server is ready to receive web requests");
        if let Err(missed) = stderr.wait(0, DEADLINE, ready) {
            panic!("prometheus is not ready ({missed:?}): {:#?}", stderr.all());
        }
        prometheus
    }

    fn api(&self, path: &str) -> Value {
        let body = http::get(&self.address, path).expect("an answer");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Asks until the one value is `expected`.
    fn await_value(&self, query: &str, expected: f64) {
        let until = Instant::now() + DEADLINE;
        loop {
            let answer = self.api(&format!("/api/v1/query?query={query}"));
            let value = answer["data"]["result"][0]["value"][1]
                .as_str()
                .and_then(|text| text.parse::<f64>().ok());
            if value == Some(expected) {
                return;
            }
            assert!(Instant::now() < until, "{query}: {answer}");
            std::thread::yield_now();
        }
    }
}

/// A real Prometheus scrapes the watch as OpenMetrics, without an error, and answers queries with the target's own
/// numbers; sites are as many as were asked for at most.
#[test]
fn prometheus_scrapes() {
    if lacks_program("prometheus") {
        return;
    }
    let Some(_session) = session() else { return };
    let watched = watched();
    let (bytes, count) = watched.outstanding();
    let prometheus = Prometheus::scraping(&watched.address);
    prometheus.await_value("offheap_outstanding_bytes{kind=\"malloc\"}", bytes);
    prometheus.await_value("offheap_outstanding_allocations{kind=\"malloc\"}", count);
    prometheus.await_value("up", 1.0);
    let shown = sites(&watched.page()).len() as f64;
    assert!(shown <= 5.0);
    prometheus.await_value("count(offheap_site_growth_bytes)", shown);
    // What a dashboard does: who grows, by name.
    prometheus.await_value(
        "count(offheap_site_growth_bytes*on(site,kind)group_left(top)offheap_site_info)",
        shown,
    );
    let targets = prometheus.api("/api/v1/targets");
    assert_eq!(
        targets["data"]["activeTargets"][0]["lastError"], "",
        "{targets}"
    );
    // Only OpenMetrics declares a counter without `_total`.
    let metadata = prometheus.api("/api/v1/metadata?metric=offheap_allocations");
    assert_eq!(
        metadata["data"]["offheap_allocations"][0]["type"], "counter",
        "{metadata}"
    );
}
