//! `watch --push https://…`: only a server that the host trusts is given anything.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use offheap_tests::http::{Request, read_request};
use offheap_tests::session::lacks_program;
use offheap_tests::tool::binary;
use offheap_tests::{CFlags, DEADLINE, Target, Tool, c_program, session};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use tempfile::TempDir;

/// An authority of its own, and a certificate for `localhost` by it, in `folder`.
const CERTIFICATES: &str = "
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $key -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
openssl req $key -keyout key.pem -out request.pem -subj /CN=localhost
printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > extensions
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out cert.pem
";

fn make_certificates(folder: &Path) {
    let output = Command::new("sh")
        .args(["-ec", CERTIFICATES])
        .current_dir(folder)
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// A store behind TLS that takes everything.
fn store(folder: &Path) -> (u16, Receiver<Request>) {
    let certificate =
        CertificateDer::from_pem_file(folder.join("cert.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they fit");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let (taken, requests) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(mut connection) = ServerConnection::new(Arc::clone(&config)) else {
                return;
            };
            let mut secure = Stream::new(&mut connection, &mut stream);
            // A client that does not trust us ends here.
            let Ok(request) = read_request(&mut secure) else {
                continue;
            };
            let _ = secure.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            if taken.send(request).is_err() {
                return;
            }
        }
    });
    (port, requests)
}

fn watch(pid: u32, port: u16, authority: Option<&Path>) -> Tool {
    let folder = TempDir::new().expect("a temporary directory");
    let mut command = Command::new(binary().expect("a session was begun"));
    command.args([
        "watch",
        &pid.to_string(),
        "--every",
        "1s",
        "--hooks",
        "malloc",
    ]);
    command.args(["--push", &format!("https://localhost:{port}"), "-o"]);
    command.arg(folder.path().join("bundles"));
    command.env("OFFHEAP_PUSH_AUTHORIZATION", "Bearer secret");
    if let Some(authority) = authority {
        command.env("SSL_CERT_FILE", authority);
    }
    let tool = Tool::spawn(&mut command, folder);
    tool.await_live();
    tool
}

/// A certificate that nobody vouches for gets no request, which is said once and not at each try; one of an authority that
/// the host trusts gets the profile and the credentials.
#[test]
fn only_to_those_trusted() {
    if lacks_program("openssl") {
        return;
    }
    let Some(_session) = session() else { return };
    let folder = TempDir::new().expect("a temporary directory");
    make_certificates(folder.path());
    let (port, requests) = store(folder.path());
    let target = Target::start(&mut Command::new(c_program("reuse", CFlags::default())));

    let wary = watch(target.pid(), port, None);
    wary.await_stderr("a refusal", |line| line.contains("UnknownIssuer"));
    let finished = wary.interrupted();
    let told = finished
        .stderr
        .iter()
        .filter(|line| line.contains("UnknownIssuer"));
    assert_eq!(told.count(), 1, "{:#?}", finished.stderr);
    assert!(requests.try_recv().is_err(), "nothing was sent");

    let authority = fs::canonicalize(folder.path().join("ca.pem")).expect("an own file");
    let _trusting = watch(target.pid(), port, Some(&authority));
    let request = requests.recv_timeout(DEADLINE).expect("a profile");
    assert!(request.body.starts_with(&[0x1f, 0x8b]), "gzip");
    let secret = |header: &String| header.eq_ignore_ascii_case("authorization: Bearer secret");
    assert!(request.headers.iter().any(secret), "{:?}", request.headers);
}
