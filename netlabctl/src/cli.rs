// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: verbs, flags every verb takes, and which file carries a verb out.

mod line;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use crate::cli::line::Line;
use crate::context::Context;
use crate::failure::Failure;
use crate::{
    annotate, api_resources, apply, completion, cordon, cp, delete, describe, diff, doctor, drain,
    edit, events, exec, explain, forward, get, host, lab, label, logs, names, network, patch,
    proxy, run, scale, status, svc, token, version, wait,
};

/// Kubernetes networking on bare Linux: pods, their addresses and their routes.
#[derive(Debug, Parser)]
#[command(
    name = "netlabctl",
    version,
    disable_help_subcommand = true,
    after_help = "Verbs, flags and messages are kubectl's: what you know from there works here.\n\
                  First steps:  netlabctl pod run web --port 8080 -- python3 -m http.server 8080\n\
                  \x20             netlabctl get pods -o wide"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Namespace that names without one mean [default: default]
    #[arg(short, long, global = true, value_name = "NS", help_heading = "Global options")]
    pub(crate) namespace: Option<String>,
    /// Socket of the daemon [default: /run/netlab/netlabd.sock, or the only lab's]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub(crate) socket: Option<PathBuf>,
    /// Lab whose daemon is meant [default: the only one, where the machine has no daemon]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(crate) lab: Option<String>,
    /// Node of the lab whose daemon is meant [default: the first one]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(crate) node: Option<String>,
    /// Print the `ip`, `nft` and `sysctl` lines that do the same by hand, after it is done
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) explain: bool,
    /// Tell of every request on stderr
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// No colours
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_color: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run, list and delete pods
    #[command(subcommand, visible_alias = "po")]
    Pod(PodCommand),
    /// Make a pod and wait until it is ready (same as `pod run`)
    Run(Box<run::RunArgs>),
    /// Give pods one name and one address, and look at services
    #[command(subcommand, visible_alias = "service")]
    Svc(SvcCommand),
    /// Give pods one name and one address (same as `svc expose`)
    Expose(Box<svc::expose::ExposeArgs>),
    /// Make pods NAME-0, NAME-1, … more or fewer (same as `pod scale`)
    Scale(scale::ScaleArgs),
    /// List objects
    Get(get::GetArgs),
    /// Show one object with its events
    Describe(describe::DescribeArgs),
    /// Delete objects and wait until they are gone
    #[command(visible_alias = "rm")]
    Delete(delete::DeleteArgs),
    /// Make objects as files say, and change those that differ
    Apply(apply::ApplyArgs),
    /// Show what `apply` would change
    Diff(diff::DiffArgs),
    /// Make objects from files, or a namespace
    Create(apply::CreateArgs),
    /// Replace objects by those in files
    Replace(apply::ReplaceArgs),
    /// Change an object in an editor
    Edit(edit::EditArgs),
    /// Change fields of an object
    Patch(patch::PatchArgs),
    /// Wait for something to become true
    Wait(wait::WaitArgs),
    /// Set and remove labels
    Label(label::ChangeArgs),
    /// Set and remove annotations
    Annotate(label::ChangeArgs),
    /// Print a pod's log
    Logs(logs::LogsArgs),
    /// Run a command in a pod
    Exec(exec::ExecArgs),
    /// Copy files from and to a pod
    Cp(cp::CpArgs),
    /// Lead ports of this machine into a pod
    PortForward(forward::ForwardArgs),
    /// List what happened
    Events(events::EventsArgs),
    /// Show how the whole is doing
    Status,
    /// Look for what does not work, and tell how to mend it
    Doctor,
    /// List nodes, keep pods off them, and let machines join
    #[command(subcommand)]
    Node(NodeCommand),
    /// Build networks of virtual nodes on this machine
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// Run commands on machines of a lab
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Pull cables of a lab, and make links worse
    #[command(subcommand)]
    Link(lab::link::LinkCommand),
    /// Place no new pods on a node
    Cordon(cordon::CordonArgs),
    /// Place pods on a node again
    Uncordon(cordon::CordonArgs),
    /// Move the pods of a node to others, and place no new ones on it
    Drain(drain::DrainArgs),
    /// Show and change what holds for the pod network
    Network(network::NetworkArgs),
    /// Show and change how nodes lead the packets of services
    #[command(subcommand)]
    Proxy(proxy::ProxyCommand),
    /// Look up names as a pod does, list them, and watch who asks for them
    #[command(subcommand)]
    Dns(names::DnsCommand),
    /// Describe the fields of an object
    Explain(explain::ExplainArgs),
    /// List the types of objects
    ApiResources(api_resources::ApiResourcesArgs),
    /// Print a script that completes commands and names
    Completion(completion::CompletionArgs),
    /// Print the versions of netlabctl and netlabd
    Version(version::VersionArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PodCommand {
    /// Make a pod and wait until it is ready
    Run(Box<run::RunArgs>),
    /// List pods
    #[command(visible_alias = "list")]
    Ls(get::ListArgs),
    /// Make pods NAME-0, NAME-1, … more or fewer
    Scale(scale::PodScaleArgs),
    /// Delete pods and wait until they are gone
    #[command(visible_alias = "delete")]
    Rm(delete::PodRmArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SvcCommand {
    /// Give pods one name and one address, and wait until all nodes know
    Expose(Box<svc::expose::ExposeArgs>),
    /// List services
    #[command(visible_alias = "list")]
    Ls(get::ListArgs),
    /// Delete services
    #[command(visible_alias = "delete")]
    Rm(delete::SvcRmArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List nodes
    #[command(visible_alias = "list")]
    Ls(get::ListArgs),
    /// Place no new pods on a node
    Cordon(cordon::CordonArgs),
    /// Place pods on a node again
    Uncordon(cordon::CordonArgs),
    /// Move the pods of a node to others, and place no new ones on it
    Drain(drain::DrainArgs),
    /// Print a token with which other machines join
    Token(token::TokenArgs),
    /// Part two machines of a lab, so that neither hears of the other
    Partition(lab::link::PartitionArgs),
    /// Let them hear of each other again
    Heal(lab::link::HealArgs),
}

impl Command {
    /// Whether it changes what has lines to do it by hand.
    pub(crate) fn is_explained(&self) -> bool {
        match self {
            Command::Pod(command) => !matches!(command, PodCommand::Ls(_)),
            Command::Svc(command) => !matches!(command, SvcCommand::Ls(_)),
            Command::Proxy(command) => command.is_change(),
            Command::Network(args) => args.is_change(),
            Command::Run(_)
            | Command::Expose(_)
            | Command::Scale(_)
            | Command::Delete(_)
            | Command::Apply(_)
            | Command::Create(_) => true,
            _ => false,
        }
    }

    /// Whether it is carried out without a daemon that was chosen by the global flags.
    pub(crate) fn is_own(&self) -> bool {
        matches!(
            self,
            Command::Lab(_)
                | Command::Host(_)
                | Command::Link(_)
                | Command::Node(NodeCommand::Partition(_) | NodeCommand::Heal(_))
                | Command::Explain(_)
                | Command::ApiResources(_)
                | Command::Completion(_)
        )
    }
}

/// Carries a command out.
pub(crate) async fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Pod(PodCommand::Run(args)) | Command::Run(args) => run::run(context, *args).await,
        Command::Pod(PodCommand::Ls(args)) => get::get(context, args.of("pods")).await,
        Command::Pod(PodCommand::Scale(args)) => scale::scale_pod(context, args).await,
        Command::Pod(PodCommand::Rm(args)) => delete::delete(context, args.into()).await,
        Command::Svc(SvcCommand::Expose(args)) | Command::Expose(args) => {
            svc::expose::expose(context, *args).await
        }
        Command::Svc(SvcCommand::Ls(args)) => get::get(context, args.of("services")).await,
        Command::Svc(SvcCommand::Rm(args)) => delete::delete(context, args.into()).await,
        Command::Scale(args) => scale::scale_any(context, args).await,
        Command::PortForward(args) => forward::forward(context, args).await,
        Command::Proxy(command) => proxy::proxy(context, command).await,
        Command::Dns(command) => names::dns(context, command).await,
        Command::Node(NodeCommand::Ls(args)) => get::get(context, args.of("nodes")).await,
        Command::Node(NodeCommand::Cordon(args)) | Command::Cordon(args) => {
            cordon::cordon(context, &args, true).await
        }
        Command::Node(NodeCommand::Uncordon(args)) | Command::Uncordon(args) => {
            cordon::cordon(context, &args, false).await
        }
        Command::Node(NodeCommand::Drain(args)) | Command::Drain(args) => {
            drain::drain(context, args).await
        }
        Command::Network(args) => network::network(context, args).await,
        Command::Node(NodeCommand::Token(args)) => token::token(context, args).await,
        Command::Get(args) => get::get(context, args).await,
        Command::Describe(args) => describe::describe(context, args).await,
        Command::Delete(args) => delete::delete(context, args).await,
        Command::Apply(args) => apply::apply(context, args).await,
        Command::Create(args) => apply::create(context, args).await,
        Command::Replace(args) => apply::replace(context, args).await,
        Command::Diff(args) => diff::diff(context, args).await,
        Command::Edit(args) => edit::edit(context, args).await,
        Command::Patch(args) => patch::patch(context, args).await,
        Command::Wait(args) => wait::wait(context, args).await,
        Command::Label(args) => label::change(context, args, label::LABELS).await,
        Command::Annotate(args) => label::change(context, args, annotate::ANNOTATIONS).await,
        Command::Logs(args) => logs::logs(context, args).await,
        Command::Exec(args) => exec::exec(context, args).await,
        Command::Cp(args) => cp::cp(context, args).await,
        Command::Events(args) => events::events(context, args).await,
        Command::Status => status::status(context).await,
        Command::Doctor => doctor::doctor(context).await,
        Command::Node(NodeCommand::Partition(args)) => lab::link::partition(context, &args),
        Command::Node(NodeCommand::Heal(args)) => lab::link::heal(context, &args),
        Command::Host(command) => host::host(context, command),
        Command::Link(command) => lab::link::link(context, command),
        Command::Lab(command) => lab::lab(context, command).await,
        Command::Explain(args) => explain::explain(&args),
        Command::ApiResources(args) => api_resources::list(&args),
        Command::Completion(args) => completion::script(&args),
        Command::Version(args) => version::version(context, &args).await,
    }
}

/// The command line as clap knows it, with the environment's part.
pub(crate) fn command() -> clap::Command {
    // `--node` of `run` says where a pod is to run, which no variable should.
    with_environment(with_numbers(Cli::command()))
        .mut_arg("node", |arg| arg.env("NETLAB_NODE").hide_env(true))
}

/// Reads a command line.
pub(crate) fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    let command = command();
    let words = familiar(&command, words);
    let matches = command.try_get_matches_from(words)?;
    Cli::from_arg_matches(&matches)
}

/// Rewrites what kubectl takes and clap does not: `help VERB…`, and `--flag=true` or `-f=false` for
/// a flag that is there or not. What follows `--` is left alone.
fn familiar(command: &clap::Command, words: &[OsString]) -> Vec<OsString> {
    let line = Line::read(command, words);
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let mut rewritten = Vec::with_capacity(words.len());
    for word in &words[..end] {
        let switch = word.to_str().and_then(|word| word.split_once('='));
        match switch.filter(|(flag, _)| line.is_switch(flag)) {
            Some((flag, "true")) => rewritten.push(flag.into()),
            Some((_, "false")) => {}
            _ => rewritten.push(word.clone()),
        }
    }
    if rewritten.get(1).is_some_and(|word| word == "help") {
        rewritten.remove(1);
        rewritten.push("--help".into());
    }
    rewritten.extend_from_slice(&words[end..]);
    rewritten
}

/// Lets every flag with a value take a negative number, so that one that is out of range is told
/// to be so, and not to be an unknown flag.
fn with_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_long() {
        Some(_) if arg.get_action().takes_values() => arg.allow_negative_numbers(true),
        _ => arg,
    });
    command.mut_subcommands(with_numbers)
}

/// Flags that no variable sets: what they select or destroy is of one command, and a variable
/// would do it to each. `node` of the whole command line is an exception.
const NOT_FROM_ENVIRONMENT: [&str; 51] = [
    "affinity-timeout",
    "all",
    "all-containers",
    "all-namespaces",
    "annotations",
    "as",
    "attach",
    "cluster-ip",
    "clusterip",
    "container",
    "env",
    "explain",
    "external-ip",
    "external-name",
    "external-traffic-policy",
    "field-selector",
    "filename",
    "for",
    "force",
    "headless",
    "help",
    "internal-traffic-policy",
    "ip-families",
    "ip-family-policy",
    "labels",
    "list",
    "load-balancer-ip",
    "name",
    "node",
    "node-port",
    "now",
    "overwrite",
    "patch",
    "patch-file",
    "pod-selector",
    "port",
    "protocol",
    "publish-not-ready",
    "replicas",
    "rm",
    "selector",
    "service",
    "session-affinity",
    "source-range",
    "stdin",
    "target-port",
    "tcp",
    "traffic-distribution",
    "tty",
    "type",
    "version",
];

/// Gives every flag that is a preference its `NETLAB_FLAG` variable.
fn with_environment(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_long() {
        Some(long) if !NOT_FROM_ENVIRONMENT.contains(&long) => {
            let name = format!("NETLAB_{}", long.to_ascii_uppercase().replace('-', "_"));
            // Clap holds names for the life of the program; there are a few dozen.
            let name: &'static str = name.leak();
            arg.env(name).hide_env(true)
        }
        _ => arg,
    });
    command.mut_subcommands(with_environment)
}

#[cfg(test)]
mod tests;
