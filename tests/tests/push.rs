//! `watch --push`: what a store of profiles gets, and what a store that fails costs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use flate2::read::GzDecoder;
use offheap::report::pprof::proto::Profile;
use offheap_tests::http::{Request, read_request};
use offheap_tests::tool::{RING_BYTES, binary, read_capture};
use offheap_tests::{CFlags, DEADLINE, Target, Tool, Truth, c_program, session};
use prost::Message;
use tempfile::TempDir;

const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What the store does with a request, by its number.
type Behaviour = fn(usize, &mut TcpStream) -> Option<Request>;

fn takes(_: usize, stream: &mut TcpStream) -> Option<Request> {
    let request = read_request(stream).ok()?;
    stream.write_all(TAKEN.as_bytes()).ok()?;
    Some(request)
}

/// An error, a reset with the request half read, and then as it should be.
fn fails_at_first(number: usize, stream: &mut TcpStream) -> Option<Request> {
    match number {
        0 => {
            let _ = read_request(stream);
            let answer = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
            None
        }
        1 => {
            let mut some = [0; 10];
            let _ = stream.read(&mut some);
            None
        }
        _ => takes(number, stream),
    }
}

/// Never answers; the connection stays open.
fn hangs(_: usize, stream: &mut TcpStream) -> Option<Request> {
    std::mem::forget(stream.try_clone());
    None
}

fn store(behaviour: Behaviour) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number").to_string();
    let (taken, requests) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = stream;
            if let Some(request) = behaviour(number, &mut stream)
                && taken.send(request).is_err()
            {
                return;
            }
        }
    });
    (address, requests)
}

fn watch(pid: u32, flags: &[&str]) -> (Tool, PathBuf) {
    let folder = TempDir::new().expect("a temporary directory");
    let out = folder.path().join("bundles");
    let mut command = Command::new(binary().expect("a session was begun"));
    command.args(["watch", &pid.to_string(), "--every", "1s"]);
    command.args(["--hooks", "malloc", "--sample-bytes", "0"]);
    command.args(["--ring-bytes", RING_BYTES]).args(flags);
    command.arg("-o").arg(&out);
    let tool = Tool::spawn(&mut command, folder);
    tool.await_live();
    (tool, out)
}

fn target() -> Target {
    Target::start(&mut Command::new(c_program("reuse", CFlags::default())))
}

fn bundles(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out).into_iter().flatten().flatten();
    let mut bundles: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("offheap-")
        })
        .collect();
    bundles.sort();
    bundles
}

fn await_bundles(out: &Path, enough: usize) {
    let until = Instant::now() + DEADLINE;
    while bundles(out).len() < enough {
        assert!(Instant::now() < until, "no {enough} bundles come");
        std::thread::yield_now();
    }
}

fn outstanding(truths: &[Truth]) -> i64 {
    let bytes = truths.iter().filter_map(|truth| truth.outstanding_bytes);
    i64::try_from(bytes.sum::<u64>()).expect("few bytes")
}

/// Sums of the values by their types.
fn sums(profile: &[u8]) -> BTreeMap<String, i64> {
    let mut bytes = Vec::new();
    GzDecoder::new(profile)
        .read_to_end(&mut bytes)
        .expect("gzip");
    let profile = Profile::decode(&bytes[..]).expect("pprof");
    let name = |value: usize| {
        let text = profile.sample_type[value].kind;
        profile.string_table[usize::try_from(text).expect("an index")].clone()
    };
    (0..profile.sample_type.len())
        .map(|value| {
            let sum = profile.sample.iter().map(|sample| sample.value[value]);
            (name(value), sum.sum())
        })
        .collect()
}

/// Each period's profile reaches a store that fails at first, as pprof with the target's own numbers and the labels that
/// were given.
#[test]
fn profiles_arrive() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let (address, requests) = store(fails_at_first);
    let url = format!("http://{address}");
    let flags = ["--push", &url, "--label", "env=test", "--label", "pid="];
    let (tool, out) = watch(target.pid(), &flags);
    let truths = target.work();
    let until = Instant::now() + DEADLINE;
    loop {
        let request = requests
            .recv_timeout(until.saturating_duration_since(Instant::now()))
            .unwrap_or_else(|_| panic!("no such profile: {:#?}", tool.stderr()));
        assert!(
            request.line.starts_with("POST /ingest?format=pprof&"),
            "{}",
            request.line
        );
        assert!(
            request
                .line
                .contains("name=reuse%7Benv%3Dtest%2Chostname%3D"),
            "{}",
            request.line
        );
        if sums(&request.body)["inuse_space"] == outstanding(&truths) {
            break;
        }
    }
    let finished = tool.interrupted();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    let told = |words: &str| finished.stderr.iter().any(|line| line.contains(words));
    assert!(
        told("500") && told("takes profiles again"),
        "{:#?}",
        finished.stderr
    );
    assert!(!bundles(&out).is_empty());
}

/// A store that takes a connection and never answers delays neither bundles nor the end, and what it did not take waits
/// on disk.
#[test]
fn a_store_that_hangs_delays_nothing() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let (address, _requests) = store(hangs);
    let url = format!("parca+http://{address}");
    let (tool, out) = watch(target.pid(), &["--push", &url]);
    let truths = target.work();
    await_bundles(&out, 3);
    tool.signal(libc::SIGTERM);
    let begin = Instant::now();
    let finished = tool.ended();
    assert!(
        begin.elapsed() < DEADLINE / 3,
        "the end did not wait for the store"
    );
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    assert!(
        finished.stderr.iter().any(|line| line.contains("wait in")),
        "{:#?}",
        finished.stderr
    );
    let last = bundles(&out).pop().expect("a last bundle");
    let capture = read_capture(&last).expect("a whole bundle");
    assert_eq!(
        capture.memory.outstanding_bytes as i64,
        outstanding(&truths)
    );
    let spool = fs::read_dir(&out)
        .expect("the folder")
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(".push-"))
        .expect("a spool");
    let waiting = fs::read_dir(spool.path()).expect("the spool").count();
    assert!(waiting >= 4, "three periods and the end: {waiting}");
}
