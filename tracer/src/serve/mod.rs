//! `offheap report --serve`: the bundles of a folder in a browser.
//!
//! It answers GET, reads nothing but the files of bundles ([`Shelf`]), and holds no state. Whoever can reach the address
//! can read the bundles: so it is a loopback address by default, and then a page of another site that got itself this
//! address as its own name is refused (`answer`).

mod answer;
mod body;
mod list;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::bundle::Shelf;
use crate::exit;

/// Connections at a time; more of them wait.
const MOST_CONNECTIONS: usize = 32;
/// Most bytes of a request's head.
const MOST_HEAD: usize = 16 << 10;
/// A connection that says nothing for so long, or takes longer for a file, is closed.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// Serves the folder until a signal ends the process's wait: `stop`.
///
/// # Errors
/// The folder cannot be read or the address not be taken.
pub async fn run(dir: &Path, address: SocketAddr, stop: impl Future<Output = ()>) -> Result<()> {
    let shelf = Arc::new(Shelf::open(dir)?);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another address or port"))?;
    let address = listener.local_addr().context("the address is not known")?;
    if !address.ip().is_loopback() {
        exit::say(&format!(
            "{address} is no loopback address: whoever can reach it can read the bundles"
        ));
    }
    exit::say(&format!(
        "serving the bundles of {} at http://{address}/ until Ctrl-C",
        dir.display()
    ));
    let loopback = address.ip().is_loopback();
    tokio::select! {
        () = stop => Ok(()),
        () = accept(listener, shelf, loopback) => Ok(()),
    }
}

async fn accept(listener: TcpListener, shelf: Arc<Shelf>, loopback: bool) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shelf = Arc::clone(&shelf);
                tokio::spawn(async move {
                    // What went wrong with one connection is the visitor's business.
                    let _ = tokio::time::timeout(LONGEST, converse(stream, shelf, loopback)).await;
                    drop(place);
                });
            }
            // Too many open files, most likely: others are closed soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: TcpStream, shelf: Arc<Shelf>, loopback: bool) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let shelf = Arc::clone(&shelf);
        async move { Ok::<_, std::convert::Infallible>(answer::answer(&request, &shelf, loopback)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MOST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

#[cfg(test)]
mod tests;
