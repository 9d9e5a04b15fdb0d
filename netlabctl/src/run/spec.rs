// SPDX-License-Identifier: GPL-3.0-or-later
//! The flags of `pod run`, and the pods they describe.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use netlab_api::Pod;
use netlab_api::pod::{
    ContainerPort, EnvVar, ExecAction, HttpGetAction, Limits, PortRef, Probe, Protocol, Resources,
    RestartPolicy, TcpSocketAction,
};
use netlab_api::quantity::Quantity;

use crate::duration;
use crate::failure::Failure;
use crate::output::format::Format;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Name of the pod; with --replicas, of NAME-0, NAME-1, …
    // What follows it without `--` is taken too, so that the answer can be the right line.
    #[arg(value_name = "NAME", required = true, num_args = 1..)]
    words: Vec<String>,
    /// How many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    replicas: Option<u16>,
    /// Labels: `app=web,tier=front` [default: app=NAME]
    #[arg(short = 'l', long, value_name = "K=V", value_delimiter = ',', value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Annotations
    #[arg(long, value_name = "K=V", value_parser = pair)]
    annotations: Vec<(String, String)>,
    /// Ports the command listens on: `8080`, `53/udp`, `http:8080`
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = port)]
    port: Vec<ContainerPort>,
    /// Environment of the command
    #[arg(long, value_name = "K=V", value_parser = pair)]
    env: Vec<(String, String)>,
    /// The node that runs it
    #[arg(long)]
    node: Option<String>,
    /// A folder that becomes the pod's `/` and is never changed
    #[arg(long, value_name = "DIR")]
    rootfs: Option<String>,
    /// Host name inside
    #[arg(long)]
    hostname: Option<String>,
    /// Folder in which the command starts
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// Always, OnFailure or Never
    #[arg(long, value_name = "POLICY", value_parser = restart)]
    restart: Option<RestartPolicy>,
    /// Upper bounds: `cpu=500m,memory=64Mi,pids=50`
    #[arg(long, value_name = "LIMITS", value_parser = limits)]
    limit: Vec<Limits>,
    /// Ready when this succeeds: `tcp:8080`, `http:8080/path`, `exec:CMD`
    #[arg(long, value_name = "PROBE", value_parser = probe)]
    ready: Option<Probe>,
    /// Start the command again when this fails
    #[arg(long, value_name = "PROBE", value_parser = probe)]
    live: Option<Probe>,
    /// Accepted for kubectl's sake; netlab runs commands, not images
    #[arg(long, hide = true)]
    image: Option<String>,
    /// Send stdin to the command, and print what it prints
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Print what the command prints, and end with its exit code
    #[arg(long)]
    attach: bool,
    /// Delete the pod at the end (with -i, -t or --attach, which it implies)
    #[arg(long)]
    pub(crate) rm: bool,
    /// `server` or `client`: say what would be made, and make nothing
    #[arg(long, value_parser = ["server", "client", "none"], num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub(crate) dry_run: Option<String>,
    /// Print the pods: json, yaml, name, jsonpath=…
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) output: Format,
    /// Return at once, without waiting until the pod is ready
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// The command and its arguments, after `--`; without one the pod holds its namespaces
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// A command that runs with this program's input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

impl RunArgs {
    pub(crate) fn name(&self) -> &str {
        &self.words[0]
    }

    /// The node that was chosen by name.
    pub(crate) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// How many pods there are to be, when their names have numbers.
    pub(crate) fn replicas(&self) -> Option<u16> {
        self.replicas
    }

    /// What is to be attached, and what speaks against the flags.
    pub(crate) fn session(&self) -> Result<Option<Session>, Failure> {
        if self.image.is_some() {
            return Err(Failure::usage("netlab runs commands, not images: there is no --image")
                .with_hint(format!(
                    "`netlabctl run {} -- CMD` runs a command of this machine; --rootfs DIR gives it another root, as of an unpacked image",
                    self.name()
                )));
        }
        let stray = &self.words[1..];
        if !stray.is_empty() {
            return Err(Failure::usage("the command stands after `--`").with_hint(format!(
                "`netlabctl run {} -- {}`",
                self.name(),
                stray.join(" ")
            )));
        }
        if !(self.stdin || self.tty || self.attach || self.rm) {
            return Ok(None);
        }
        if self.replicas.is_some() {
            return Err(Failure::usage("--replicas does not go with -i, -t, --attach or --rm"));
        }
        if self.no_wait {
            return Err(Failure::usage("--no-wait does not go with -i, -t, --attach or --rm"));
        }
        Ok(Some(Session { stdin: self.stdin, tty: self.tty }))
    }
}

/// The pods that the flags describe.
pub(crate) fn pods(args: &RunArgs, namespace: &str) -> Result<Vec<Pod>, Failure> {
    let attached = args.session()?.is_some();
    let mut pod = Pod::default();
    pod.metadata.namespace = Some(namespace.to_owned());
    pod.metadata.labels = match args.labels.is_empty() {
        true => Pod::default_labels(args.name()),
        false => args.labels.iter().cloned().collect(),
    };
    pod.metadata.annotations = args.annotations.iter().cloned().collect::<BTreeMap<_, _>>();
    let spec = &mut pod.spec;
    // An attached command runs by exec, so that its exit code and its terminal are ours; the pod
    // itself only holds the namespaces, and is not started again.
    if !attached {
        spec.command = args.command.clone();
    }
    spec.restart_policy = args.restart.unwrap_or(match attached {
        true => RestartPolicy::Never,
        false => RestartPolicy::Always,
    });
    spec.env = args
        .env
        .iter()
        .map(|(name, value)| EnvVar { name: name.clone(), value: value.clone() })
        .collect();
    spec.ports = args.port.clone();
    spec.node_name = args.node.clone();
    spec.rootfs = args.rootfs.clone();
    spec.hostname = args.hostname.clone();
    spec.working_dir = args.workdir.clone();
    spec.resources = all_of(&args.limit).map(|limits| Resources { limits: Some(limits) });
    spec.readiness_probe = args.ready.clone();
    spec.liveness_probe = args.live.clone();
    Ok(match args.replicas {
        None => {
            pod.metadata.name = args.name().to_owned();
            vec![pod]
        }
        Some(replicas) => (0..replicas)
            .map(|index| {
                let mut pod = pod.clone();
                pod.metadata.name = format!("{}-{index}", args.name());
                pod
            })
            .collect(),
    })
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write `KEY=VALUE`".to_owned()),
    }
}

pub(crate) fn port_number(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!(
            "`{text}` is no port: write a number from 1 to 65535, as in `--port 8080` or `--port 53/udp`"
        )),
        Ok(port) => Ok(port),
    }
}

fn port(text: &str) -> Result<ContainerPort, String> {
    let (rest, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((rest, protocol)) => match protocol.to_ascii_lowercase().as_str() {
            "tcp" => (rest, Protocol::Tcp),
            "udp" => (rest, Protocol::Udp),
            "sctp" => (rest, Protocol::Sctp),
            _ => {
                return Err(format!(
                    "`{protocol}` is no protocol: tcp, udp or sctp, as in `53/udp`"
                ));
            }
        },
    };
    let (name, number) = match rest.split_once(':') {
        Some((name, number)) => {
            if name.parse::<u16>().is_ok() {
                return Err(format!(
                    "`{text}` publishes a port as docker does; a pod has its own address: write `--port {number}` and reach it there"
                ));
            }
            (Some(name.to_owned()), number)
        }
        None => (None, rest),
    };
    Ok(ContainerPort { name, container_port: port_number(number)?, protocol })
}

fn restart(text: &str) -> Result<RestartPolicy, String> {
    match text.to_ascii_lowercase().replace('-', "").as_str() {
        "always" => Ok(RestartPolicy::Always),
        "onfailure" => Ok(RestartPolicy::OnFailure),
        "never" => Ok(RestartPolicy::Never),
        _ => Err("write Always, OnFailure or Never".to_owned()),
    }
}

fn limits(text: &str) -> Result<Limits, String> {
    let mut limits = Limits::default();
    for part in text.split(',') {
        let (key, value) =
            part.split_once('=').ok_or("write `cpu=500m,memory=64Mi,pids=50`, any of them")?;
        let quantity = || {
            let quantity = Quantity(value.to_owned());
            quantity.milli().map_err(|error| error.to_string())?;
            Ok::<_, String>(quantity)
        };
        match key {
            "cpu" => limits.cpu = Some(quantity()?),
            "memory" | "mem" => limits.memory = Some(quantity()?),
            "pids" => {
                let pids =
                    value.parse().map_err(|_| format!("`{value}` is no number of processes"))?;
                limits.pids = Some(pids);
            }
            _ => return Err(format!("`{key}` is no limit: cpu, memory or pids")),
        }
    }
    Ok(limits)
}

/// Limits that were said one by one; what is said twice holds as it was said last.
fn all_of(said: &[Limits]) -> Option<Limits> {
    said.iter().cloned().reduce(|before, after| Limits {
        cpu: after.cpu.or(before.cpu),
        memory: after.memory.or(before.memory),
        pids: after.pids.or(before.pids),
    })
}

fn probe(text: &str) -> Result<Probe, String> {
    let examples = "write `tcp:8080`, `http:8080/path` or `exec:CMD`";
    let (kind, rest) = text.split_once(':').ok_or(examples)?;
    let port = |text: &str| -> Result<PortRef, String> {
        match text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            true => Ok(PortRef::Name(text.to_owned())),
            false => port_number(text)
                .map(PortRef::Number)
                .map_err(|_| format!("`{text}` is no port: {examples}")),
        }
    };
    let mut probe = Probe::default();
    match kind {
        "tcp" => probe.tcp_socket = Some(TcpSocketAction { port: port(rest)?, host: None }),
        "http" => {
            let (number, path) = match rest.split_once('/') {
                Some((number, path)) => (number, Some(format!("/{path}"))),
                None => (rest, None),
            };
            let port = port(number)?;
            probe.http_get =
                Some(HttpGetAction { path, port, host: None, http_headers: Vec::new() });
        }
        "exec" if !rest.is_empty() => {
            // A shell reads the line as a person wrote it, quotes and pipes included.
            let command =
                match rest.contains(|c: char| c.is_whitespace() || "\"'|&;$<>".contains(c)) {
                    true => vec!["sh".to_owned(), "-c".to_owned(), rest.to_owned()],
                    false => vec![rest.to_owned()],
                };
            probe.exec = Some(ExecAction { command });
        }
        _ => return Err(format!("`{text}` is no probe: {examples}")),
    }
    Ok(probe)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use serde_json::{Value, json};

    use super::*;
    use crate::cli::{self, Command};

    fn read(line: &str) -> Result<Vec<Value>, Failure> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let cli = cli::parse(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
        let Command::Run(args) = cli.command else { panic!("not run: {line}") };
        let pods = pods(&args, "default")?;
        Ok(pods.iter().map(|pod| serde_json::to_value(pod).unwrap()).collect())
    }

    #[test]
    fn flags_become_a_pod() {
        let line = "netlabctl run web --port http:8080,53/udp --env A=b=c --node n1 --rootfs /srv \
                    --restart=onfailure --limit cpu=500m,memory=64Mi,pids=50 \
                    --ready http:http/health -- serve -p 8080";
        let pod = &read(&line.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap()[0];
        assert_eq!(pod["metadata"]["labels"], json!({ "app": "web" }));
        assert_eq!(
            pod["spec"],
            json!({
                "command": ["serve", "-p", "8080"],
                "env": [{ "name": "A", "value": "b=c" }],
                "ports": [
                    { "name": "http", "containerPort": 8080, "protocol": "TCP" },
                    { "containerPort": 53, "protocol": "UDP" },
                ],
                "readinessProbe": { "httpGet": { "path": "/health", "port": "http" } },
                "resources": { "limits": { "cpu": "500m", "memory": "64Mi", "pids": 50 } },
                "restartPolicy": "OnFailure",
                "rootfs": "/srv",
                "nodeName": "n1",
                "dnsPolicy": "ClusterFirst",
            })
        );
    }

    #[test]
    fn limits_may_be_said_one_by_one() {
        let line = "netlabctl run web --limit cpu=1 --limit memory=64Mi,cpu=2 --limit pids=50";
        let pod = &read(line).unwrap()[0];
        assert_eq!(
            pod["spec"]["resources"],
            json!({ "limits": { "cpu": "2", "memory": "64Mi", "pids": 50 } })
        );
    }

    #[test]
    fn replicas_are_numbered_and_share_their_labels() {
        let pods = read("netlabctl run web --replicas 2 -l app=shop,tier=front").unwrap();
        let names: Vec<_> = pods.iter().map(|pod| &pod["metadata"]["name"]).collect();
        assert_eq!(names, ["web-0", "web-1"]);
        assert_eq!(pods[1]["metadata"]["labels"], json!({ "app": "shop", "tier": "front" }));
    }

    #[test]
    fn a_session_runs_its_command_by_exec_in_a_pod_that_only_holds_namespaces() {
        let pod = &read("netlabctl run sh -it --rm -- bash").unwrap()[0];
        assert_eq!(pod["spec"].get("command"), None);
        assert_eq!(pod["spec"]["restartPolicy"], "Never");
    }

    #[track_caller]
    fn refuses(line: &str, part: &str) {
        let failure = read(line).expect_err(line);
        let text = format!("{}\n{}", failure.message, failure.hints.join("\n"));
        assert!(text.contains(part), "{text}");
        assert_eq!(failure.code, crate::failure::USAGE);
    }

    #[test]
    fn mistakes_of_kubectl_and_docker_users_are_answered() {
        refuses("netlabctl run web sleep 5", "`netlabctl run web -- sleep 5`");
        refuses("netlabctl run web --image nginx", "no --image");
        refuses("netlabctl run web --replicas 2 -it", "--replicas does not go with");
        assert!(port("8080:80").unwrap_err().contains("--port 80"));
        for text in ["0", "65536", "http", "80/icmp", ""] {
            assert!(port(text).is_err(), "{text}");
        }
        assert!(probe("http").is_err() && probe("grpc:80").is_err() && probe("tcp:x y").is_ok());
        assert!(limits("cpu=fast").is_err() && limits("disk=1").is_err() && limits("cpu").is_err());
    }

    #[test]
    fn probes_are_short_to_write() {
        let read = |text: &str| serde_json::to_value(probe(text).unwrap()).unwrap();
        assert_eq!(read("tcp:8080"), json!({ "tcpSocket": { "port": 8080 } }));
        assert_eq!(read("http:80/a/b?c"), json!({ "httpGet": { "path": "/a/b?c", "port": 80 } }));
        assert_eq!(read("exec:true"), json!({ "exec": { "command": ["true"] } }));
        assert_eq!(
            read("exec:test -f /x"),
            json!({ "exec": { "command": ["sh", "-c", "test -f /x"] } })
        );
    }
}
