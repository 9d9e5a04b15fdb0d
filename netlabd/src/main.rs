// SPDX-License-Identifier: GPL-3.0-or-later
//! The `netlabd` binary: the daemon, and the two programs that it spawns for its pods.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use netlab_api::{ProxyMode, RouteMode};
use netlabd::daemon::config::Config;
use netlabd::daemon::{self, teardown};
use netlabd::node::pod;
use netlabd::store::SledStore;
use netlabd::trust::address::ServerAddress;
use tracing_subscriber::EnvFilter;

/// Makes Linux namespaces into pods: gives them addresses, links and processes, and keeps them.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Options {
    /// Configuration file [default: /etc/netlab/netlabd.toml, if there is one]
    #[arg(long, value_name = "FILE", global = true, env = "NETLABD_CONFIG")]
    config: Option<PathBuf>,
    /// State that lasts: the store, and logs [default: /var/lib/netlab]
    #[arg(long, value_name = "DIR", global = true, env = "NETLABD_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Runtime state: the socket, network namespaces [default: /run/netlab]
    #[arg(long, value_name = "DIR", global = true, env = "NETLABD_RUN_DIR")]
    run_dir: Option<PathBuf>,
    /// Name of this node [default: the host name]
    #[arg(long, value_name = "NAME", env = "NETLABD_NODE_NAME")]
    node_name: Option<String>,
    /// Networks of pods, one of each family at most [default: 10.42.0.0/16,fd42::/48]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', env = "NETLABD_POD_NETWORKS")]
    pod_networks: Option<Vec<IpNet>>,
    /// MTU of pod links [default: the uplink's]
    #[arg(long, value_name = "BYTES", env = "NETLABD_MTU")]
    mtu: Option<u32>,
    /// Address and TCP port for nodes that join, as 0.0.0.0:7411 [default: no port]
    #[arg(long, value_name = "ADDR:PORT", env = "NETLABD_LISTEN", conflicts_with = "join")]
    listen: Option<SocketAddr>,
    /// How pods of other nodes are reached: host-gw, vxlan or auto. Of the server [default: host-gw]
    #[arg(long, value_name = "MODE", env = "NETLABD_ROUTE_MODE", conflicts_with = "join")]
    route_mode: Option<RouteMode>,
    /// Which layout of rules carries services: nftables or iptables. Of the server [default: nftables]
    #[arg(long, value_name = "MODE", env = "NETLABD_PROXY_MODE", conflicts_with = "join")]
    proxy_mode: Option<ProxyMode>,
    /// Join the cluster of this server, as https://HOST:7411
    #[arg(long, value_name = "URL", env = "NETLABD_JOIN")]
    join: Option<ServerAddress>,
    /// What lets this machine join: `netlabctl node token` on the server prints it. Needed once
    #[arg(long, value_name = "TOKEN", env = "NETLABD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with the token; others see what stands on a command line
    #[arg(long, value_name = "FILE", env = "NETLABD_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// What to log, as in tracing's EnvFilter [default: info]
    #[arg(long, value_name = "FILTER", global = true, env = "NETLABD_LOG")]
    log: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Remove everything netlab made on this machine: pods, links, routes, rules, files, state
    Teardown,
    /// Look at the store while no daemon runs
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Tell which records are damaged
    Check,
    /// Write all readable records to standard output, a JSON line each
    Export,
}

fn main() -> ExitCode {
    // Before anything else: these two may have no second thread, and a pod waits for them.
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|name| name.to_str()) {
        Some("pod-init") => return pod::init::main(args),
        Some("pod-exec") => return pod::exec::main(args),
        _ => {}
    }
    netlabd::memory::set_up();
    let cli = Cli::parse();
    log_to_stderr(cli.options.log.as_deref());
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain is printed once, here. A closed standard error is nobody to tell.
            let _ = writeln!(std::io::stderr(), "netlabd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let config = configured(cli.options)?;
    let store = config.state_dir.join("store");
    match cli.command {
        None => daemon::run(config),
        Some(Command::Teardown) => teardown::run(&config),
        Some(Command::Store(StoreCommand::Check)) => {
            let findings = SledStore::check(&store)?;
            for finding in &findings {
                writeln!(std::io::stdout(), "{finding}")?;
            }
            anyhow::ensure!(findings.is_empty(), "{} records are damaged", findings.len());
            Ok(())
        }
        Some(Command::Store(StoreCommand::Export)) => {
            let exported = SledStore::export(&store, &mut std::io::stdout().lock())?;
            let damaged = exported.damaged;
            anyhow::ensure!(damaged == 0, "{damaged} records are damaged and were left out");
            Ok(())
        }
    }
}

/// Defaults, then the file, then flags.
fn configured(options: Options) -> anyhow::Result<Config> {
    let mut config = Config::read(options.config.as_deref())?;
    config.state_dir = options.state_dir.unwrap_or(config.state_dir);
    config.run_dir = options.run_dir.unwrap_or(config.run_dir);
    config.node_name = options.node_name.or(config.node_name);
    config.pod_networks = options.pod_networks.unwrap_or(config.pod_networks);
    config.mtu = options.mtu.or(config.mtu);
    config.listen = options.listen.or(config.listen);
    config.route_mode = options.route_mode.or(config.route_mode);
    config.proxy_mode = options.proxy_mode.or(config.proxy_mode);
    config.join = options.join.or(config.join);
    // A flag of one kind beats a line of the other.
    if options.token.is_some() || options.token_file.is_some() {
        (config.token, config.token_file) = (options.token, options.token_file);
    }
    Ok(config)
}

fn log_to_stderr(filter: Option<&str>) {
    let filter = EnvFilter::try_new(filter.unwrap_or("info")).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "netlabd: --log: {error}: logging at `info`");
        EnvFilter::new("info")
    });
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false)
        .init();
}
