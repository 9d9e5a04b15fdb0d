// SPDX-License-Identifier: GPL-3.0-or-later
//! CoreDNS's pages over HTTP: `/health`, `/ready` and `/metrics`, each at an address of its own when
//! one is configured.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::config::{DnsConfig, Monitor, listen_addresses};
use super::metrics::DnsMetrics;

/// Connections of one page at a time.
const CONNECTIONS: usize = 64;
/// How long a client may take to send a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the health page is looked at, and how long that may take.
const POLL: Duration = Duration::from_secs(1);
const POLL_PATIENCE: Duration = Duration::from_secs(5);

/// A page that cannot be served.
#[derive(Debug, Error)]
pub enum HttpError {
    /// What is configured is no address.
    #[error("{key} = `{value}` is no address with a port; write `:8080` or `localhost:9153`")]
    Address {
        /// The key in the configuration.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// The address cannot be had.
    #[error("cannot serve at {key} = `{value}`: {error}; {}", cure(.error))]
    Bind {
        /// The key in the configuration.
        key: &'static str,
        /// Its value.
        value: String,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there (`ss -ltnp` tells which): stop it or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "the address must be one of this machine",
        _ => "choose another address",
    }
}

/// What is not ready now: names of plugins such as `kubernetes` and `forward`.
pub type NotReady = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// All metrics as text.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// Whether names are answered.
pub struct Readiness {
    not_ready: NotReady,
    monitor: Monitor,
    was_ready: AtomicBool,
    stopping: AtomicBool,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("not_ready", &(self.not_ready)()).finish_non_exhaustive()
    }
}

impl Readiness {
    /// With `not_ready` telling what is not.
    pub fn new(monitor: Monitor, not_ready: NotReady) -> Readiness {
        let (was_ready, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
        Readiness { not_ready, monitor, was_ready, stopping }
    }

    /// From now on, `Shutting down`.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What the page says.
    pub fn page(&self) -> (StatusCode, String) {
        if self.stopping.load(Ordering::Relaxed) {
            return (StatusCode::SERVICE_UNAVAILABLE, "Shutting down".to_owned());
        }
        let latched = self.monitor == Monitor::UntilReady && self.was_ready.load(Ordering::Relaxed);
        let missing = if latched { Vec::new() } else { (self.not_ready)() };
        if missing.is_empty() {
            self.was_ready.store(true, Ordering::Relaxed);
            return (StatusCode::OK, "OK".to_owned());
        }
        (StatusCode::SERVICE_UNAVAILABLE, missing.join(","))
    }
}

/// A page, and where it is found.
#[derive(Clone)]
enum Page {
    Health,
    Ready(Arc<Readiness>),
    Metrics(MetricsText),
}

impl Page {
    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (status, text, kind) = match (self, path) {
            (Page::Health, "/health") => (StatusCode::OK, "OK".to_owned(), TEXT),
            (Page::Ready(readiness), "/ready") => {
                let (status, text) = readiness.page();
                (status, text, TEXT)
            }
            (Page::Metrics(text), "/metrics") => (StatusCode::OK, text(), OPENMETRICS),
            _ => (StatusCode::NOT_FOUND, "404 page not found\n".to_owned(), TEXT),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The pages that are served.
#[derive(Debug)]
pub struct Pages {
    readiness: Arc<Readiness>,
    /// Health is served until the end, and so are metrics.
    tasks: JoinSet<()>,
    addresses: Vec<(&'static str, SocketAddr)>,
}

impl Pages {
    /// Serves what is configured, in the network namespace of this thread.
    ///
    /// # Errors
    /// When an address cannot be had. Then nothing is served.
    pub async fn start(
        config: &DnsConfig,
        not_ready: NotReady,
        metrics_text: MetricsText,
        metrics: Arc<DnsMetrics>,
    ) -> Result<Pages, HttpError> {
        let readiness = Arc::new(Readiness::new(config.ready.monitor, not_ready));
        let mut listeners = Vec::new();
        for (key, listen, page) in [
            ("dns.health.listen", &config.health.listen, Page::Health),
            ("dns.ready.listen", &config.ready.listen, Page::Ready(readiness.clone())),
            ("dns.prometheus.listen", &config.prometheus.listen, Page::Metrics(metrics_text)),
        ] {
            if let Some(value) = listen {
                listeners.push((key, bind(key, value).await?, page));
            }
        }
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for (key, listener, page) in listeners {
            // Of a socket that is bound: the system knows.
            let Ok(address) = listener.local_addr() else { continue };
            addresses.push((key, address));
            if matches!(page, Page::Health) {
                tasks.spawn(poll_health(address, metrics.clone()));
            }
            tasks.spawn(serve(listener, page));
        }
        Ok(Pages { readiness, tasks, addresses })
    }

    /// Where what is served, by the key of the configuration.
    pub fn addresses(&self) -> &[(&'static str, SocketAddr)] {
        &self.addresses
    }

    /// The daemon is told to stop: `/ready` says so, `/health` says `OK` still.
    pub fn lameduck(&self) {
        self.readiness.stop();
    }

    /// Ends all of it; the addresses are free when this returns.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn bind(key: &'static str, value: &str) -> Result<TcpListener, HttpError> {
    let none = || HttpError::Address { key, value: value.to_owned() };
    let addresses = listen_addresses(value).ok_or_else(none)?;
    let mut last = None;
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            // A machine without this family says so by one of these.
            Err(error) if is_without_family(&error) => last = Some(error),
            Err(error) => return Err(HttpError::Bind { key, value: value.to_owned(), error }),
        }
    }
    let error = last.ok_or_else(none)?;
    Err(HttpError::Bind { key, value: value.to_owned(), error })
}

fn is_without_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

async fn serve(listener: TcpListener, page: Page) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // Never closed: it is held here.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = page.clone();
                connections.spawn(async move {
                    connection(stream, page).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection: are there too many open files?");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, page: Page) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = page.answer(request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    // A client that goes away in the middle is no matter.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Looks each second how long the page takes, as CoreDNS does: it tells of a machine that is too busy.
async fn poll_health(mut address: SocketAddr, metrics: Arc<DnsMetrics>) {
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let start = Instant::now();
        let result = tokio::time::timeout(POLL_PATIENCE, get(address, "/health")).await;
        let ok = matches!(result, Ok(Ok((StatusCode::OK, _))));
        metrics.health_polled(start.elapsed(), ok);
    }
}

/// One request on a connection of its own.
async fn get(address: SocketAddr, path: &str) -> io::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let request = Request::get(path)
        .header(hyper::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(response);
    tokio::select! {
        response = &mut response => response,
        // The connection may be done just before what it brought is read.
        _ = connection => response.await,
    }
}

#[cfg(test)]
mod tests;
