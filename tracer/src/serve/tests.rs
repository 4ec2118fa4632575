//! What is answered, and what is not.

use std::os::unix::fs::symlink;
use std::path::Path;

use http_body_util::BodyExt as _;
use hyper::{Request, StatusCode};
use tempfile::TempDir;

use super::answer::answer;
use super::list;
use crate::bundle::{self, Shelf};
use crate::report::Options;
use crate::report::tests::fixture;

/// A folder with two bundles, and things beside them that are nobody's business.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["offheap-7-a", "a b<i>%c"] {
        let (at, options) = (folder.path().join(name), Options::default());
        bundle::write(&at, &fixture::server(), &options, None).expect("a bundle");
    }
    let write = |name: &str| std::fs::write(folder.path().join(name), "secret").expect("a file");
    write("secret");
    std::fs::create_dir(folder.path().join(".hidden")).expect("a folder");
    write(".hidden/capture.json");
    folder
}

fn status_and_body(folder: &Path, path: &str, host: &str, method: &str) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(())
        .expect("a request");
    let response = answer(&request, &Shelf::open(folder).expect("a shelf"), true);
    let status = response.status();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let body = runtime
        .block_on(response.into_body().collect())
        .expect("a body");
    (
        status,
        String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    )
}

fn get(folder: &Path, path: &str) -> (StatusCode, String) {
    status_and_body(folder, path, "127.0.0.1:8080", "GET")
}

/// Proves that the list leads to every file of every bundle, names like markup included, and that each is served whole.
#[test]
fn every_listed_file_is_served() {
    let folder = folder();
    let (status, page) = get(folder.path(), "/");
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("a b&lt;i&gt;%c") && !page.contains("<i>"));
    assert!(!page.contains("hidden") && !page.contains("secret"));
    let links: Vec<&str> = page
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(links.len(), 2 * bundle::FORMATS.len());
    for link in links {
        let (status, body) = get(folder.path(), &format!("/{link}"));
        assert_eq!(status, StatusCode::OK, "{link}");
        assert!(!body.is_empty(), "{link}");
    }
    let report = std::fs::read_to_string(folder.path().join("offheap-7-a/report.txt"));
    assert_eq!(
        get(folder.path(), "/offheap-7-a/report.txt").1,
        report.expect("the report")
    );
}

/// Proves that a bundle's own folder can be served as well.
#[test]
fn one_bundle_is_a_shelf() {
    let folder = folder();
    let bundle = folder.path().join("offheap-7-a");
    assert!(get(&bundle, "/").1.contains("this folder"));
    assert_eq!(get(&bundle, "/report.html").0, StatusCode::OK);
}

/// Proves that no path leads out of the bundles: not upwards, not to other files, not by a link, not to a pipe.
#[test]
fn nothing_else_is_served() {
    let folder = folder();
    let outside = tempfile::tempdir().expect("another folder");
    std::fs::write(outside.path().join("report.txt"), "secret").expect("a file");
    symlink(outside.path(), folder.path().join("linked")).expect("a link");
    let file = folder.path().join("offheap-7-a/report.txt");
    std::fs::remove_file(&file).expect("removed");
    symlink(outside.path().join("report.txt"), &file).expect("a link");
    let up = outside
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy();
    for path in [
        "/secret",
        "/../secret",
        &format!("/../{up}/report.txt"),
        &format!("/%2e%2e/{up}/report.txt"),
        &format!("/..%2f{up}/report.txt"),
        "/.hidden/capture.json",
        "/linked/report.txt",
        "/offheap-7-a/report.txt",
        "/offheap-7-a/../secret",
        "/offheap-7-a/",
        "/offheap-7-a%00/flame.svg",
        "/%zz/report.txt",
        "//report.txt",
    ] {
        let (status, body) = get(folder.path(), path);
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(!body.contains("secret"), "{path}");
    }
}

/// Proves that only GET is answered, and only to those who call the address by itself.
#[test]
fn others_are_refused() {
    let folder = folder();
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let (status, _) = status_and_body(folder.path(), "/", "localhost:1", method);
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    for (host, allowed) in [
        ("localhost", true),
        ("[::1]:80", true),
        ("127.0.0.1", true),
        ("evil.example:8080", false),
        ("", false),
    ] {
        let (status, _) = status_and_body(folder.path(), "/", host, "GET");
        assert_eq!(status == StatusCode::OK, allowed, "{host}");
    }
}

/// Proves that any name survives the way into a link and back.
#[test]
fn names_survive_links() {
    for name in ["plain-1.x_y", "a b", "%", "ä/<\"'>&", "\u{1}"] {
        assert_eq!(list::decoded(&list::encoded(name)).as_deref(), Some(name));
    }
    assert_eq!([list::decoded("%4"), list::decoded("%ff")], [None, None]);
}
