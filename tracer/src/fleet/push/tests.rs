//! A sender and a real server on this host that fails in every way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use super::spool::About;
use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

const QUICK: Pace = Pace {
    patience: Patience {
        connect: Duration::from_secs(5),
        whole: Duration::from_millis(400),
    },
    first_wait: Duration::from_millis(5),
    longest_wait: Duration::from_millis(50),
};

/// What the server does with one connection.
#[derive(Clone, Copy, Debug)]
enum Act {
    Say(&'static str),
    /// Reads nothing and closes with data unread, which is a reset.
    Reset,
    /// Reads the request and never answers.
    Silent,
    /// Begins an answer and closes.
    Half,
    /// Not HTTP.
    Garbage,
}

const OK: Act = Act::Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

/// Acts on one connection after the other, then takes everything. The bodies that were taken come out.
fn serve(listener: TcpListener, acts: Vec<Act>) -> Receiver<Vec<u8>> {
    let (taken, receiver) = channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        let mut acts = acts.into_iter();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let act = acts.next().unwrap_or(OK);
            if let Act::Reset = act {
                let mut some = [0; 10];
                let _ = stream.read(&mut some);
                continue;
            }
            let body = request_body(&mut stream);
            match act {
                Act::Say(answer) => {
                    let _ = stream.write_all(answer.as_bytes());
                    if answer.contains(" 200 ") && taken.send(body).is_err() {
                        return;
                    }
                }
                Act::Silent => held.push(stream),
                Act::Half => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le")),
                Act::Garbage => drop(stream.write_all(b"\x16\x03\x01 what?\r\n\r\n")),
                Act::Reset => {}
            }
        }
    });
    receiver
}

fn request_body(stream: &mut TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        let line = line.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    body
}

struct Pushing {
    push: Push,
    folder: tempfile::TempDir,
}

fn pushing(address: SocketAddr, pace: Pace) -> Pushing {
    let folder = tempfile::tempdir().unwrap();
    let push = start(address, pace, folder.path());
    Pushing { push, folder }
}

fn start(address: SocketAddr, pace: Pace, folder: &Path) -> Push {
    let settings = settings::Push {
        endpoint: format!("http://{address}").parse().unwrap(),
        labels: BTreeMap::new(),
        spool_bytes: 1 << 20,
    };
    Push::start_with(&settings, folder, None, None, pace).unwrap()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn entry(number: u8) -> Entry {
    Entry {
        about: About {
            service: "s".to_owned(),
            labels: BTreeMap::new(),
            from: 0,
            until: i64::from(number),
        },
        profile: vec![number; 1000],
    }
}

/// Waits until the counts are so.
fn until(push: &Push, what: &str, so: impl Fn(Pushed) -> bool) -> Pushed {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let pushed = push.pushed();
        if so(pushed) {
            return pushed;
        }
        assert!(Instant::now() < deadline, "{what}: {pushed:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whatever goes wrong, all profiles arrive in the end, in their order and unchanged, and each failure is counted.
#[test]
fn failures_of_every_kind() {
    let acts = vec![
        Act::Say("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops"),
        Act::Reset,
        Act::Silent,
        Act::Half,
        Act::Garbage,
        Act::Say("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"),
        Act::Say("HTTP/1.1 503 Unavailable\r\nContent-Length: 9999999\r\n\r\nnot all of it"),
        Act::Say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
        Act::Say(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        ),
    ];
    let failures = acts.len() as u64;
    let (listener, address) = listener();
    let taken = serve(listener, acts);
    let pushing = pushing(address, QUICK);
    for number in [1, 2, 3] {
        pushing.push.add_entry(&entry(number)).unwrap();
    }
    for number in [1, 2, 3] {
        let body = taken.recv_timeout(DEADLINE).expect("a profile arrives");
        assert_eq!(body, entry(number).profile);
    }
    let pushed = until(&pushing.push, "three are sent", |pushed| pushed.sent == 3);
    assert_eq!(
        (pushed.retried, pushed.refused, pushed.dropped),
        (failures, 0, 0)
    );
    assert_eq!((pushed.spooled, pushed.spooled_bytes), (0, 0));
}

/// A server that is not there costs the trace nothing: adding returns at once, the spool stays within its bounds, and
/// when the server comes it gets what is left.
#[test]
fn refused_connections() {
    let (reserved, address) = listener();
    drop(reserved);
    let pushing = pushing(address, QUICK);
    let begin = Instant::now();
    for number in 0..20 {
        pushing.push.add_entry(&entry(number)).unwrap();
    }
    assert!(begin.elapsed() < DEADLINE / 4, "nobody waited for a server");
    let pushed = until(&pushing.push, "it is tried", |pushed| pushed.retried > 2);
    assert_eq!((pushed.sent, pushed.spooled), (0, 20));
    let taken = serve(TcpListener::bind(address).unwrap(), Vec::new());
    for number in 0..20 {
        let body = taken.recv_timeout(DEADLINE).expect("a profile arrives");
        assert_eq!(body, entry(number).profile);
    }
}

/// A profile that the server calls wrong is not sent for ever, and the next one is.
#[test]
fn refused_profiles() {
    let refusal = Act::Say("HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nno pprof\n");
    let (listener, address) = listener();
    let taken = serve(listener, vec![refusal]);
    let pushing = pushing(address, QUICK);
    pushing.push.add_entry(&entry(1)).unwrap();
    pushing.push.add_entry(&entry(2)).unwrap();
    assert_eq!(taken.recv_timeout(DEADLINE).unwrap(), entry(2).profile);
    let pushed = until(&pushing.push, "one is sent", |pushed| pushed.sent == 1);
    assert_eq!((pushed.refused, pushed.retried), (1, 0));
}

/// What the server asks for is waited for: a second try comes only after the time in Retry-After.
#[test]
fn retry_after() {
    let busy =
        Act::Say("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
    let (listener, address) = listener();
    let taken = serve(listener, vec![busy]);
    let pushing = pushing(address, QUICK);
    let begin = Instant::now();
    pushing.push.add_entry(&entry(1)).unwrap();
    taken.recv_timeout(DEADLINE).expect("it arrives");
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

/// A run that ends while the server is away ends soon, and the next run posts what it left.
#[test]
fn the_next_run_posts_the_rest() {
    let (reserved, address) = listener();
    drop(reserved);
    let Pushing { push, folder } = pushing(address, PACE);
    push.add_entry(&entry(1)).unwrap();
    until(&push, "it is tried", |pushed| pushed.retried == 1);
    let begin = Instant::now();
    push.finish();
    assert!(
        begin.elapsed() < GRACE,
        "a wait after a failure is cut short"
    );
    let taken = serve(TcpListener::bind(address).unwrap(), Vec::new());
    let next = start(address, QUICK, folder.path());
    assert_eq!(taken.recv_timeout(DEADLINE).unwrap(), entry(1).profile);
    next.finish();
}

/// The end of a run posts what was added just before.
#[test]
fn the_last_profile_is_posted() {
    let (listener, address) = listener();
    let taken = serve(listener, Vec::new());
    let pushing = pushing(address, PACE);
    pushing.push.add_entry(&entry(9)).unwrap();
    pushing.push.finish();
    assert_eq!(
        taken.try_recv().expect("it is there already"),
        entry(9).profile
    );
}

/// Labels have names that both stores take, and values that fit in one line.
#[test]
fn labels_are_checked() {
    assert_eq!(label("a_1=x=y"), Ok(("a_1".to_owned(), "x=y".to_owned())));
    for typed in ["a", "=x", "1a=x", "a-b=x", "__name__=x", "a=\n"] {
        assert!(label(typed).is_err(), "{typed:?}");
    }
    let long = format!("a={}", "x".repeat(600));
    assert!(label(&long).is_err());
}
