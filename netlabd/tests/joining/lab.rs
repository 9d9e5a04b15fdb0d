// SPDX-License-Identifier: GPL-3.0-or-later
//! A server in a network namespace, and machines that want something of it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab_api::Time;
use netlab_api::token::TokenRequest;
use netlab_api::wire::Version;
use netlabd::control::Control;
use netlabd::server::{NodePort, ServerState, bind_port, serve_remote};
use netlabd::store::{OpenError, Options, SledStore};
use netlabd::trust::authority::{DEFAULT_LIFETIME, ServerNames};
use netlabd::trust::client::CallError;
use netlabd::trust::token::RANDOM_BYTES;
use netlabd::trust::{Authority, Connector, JoinOptions, Membership, Token};
use nix::sched::{CloneFlags, unshare};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server;

/// How long anything in a test may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Runs a test in a network namespace of its own, which has a loopback interface.
pub(crate) fn in_netns<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // Threads that the runtime starts from here are born into the namespace.
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: are you root?");
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
        assert!(up.success());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async { within(test()).await });
        runtime.shutdown_timeout(Duration::from_secs(1));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

/// The store in `folder`. A server that stopped gives it up when the last of its tasks is gone,
/// which may be a moment after its port is closed.
async fn open_store(folder: &TempDir) -> SledStore {
    let path = folder.path().join("store");
    let deadline = Instant::now() + DEADLINE;
    loop {
        match SledStore::open(&path, Options::default()) {
            Err(OpenError::InUse { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            store => return store.expect("a store"),
        }
    }
}

/// A server.
pub(crate) struct Server {
    folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) control: Arc<Control>,
    pub(crate) membership: Arc<Membership>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn new() -> Server {
        Server::with_lifetime(DEFAULT_LIFETIME).await
    }

    pub(crate) async fn with_lifetime(lifetime: Duration) -> Server {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Server::at(any, tempfile::tempdir().expect("a folder"), lifetime).await
    }

    /// A server with the state in `folder`.
    pub(crate) async fn at(address: SocketAddr, folder: TempDir, lifetime: Duration) -> Server {
        let store = open_store(&folder).await;
        let control = server::control(store).await;
        let names: ServerNames = NodePort::names("n1");
        let authority = Authority::open(folder.path(), lifetime, &names, Time::now());
        let authority = Arc::new(authority.expect("an authority"));
        let membership = Arc::new(Membership::new(control.clone(), authority, "n1".to_owned()));
        let bound = bind_port(address, membership.clone()).await.expect("a port");
        let state = ServerState { nodes: Some(bound.port.clone()), ..server::state(&control) };
        let address = bound.port.listen;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve_remote(bound, state, async {
            let _ = stopped.await;
        }));
        Server { folder, address, control, membership, stop: Some(stop), task }
    }

    /// Stops it, and answers where it was and its state.
    pub(crate) async fn stop(mut self) -> (SocketAddr, TempDir) {
        let _ = self.stop.take().expect("stopped once").send(());
        within(self.task).await.expect("it ends well");
        (self.address, self.folder)
    }

    pub(crate) async fn token(&self) -> Token {
        let mut random = [0; RANDOM_BYTES];
        SystemRandom::new().fill(&mut random).expect("random bytes");
        let wish = TokenRequest::default();
        let issued = self.membership.issue_token(&wish, random, Time::now()).await;
        issued.expect("a token").0
    }
}

/// A machine without a certificate, yet.
pub(crate) struct Machine {
    folder: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        Machine { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// What it takes to join as `node`.
    pub(crate) fn options(
        &self,
        server: SocketAddr,
        node: &str,
        token: Option<Token>,
    ) -> JoinOptions {
        JoinOptions {
            state_dir: self.state_dir(),
            server: server.to_string().parse().expect("an address"),
            token,
            node: node.to_owned(),
        }
    }
}

/// The simplest request.
pub(crate) async fn version(connector: &Connector) -> Result<Version, CallError> {
    connector.call(hyper::Method::GET, "/v1/version", None::<&()>).await
}

/// TLS to the server with whatever certificate is given, trusting whoever answers: what a stranger
/// would do.
pub(crate) async fn stranger(
    server: &Server,
    certificate: Option<(&str, &str)>,
) -> io::Result<TlsStream<TcpStream>> {
    let pinned = netlabd::trust::tls::Pinned::new(server.membership.authority().hash());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned));
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            use rustls::pki_types::pem::PemObject;
            let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes());
            let certificate = netlabd::trust::identity::read_certificate(certificate);
            builder
                .with_client_auth_cert(
                    vec![certificate.expect("a certificate")],
                    key.expect("a key"),
                )
                .expect("they fit")
        }
    };
    let tcp = TcpStream::connect(server.address).await?;
    let name = ServerName::try_from("server.netlab").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}
