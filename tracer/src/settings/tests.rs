use clap::Parser as _;

use std::path::PathBuf;

use super::*;
use crate::cli::{Cli, Command};

fn settings(line: &str) -> Result<Settings, Usage> {
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
    match cli.command {
        Command::Attach(args) => Settings::attach(&args, cli.verbose),
        Command::Capture(args) => Settings::capture(&args, cli.verbose),
        Command::Watch(args) => Settings::watch(&args, cli.verbose),
        other => panic!("{other:?} is not traced"),
    }
}

/// Nothing but a pid gives the documented defaults.
#[test]
fn defaults() {
    let attach = settings("offheap attach 42").unwrap();
    assert_eq!(attach.pid, Pid(42));
    assert_eq!(
        attach.mode,
        Mode::Attach {
            plain: false,
            interval: Duration::from_secs(5),
            duration: None,
            snapshot_at: Vec::new(),
        }
    );
    assert_eq!(attach.hooks.names(), ["zlib", "mmap", "malloc", "pairs"]);
    assert_eq!(attach.sampling.bytes(), 512 << 10);
    assert_eq!(attach.stack_cap.bytes(), 64 << 10);
    assert_eq!(
        attach.sizes,
        SizeFilter {
            min: None,
            max: None
        }
    );
    assert_eq!(attach.grouping, Grouping::Stack);
    assert_eq!(
        attach.capacity,
        Capacity {
            ring_bytes: 16 << 20,
            max_outstanding: 1 << 20
        }
    );
    assert_eq!(attach.verbosity, Verbosity::Normal);
    assert_eq!((attach.view.top, attach.view.sort), (10, Sort::Bytes));
}

/// Everything that is typed arrives.
#[test]
fn all_flags() {
    let line = "offheap watch 42 --every 1m --keep 3 --snapshot-at 80%,2g -o out-%p --hooks zlib --sample-bytes exact --stack-bytes 8k \
                -z 1k -Z 1m --threads --ring-bytes 1m --max-outstanding 5000 --older 2m --top 3 --sort age \
                --include Gzip --exclude ^Foo --listen 9400 --push http://h --label a=b=c --spool-bytes 2m -vv";
    let watch = settings(line).unwrap();
    let Mode::Watch {
        every,
        keep,
        snapshot_at,
        output,
        export,
    } = watch.mode
    else {
        panic!("not watch")
    };
    assert_eq!((every, keep), (Duration::from_secs(60), 3));
    assert_eq!(snapshot_at, [Level::Percent(80), Level::Bytes(2 << 30)]);
    assert_eq!(export.listen.unwrap().to_string(), "127.0.0.1:9400");
    let push = export.push.unwrap();
    assert_eq!(push.endpoint.url, "http://h/ingest");
    assert_eq!(
        (push.labels["a"].as_str(), push.spool_bytes),
        ("b=c", 2 << 20)
    );
    assert_eq!(output.expand(Pid(42), "now"), PathBuf::from("out-42"));
    assert_eq!(watch.hooks.names(), ["zlib"]);
    assert_eq!(watch.sampling, SampleInterval::Exact);
    assert_eq!(watch.stack_cap.bytes(), 8 << 10);
    assert_eq!(
        watch.sizes,
        SizeFilter {
            min: Some(1 << 10),
            max: Some(1 << 20)
        }
    );
    assert_eq!(watch.grouping, Grouping::StackAndThread);
    assert_eq!(
        watch.capacity,
        Capacity {
            ring_bytes: 1 << 20,
            max_outstanding: 5000
        }
    );
    assert_eq!(watch.view.older, Some(Duration::from_secs(120)));
    assert_eq!((watch.view.top, watch.view.sort), (3, Sort::Age));
    assert!(watch.view.include.unwrap().is_match("GzipHandler"));
    assert!(watch.view.exclude.unwrap().is_match("FooBar"));
    assert_eq!(watch.verbosity, Verbosity::Probes);
}

/// An exact run gets room for more outstanding allocations than a sampled one, unless a number is given.
#[test]
fn capacity_follows_sampling() {
    assert_eq!(
        settings("offheap attach 42 --sample-bytes 0")
            .unwrap()
            .capacity
            .max_outstanding,
        4 << 20
    );
    assert_eq!(
        settings("offheap attach 42 --sample-bytes 64k")
            .unwrap()
            .capacity
            .max_outstanding,
        1 << 20
    );
}

/// The output pattern knows the pid, the time and the percent sign, and refuses the rest.
#[test]
fn output_pattern() {
    let Mode::Capture { output, .. } = settings("offheap capture 42 -o a%%b-%p-%t").unwrap().mode
    else {
        panic!("not capture")
    };
    assert_eq!(output.expand(Pid(7), "T0"), PathBuf::from("a%b-7-T0"));
    assert!(
        settings("offheap capture 42 -o a%d")
            .unwrap_err()
            .to_string()
            .contains("only %p")
    );
    assert!(
        settings("offheap capture 42 -o a%")
            .unwrap_err()
            .to_string()
            .contains("only %p")
    );
    assert!(
        settings("offheap capture 42 --output=")
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
}

/// What can be typed but not meant is refused in one line that names the flag.
#[test]
fn refusals() {
    for (line, expected) in [
        ("offheap attach", "offheap list"),
        ("offheap capture -d 5s", "offheap capture 4242"),
        ("offheap attach 42 --stack-bytes 48k", "--stack-bytes"),
        ("offheap attach 42 --stack-bytes 128k", "--stack-bytes"),
        ("offheap attach 42 --sample-bytes 2g", "--sample-bytes"),
        (
            "offheap attach 42 -z 2k -Z 1k",
            "--min-size 2048 is above --max-size 1024",
        ),
        ("offheap attach 42 --ring-bytes 100k", "--ring-bytes"),
        ("offheap attach 42 --ring-bytes 3m", "--ring-bytes"),
        ("offheap attach 42 --ring-bytes 8g", "--ring-bytes"),
        (
            "offheap attach 42 --max-outstanding 4294967295",
            "--max-outstanding",
        ),
        ("offheap attach 42 --interval 1ms", "--interval"),
        ("offheap watch 42 --every 500ms", "--every"),
        ("offheap attach 42 --include a(b", "--include `a(b`"),
        ("offheap attach 42 --exclude (a{1000}){1000}", "--exclude"),
    ] {
        let message = settings(line).unwrap_err().to_string();
        assert!(message.contains(expected), "{line}: {message}");
        assert!(!message.contains('\n'), "{line}: {message}");
    }
}

/// Colours need a terminal and no `NO_COLOR`; a progress bar needs a terminal on stderr.
#[test]
fn console() {
    assert_eq!(
        Console::new(true, true, false),
        Console {
            colour: true,
            redraw: true,
            progress: true
        }
    );
    assert_eq!(
        Console::new(true, true, true),
        Console {
            colour: false,
            redraw: true,
            progress: true
        }
    );
    assert_eq!(
        Console::new(false, true, false),
        Console {
            colour: false,
            redraw: false,
            progress: true
        }
    );
    assert_eq!(
        Console::new(false, false, false),
        Console {
            colour: false,
            redraw: false,
            progress: false
        }
    );
}

/// A capture keeps the settings that its numbers depend on.
#[test]
fn kept_by_captures() {
    let line = "offheap attach 42 --hooks zlib,malloc --sample-bytes 64k --stack-bytes 16k -z 1k --older 90s";
    let kept = capture::Settings::from(&settings(line).unwrap());
    assert_eq!(kept.hooks, ["zlib", "malloc"]);
    assert_eq!((kept.sample_bytes, kept.stack_bytes), (64 << 10, 16 << 10));
    assert_eq!(
        (kept.min_size, kept.max_size, kept.older_seconds),
        (Some(1024), None, Some(90.0))
    );
}
