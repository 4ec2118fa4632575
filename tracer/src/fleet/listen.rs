//! The small HTTP server that shows the board's page at `/metrics`.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};

use super::board::{Board, Page};
use crate::run::priority;

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16;
/// One connection may take so long, with all its requests. Prometheus comes again with a new one.
const MAX_TIME: Duration = Duration::from_secs(300);
/// Time to send a request's head.
const MAX_HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection that could not be taken (too many open files) is tried again after this time.
const PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Takes the address, so that one that can't be had is known before anything is attached.
///
/// # Errors
/// When it is in use or not ours.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!("--listen {address} can't be had: choose another port, or port 0 for any")
    })?;
    listener
        .set_nonblocking(true)
        .context("cannot wait for connections")?;
    Ok(listener)
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    _running: oneshot::Sender<()>,
}

impl Server {
    /// # Errors
    /// When no thread can be had.
    pub fn start(listener: TcpListener, board: Arc<Board>) -> Result<Server> {
        let (running, ended) = oneshot::channel::<()>();
        let serve = move || {
            priority::usual();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    tokio::select! {
                        _ = ended => {}
                        served = serve(listener, board) => complain(served),
                    }
                }),
                Err(error) => complain(Err(error)),
            }
        };
        std::thread::Builder::new()
            .name("offheap-listen".to_owned())
            .spawn(serve)
            .context("cannot start the thread that serves metrics")?;
        Ok(Server { _running: running })
    }
}

fn complain(served: io::Result<()>) {
    if let Err(error) = served {
        crate::exit::hint(&format!("no metrics any more: {error}; watching goes on"));
    }
}

async fn serve(listener: TcpListener, board: Arc<Board>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return Ok(());
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let board = Arc::clone(&board);
        tokio::spawn(async move {
            // One that takes too long or speaks something else is only cut off.
            let _ = tokio::time::timeout(MAX_TIME, connection(stream, board)).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, board: Arc<Board>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let board = Arc::clone(&board);
        async move { Ok::<_, Infallible>(answer(&request, &board).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_HEAD_TIME)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(request: &Request<Incoming>, board: &Board) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/metrics" => match board.page().await {
            Some(page) => metrics(request, &page),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "no snapshot yet\n"),
        },
        "/" => text(StatusCode::OK, "offheap: the metrics are at /metrics\n"),
        _ => text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
    }
}

fn metrics(request: &Request<Incoming>, page: &Page) -> Response<Full<Bytes>> {
    let accepted = request.headers().get_all(ACCEPT);
    let open = accepted
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    if open {
        respond(StatusCode::OK, OPEN_METRICS, page.open_metrics.clone())
    } else {
        respond(StatusCode::OK, PLAIN, page.plain.clone())
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.to_owned())
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
