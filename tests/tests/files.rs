//! Files for other tools, read by those tools.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use offheap::bundle;
use offheap::capture::{Capture, Site};
use offheap::report::{Format, Options, accounting, render};
use offheap_tests::browser::browser;
use offheap_tests::session::lacks_program;
use offheap_tests::tool::binary;
use offheap_tests::{Tool, captures, skip};
use tempfile::TempDir;

fn profile(capture: &Capture, folder: &Path, name: &str) -> PathBuf {
    let mut bytes = Vec::new();
    render(capture, Format::Pprof, &Options::default(), &mut bytes).expect("writing to memory");
    let file = folder.join(name);
    fs::write(&file, bytes).expect("the profile is written");
    file
}

/// What `go tool pprof` prints.
fn pprof(arguments: &[&str], profile: &Path) -> String {
    let home = profile.parent().expect("a folder");
    let output = Command::new("go")
        .args(["tool", "pprof"])
        .args(arguments)
        .arg(profile)
        .env("HOME", home)
        .env("PPROF_TMPDIR", home)
        .env("GOTOOLCHAIN", "local")
        .output()
        .expect("go runs");
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{arguments:?}: {error}");
    // What it says there is trouble with the profile, but for the banner of a comparison.
    assert!(!error.contains("rror"), "{arguments:?}: {error}");
    out.into_owned()
}

/// Flat and cumulative bytes by function, of `-top` with `-unit=B` or of counts.
fn top(arguments: &[&str], profile: &Path) -> BTreeMap<String, (i64, i64)> {
    let mut all = vec!["-top", "-nodecount=1000000", "-nodefraction=0", "-unit=B"];
    all.extend(arguments);
    let text = pprof(&all, profile);
    let rows = text
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("flat "));
    let number = |word: &str| word.trim_end_matches('B').parse::<i64>();
    rows.skip(1)
        .map(|row| {
            let mut words = row.split_whitespace();
            let mut next = || {
                words
                    .next()
                    .unwrap_or_else(|| panic!("no row of a table: {row}"))
            };
            let (flat, _, _, cum, _) = (next(), next(), next(), next(), next());
            let name: Vec<&str> = words.collect();
            let (flat, cum) = (number(flat), number(cum));
            let numbers = (
                flat.unwrap_or_else(|_| panic!("{row}")),
                cum.unwrap_or_else(|_| panic!("{row}")),
            );
            let name = name.join(" ");
            // Whether its code was inlined at all places, or at some.
            let name = name
                .trim_end_matches(" (inline)")
                .trim_end_matches(" (partial-inline)");
            (name.to_owned(), numbers)
        })
        .collect()
}

/// A number of a site.
type Value = fn(&Site) -> u64;

/// The same from the capture, by hand: each site once at its leaf, and once at each function of its stack.
fn expected(capture: &Capture, value: Value) -> BTreeMap<String, (i64, i64)> {
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let counted = capture
        .sites
        .iter()
        .filter(|site| accounting::counts(site, &capture.settings.hooks) && value(site) > 0);
    for site in counted {
        let bytes = i64::try_from(value(site)).expect("small numbers");
        let leaf = site.frames.first().expect("a frame");
        sums.entry(leaf.name.clone()).or_default().0 += bytes;
        let names: HashSet<&str> = site
            .frames
            .iter()
            .map(|frame| frame.name.as_str())
            .collect();
        for name in names {
            sums.entry(name.to_owned()).or_default().1 += bytes;
        }
    }
    sums
}

/// `go tool pprof` reads our numbers, of each of the four types, and the outstanding bytes where none is asked for.
#[test]
fn pprof_reads_our_numbers() {
    if lacks_program("go") {
        return;
    }
    let folder = TempDir::new().expect("a temporary directory");
    let capture = captures::many(300);
    let profile = profile(&capture, folder.path(), "profile.pb.gz");
    let cases: [(&str, Value); 4] = [
        ("inuse_space", |site| site.outstanding_bytes),
        ("inuse_objects", |site| site.outstanding_count),
        ("alloc_space", |site| site.allocated_bytes),
        ("alloc_objects", |site| site.allocated_count),
    ];
    for (index, value) in cases {
        let read = top(&[&format!("-sample_index={index}")], &profile);
        assert_eq!(read, expected(&capture, value), "{index}");
    }
    let plain = pprof(&["-top"], &profile);
    assert!(plain.contains("Type: inuse_space"), "{plain}");
    assert_eq!(
        top(&[], &profile),
        expected(&capture, |site| site.outstanding_bytes)
    );
}

/// `-diff_base` gives what was gained and lost between two captures, and nothing where nothing changed.
#[test]
fn pprof_compares_two_captures() {
    if lacks_program("go") {
        return;
    }
    let folder = TempDir::new().expect("a temporary directory");
    let base = captures::many(100);
    let mut new = base.clone();
    for (at, site) in new.sites.iter_mut().enumerate() {
        match at % 3 {
            0 => site.outstanding_bytes += 1_009,
            1 => site.outstanding_bytes /= 2,
            _ => {}
        }
    }
    let (old_file, new_file) = (
        profile(&base, folder.path(), "base.pb.gz"),
        profile(&new, folder.path(), "new.pb.gz"),
    );
    let base_flag = format!("-diff_base={}", old_file.display());
    let (old, new) = (
        expected(&base, |site| site.outstanding_bytes),
        expected(&new, |site| site.outstanding_bytes),
    );
    let compared = top(&[&base_flag], &new_file);
    for (name, (flat, cum)) in &compared {
        let (old, new) = (old[name], new[name]);
        assert_eq!((*flat, *cum), (new.0 - old.0, new.1 - old.1), "{name}");
    }
    let unchanged = new
        .iter()
        .filter(|(name, sums)| old[*name] == **sums)
        .count();
    assert_eq!(compared.len() + unchanged, new.len());
    let same = top(&[&base_flag], &old_file);
    assert!(same.values().all(|sums| *sums == (0, 0)), "{same:?}");
}

/// Mappings with build ids, inlined frames as lines of one place, line numbers, labels and comments arrive.
#[test]
fn pprof_reads_what_is_around_the_numbers() {
    if lacks_program("go") {
        return;
    }
    let folder = TempDir::new().expect("a temporary directory");
    let profile = profile(&captures::server(), folder.path(), "profile.pb.gz");
    let raw = pprof(&["-raw"], &profile);
    for words in [
        "PeriodType: space bytes",
        "Period: 524288",
        "libc.so.6 82ce4e6e4ef08fa58a3535f7437bd3e592db5ac0",
        "java.util.zip.Deflater.<init> Deflater.java:203",
        "kind:[malloc]",
        "estimated:[true]",
        "held_by:[zlib stream]",
    ] {
        assert!(raw.contains(words), "{words}: {raw}");
    }
    let inlined: Vec<&str> = raw
        .lines()
        .skip_while(|line| !line.contains("Deflater.<init>"))
        .take(2)
        .collect();
    let continued = inlined[1].trim_start();
    assert!(
        continued.starts_with("com.acme.GzipHandler.handle GzipHandler.java:42"),
        "{inlined:?}"
    );
    let comments = pprof(&["-comments"], &profile);
    assert!(comments.starts_with("How this was measured"), "{comments}");
    let labels = pprof(&["-tags"], &profile);
    assert!(
        labels.contains("kind:") && labels.contains("mmap"),
        "{labels}"
    );
    let lines = pprof(&["-lines", "-top"], &profile);
    assert!(lines.contains("State.java:77"), "{lines}");
}

/// Asks for a path and returns head and body.
fn get(address: &str, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8_lossy(&answer).into_owned(), body)
}

/// The bundles of a folder are served byte for byte, shown by a browser without a word of complaint, and nothing else is;
/// an interrupt ends the server well.
#[test]
fn bundles_are_served() {
    if binary().is_none() {
        return skip("the binary: OFFHEAP_BIN names none");
    }
    let folder = TempDir::new().expect("a temporary directory");
    let written = folder.path().join("offheap-4242-20260102T030405Z");
    bundle::write(&written, &captures::many(200), &Options::default(), None).expect("a bundle");
    fs::write(folder.path().join("secret"), "secret").expect("a file");
    let tool = Tool::start([
        "report".as_ref(),
        "--serve".as_ref(),
        "0".as_ref(),
        folder.path().as_os_str(),
    ]);
    let line = tool.await_stderr("the address", |line| {
        line.starts_with("serving the bundles")
    });
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .expect("an address");
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    for format in bundle::FORMATS {
        let name = format.file_name();
        let path = format!("/offheap-4242-20260102T030405Z/{name}");
        let (head, body) = get(&address, &request(&path, &address));
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(
            body,
            fs::read(written.join(name)).expect("the file"),
            "{name}"
        );
    }
    for path in [
        "/secret",
        "/../secret",
        "/offheap-4242-20260102T030405Z/../secret",
    ] {
        let (head, body) = get(&address, &request(path, &address));
        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
    assert!(
        get(&address, &request("/", "evil.example"))
            .0
            .starts_with("HTTP/1.1 403")
    );
    if let Some(mut browser) = browser() {
        browser.open(url);
        browser.click("document.querySelector('a[href$=\"report.html\"]')");
        browser.evaluate(
            "new Promise(done => { const look = () => document.documentElement?.classList.contains('ready') \
             ? done(0) : setTimeout(look, 20); look(); })",
        );
        assert!(browser.count(".f") > 20);
        let complaints: Vec<String> = browser
            .errors()
            .into_iter()
            // Browsers ask for an icon that nobody offers.
            .filter(|error| !error.contains("favicon.ico"))
            .collect();
        assert_eq!(complaints, Vec::<String>::new());
    }
    let finished = tool.interrupted();
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

fn request(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}
