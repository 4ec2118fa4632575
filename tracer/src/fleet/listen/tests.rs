use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::*;

/// A server with a page, and its address.
fn server(page: Option<Page>) -> (Server, SocketAddr) {
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let board = Arc::new(Board::default());
    if let Some(page) = page {
        board.pin(page, Duration::from_secs(60));
    }
    (Server::start(listener, board).unwrap(), address)
}

fn page() -> Page {
    Page {
        open_metrics: "open 1\n# EOF\n".to_owned(),
        plain: "plain 1\n".to_owned(),
    }
}

/// The whole answer to a request's head.
fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(stream, "{head}\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Who knows OpenMetrics gets it, everybody else the older format; other paths and methods get nothing.
#[test]
fn answers() {
    let (_server, address) = server(Some(page()));
    let prometheus = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let open = ask(address, prometheus);
    assert!(
        open.starts_with("HTTP/1.1 200") && open.ends_with("open 1\n# EOF\n"),
        "{open}"
    );
    assert!(open.contains("application/openmetrics-text; version=1.0.0"));
    let plain = ask(address, "GET /metrics HTTP/1.1\r\nAccept: */*");
    assert!(
        plain.contains("text/plain; version=0.0.4") && plain.ends_with("plain 1\n"),
        "{plain}"
    );
    assert!(ask(address, "HEAD /metrics HTTP/1.1").ends_with("\r\n\r\n"));
    assert!(ask(address, "GET /../etc/passwd HTTP/1.1").starts_with("HTTP/1.1 404"));
    assert!(ask(address, "POST /metrics HTTP/1.1").starts_with("HTTP/1.1 405"));
    assert!(ask(address, "nonsense").starts_with("HTTP/1.1 400"));
}

/// A trace that has nothing to show yet is no endless wait.
#[test]
fn no_page_yet() {
    let (_server, address) = server(None);
    assert!(ask(address, "GET /metrics HTTP/1.1").starts_with("HTTP/1.1 503"));
}

/// Those who connect and say nothing keep nobody else out.
#[test]
fn silent_connections() {
    let (_server, address) = server(Some(page()));
    let silent: Vec<TcpStream> = (1..MAX_CONNECTIONS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    assert!(ask(address, "GET /metrics HTTP/1.1").starts_with("HTTP/1.1 200"));
    drop(silent);
}

/// The server ends with its owner, and gives the address back.
#[test]
fn ends() {
    let (server, address) = server(Some(page()));
    drop(server);
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while bind(address).is_err() {
        assert!(
            std::time::Instant::now() < until,
            "the address is still taken"
        );
        std::thread::yield_now();
    }
}
