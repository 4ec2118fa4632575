use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use super::*;

fn example() -> Listing {
    let row = Row {
        pid: Pid(4242),
        user: "presto".to_owned(),
        main: "com.facebook.presto.server.PrestoServer".to_owned(),
        release: Release::Known {
            version: "17.0.15".to_owned(),
            implementor: Some("Debian".to_owned()),
        },
        rss: 93_093_626_675,
        container: None,
    };
    let small = Row {
        pid: Pid(7),
        user: "1001".to_owned(),
        main: "[jsvc]".to_owned(),
        release: Release::Replaced,
        rss: 812 << 20,
        container: Some(Container {
            runtime: "docker",
            id: "0123456789ab".to_owned(),
        }),
    };
    Listing {
        jvms: vec![row, small],
        unreadable: 0,
        as_root: true,
    }
}

/// Columns are aligned, numbers to the right.
#[test]
fn table() {
    let expected = [
        " PID  USER         RSS  JDK                 CONTAINER            MAIN",
        "4242  presto  86.7 GiB  17.0.15 Debian      -                    com.facebook.presto.server.PrestoServer",
        "   7  1001     812 MiB  (replaced on disk)  docker:0123456789ab  [jsvc]",
        "",
    ];
    assert_eq!(example().to_string(), expected.join("\n"));
}

/// An empty table prints nothing; the hint says that, and how many processes stayed closed to us.
#[test]
fn hints() {
    assert_eq!(Listing::default().to_string(), "");
    assert_eq!(Listing::default().hint().unwrap(), "no JVM found");
    assert_eq!(example().hint(), None);
    let partial = Listing {
        unreadable: 3,
        ..example()
    };
    assert!(partial.hint().unwrap().starts_with("3 processes"));
    let closed = Listing {
        unreadable: 1,
        as_root: false,
        jvms: Vec::new(),
    };
    assert!(
        closed
            .hint()
            .unwrap()
            .starts_with("no JVM found; 1 process ")
    );
}

/// A live JVM is listed with its main class, JDK and memory, and a process that is none is not.
#[test]
fn live_jvm() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("Waiting.java");
    let program = "public class Waiting { public static void main(String[] a) throws Exception { \
                   System.out.println(\"ready\"); System.in.read(); } }";
    std::fs::File::create(&source)
        .unwrap()
        .write_all(program.as_bytes())
        .unwrap();
    let spawned = Command::new("java")
        .arg(&source)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut java = match spawned {
        Ok(java) => java,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
            eprintln!("skipped: there is no java");
            return;
        }
    };
    let mut ready = [0; 5];
    java.stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    let listing = find().unwrap();
    let found = listing.jvms.iter().find(|row| row.pid.0 == java.id());
    let us = listing
        .jvms
        .iter()
        .find(|row| row.pid.0 == std::process::id());
    drop(java.stdin.take());
    java.wait().unwrap();
    let found = found.unwrap();
    assert_eq!(found.main, "Waiting.java");
    assert!(
        matches!(&found.release, Release::Known { version, .. } if version.contains('.')),
        "{found:?}"
    );
    assert!(found.rss > 10 << 20, "{found:?}");
    assert!(us.is_none());
}
