// SPDX-License-Identifier: GPL-3.0-or-later
//! What a pod's spec must keep to.

use std::collections::HashMap;

use super::FieldError;
use crate::names;
use crate::pod::{ContainerPort, DnsConfig, DnsPolicy, EnvVar, Limits, PodSpec, PortRef, Probe};
use crate::quantity::Quantity;

/// Below this a process does not even start under its cgroup: the kernel kills it in `execve`.
const LEAST_MEMORY: u64 = 4 * 1024 * 1024;

/// Resolvers read three nameservers (resolv.conf(5), `MAXNS`).
const MOST_NAMESERVERS: usize = 3;

/// Kubernetes' bounds of `searches`.
const MOST_SEARCHES: usize = 32;
const MOST_SEARCH_CHARACTERS: usize = 2048;

/// `execve(2)` refuses longer strings (`MAX_ARG_STRLEN`, 32 pages).
const MOST_ARGUMENT_BYTES: usize = 131_071;

pub(super) fn validate(spec: &PodSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    command(&mut errors, spec);
    env(&mut errors, &spec.env);
    ports(&mut errors, &spec.ports);
    if let Some(readiness) = &spec.readiness_probe {
        probe(&mut errors, "spec.readinessProbe", readiness, &spec.ports);
    }
    if let Some(liveness) = &spec.liveness_probe {
        probe(&mut errors, "spec.livenessProbe", liveness, &spec.ports);
        if liveness.success_threshold.is_some_and(|threshold| threshold != 1) {
            let message = "must be 1: one success says that the command lives";
            let error = FieldError::new("spec.livenessProbe.successThreshold", message);
            errors.push(error.hint("remove it"));
        }
    }
    if let Some(limits) = spec.resources.as_ref().and_then(|resources| resources.limits.as_ref()) {
        self::limits(&mut errors, limits);
    }
    folders(&mut errors, spec);
    host_names(&mut errors, spec);
    dns(&mut errors, spec);
    errors
}

fn command(errors: &mut Vec<FieldError>, spec: &PodSpec) {
    if spec.command.is_empty() && !spec.args.is_empty() {
        let message = "needs a `command`: there is no image whose entry point could take arguments";
        errors.push(FieldError::new("spec.args", message).hint("write all of it as `command`"));
    }
    if spec.command.first().is_some_and(String::is_empty) {
        let message = "must not be empty: it names the program";
        errors.push(FieldError::new("spec.command[0]", message));
    }
    for (field, words) in [("command", &spec.command), ("args", &spec.args)] {
        arguments(errors, &format!("spec.{field}"), words);
    }
}

fn arguments(errors: &mut Vec<FieldError>, field: &str, words: &[String]) {
    for (index, word) in words.iter().enumerate() {
        let field = format!("{field}[{index}]");
        no_nul(errors, &field, word);
        if word.len() > MOST_ARGUMENT_BYTES {
            let length = word.len();
            let message = format!(
                "has {length} bytes; the kernel takes at most {MOST_ARGUMENT_BYTES} in one argument"
            );
            errors.push(FieldError::new(field, message).hint("pass it in a file"));
        }
    }
}

fn no_nul(errors: &mut Vec<FieldError>, field: &str, text: &str) {
    if text.contains('\0') {
        let message = "must not contain a NUL character: the kernel ends texts there";
        errors.push(FieldError::new(field, message));
    }
}

fn env(errors: &mut Vec<FieldError>, env: &[EnvVar]) {
    for (index, variable) in env.iter().enumerate() {
        let field = format!("spec.env[{index}]");
        if let Err(error) = names::env_name(&variable.name) {
            errors.push(FieldError::name(format!("{field}.name"), &variable.name, error));
        }
        no_nul(errors, &format!("{field}.value"), &variable.value);
    }
}

fn ports(errors: &mut Vec<FieldError>, ports: &[ContainerPort]) {
    let mut names = HashMap::new();
    let mut unnamed = HashMap::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        port_number(errors, &format!("{field}.containerPort"), port.container_port);
        if let Some(name) = &port.name {
            let field = format!("{field}.name");
            if let Err(error) = names::port_name(name) {
                errors.push(FieldError::name(&field, name, error));
            }
            if let Some(first) = names.insert(name, index) {
                let message = format!("is `{name}`, which is the name of `ports[{first}]` already");
                errors.push(FieldError::new(field, message).hint("give each port its own name"));
            }
        }
        // One port may have two names, as in Kubernetes; without names the second says nothing.
        if port.name.is_none()
            && let Some(first) = unnamed.insert((port.container_port, port.protocol), index)
        {
            let number = port.container_port;
            let message = format!("is {number}, which stands in `ports[{first}]` already");
            let error = FieldError::new(format!("{field}.containerPort"), message);
            errors.push(error.hint("remove one of the two"));
        }
    }
}

fn port_number(errors: &mut Vec<FieldError>, field: &str, port: u16) {
    if port == 0 {
        errors.push(FieldError::new(field, "must be between 1 and 65535, inclusive"));
    }
}

fn probe(errors: &mut Vec<FieldError>, field: &str, probe: &Probe, ports: &[ContainerPort]) {
    let actions = [
        ("exec", probe.exec.is_some()),
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
    ];
    let given: Vec<&str> = actions.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            let message = "must specify a handler type: one of `exec`, `httpGet` and `tcpSocket`";
            let hint = "for example `httpGet` with `port` 8080";
            errors.push(FieldError::new(field, message).hint(hint));
        }
        [first, rest @ ..] => {
            for action in rest {
                let message =
                    format!("may not specify more than 1 handler type: there is `{first}` already");
                let error = FieldError::new(format!("{field}.{action}"), message);
                errors.push(error.hint("keep one of them"));
            }
        }
    }
    if let Some(exec) = &probe.exec {
        let field = format!("{field}.exec.command");
        if exec.command.first().is_none_or(String::is_empty) {
            errors.push(FieldError::new(&field, "must name a program"));
        }
        arguments(errors, &field, &exec.command);
    }
    if let Some(http) = &probe.http_get {
        let field = format!("{field}.httpGet");
        port_ref(errors, &format!("{field}.port"), &http.port, ports);
        if let Some(path) = http.path.as_ref().filter(|path| !path.starts_with('/')) {
            let error = FieldError::new(format!("{field}.path"), "must start with `/`");
            errors.push(error.hint(format!("write `/{path}`")));
        }
        if http.path.as_ref().is_some_and(|path| path.contains(|c: char| c <= ' ' || c == '\x7f')) {
            let message = "must not contain spaces or control characters";
            let error = FieldError::new(format!("{field}.path"), message);
            errors.push(error.hint("write `%20` for a space"));
        }
        for (index, header) in http.http_headers.iter().enumerate() {
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if header.name.is_empty() || !header.name.chars().all(token) {
                let message = "must be the name of an HTTP header, such as `Accept`";
                errors.push(FieldError::new(format!("{field}.httpHeaders[{index}].name"), message));
            }
            if header.value.contains(['\r', '\n', '\0']) {
                let message = "must be one line";
                errors
                    .push(FieldError::new(format!("{field}.httpHeaders[{index}].value"), message));
            }
        }
    }
    if let Some(tcp) = &probe.tcp_socket {
        port_ref(errors, &format!("{field}.tcpSocket.port"), &tcp.port, ports);
    }
    let counts = [
        ("periodSeconds", probe.period_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (name, _) in counts.iter().filter(|(_, count)| *count == Some(0)) {
        let message = "must be greater than or equal to 1";
        errors.push(FieldError::new(format!("{field}.{name}"), message));
    }
}

fn port_ref(errors: &mut Vec<FieldError>, field: &str, port: &PortRef, ports: &[ContainerPort]) {
    let name = match port {
        PortRef::Number(number) => return port_number(errors, field, *number),
        PortRef::Name(name) => name,
    };
    if ports.iter().any(|port| port.name.as_ref() == Some(name)) {
        return;
    }
    let known: Vec<String> =
        ports.iter().filter_map(|p| p.name.as_ref()).map(|name| format!("`{name}`")).collect();
    let hint = if name.parse::<u16>().is_ok() {
        format!("write {name} without quotes")
    } else if known.is_empty() {
        format!("write the number, or give one of `ports` the name `{name}`")
    } else {
        format!("named are {}", known.join(", "))
    };
    let message = format!("is `{name}`, which is not the name of one of the pod's `ports`");
    errors.push(FieldError::new(field, message).hint(hint));
}

fn limits(errors: &mut Vec<FieldError>, limits: &Limits) {
    const FIELD: &str = "spec.resources.limits";
    if let Some(cpu) = &limits.cpu {
        match cpu.milli() {
            Err(error) => errors
                .push(FieldError::new(format!("{FIELD}.cpu"), format!("is not valid: {error}"))),
            Ok(0) => {
                let error = FieldError::new(format!("{FIELD}.cpu"), "must be more than 0");
                errors.push(error.hint("for example `500m`, half of one core"));
            }
            Ok(_) => {}
        }
    }
    if let Some(memory) = &limits.memory {
        let field = format!("{FIELD}.memory");
        match memory.value() {
            Err(error) => {
                let mut error = FieldError::new(field, format!("is not valid: {error}"));
                error.hint = meant_memory(&memory.0).map(|meant| format!("write `{meant}`"));
                errors.push(error);
            }
            Ok(bytes) if bytes < LEAST_MEMORY => {
                let written = memory.0.trim();
                let number = written.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                let (message, hint) = if written.ends_with('m') {
                    let message = format!(
                        "is `{written}`, which is {number} thousandths of a byte: `m` means milli"
                    );
                    (message, format!("write `{number}Mi`"))
                } else {
                    let message = format!(
                        "is `{written}`, which is {bytes} bytes: too few for any process to start"
                    );
                    let hint = "write at least `4Mi`, and for most programs `64Mi` or more";
                    (message, hint.to_owned())
                };
                errors.push(FieldError::new(field, message).hint(hint));
            }
            Ok(_) => {}
        }
    }
    if limits.pids == Some(0) {
        let error = FieldError::new(format!("{FIELD}.pids"), "must be at least 1");
        errors.push(error.hint("the command itself is one"));
    }
}

/// What `64MB`, `64mb` and `64 MiB` are in the units there are.
fn meant_memory(text: &str) -> Option<String> {
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[number.len()..].to_ascii_lowercase().as_str() {
        "b" => "",
        "k" | "kb" | "kib" | "ki" => "Ki",
        "mb" | "mib" | "mi" => "Mi",
        "g" | "gb" | "gib" | "gi" => "Gi",
        "t" | "tb" | "tib" | "ti" => "Ti",
        _ => return None,
    };
    let meant = Quantity(format!("{}{unit}", number.trim()));
    meant.value().ok().map(|_| meant.0)
}

fn folders(errors: &mut Vec<FieldError>, spec: &PodSpec) {
    for (field, folder) in [("spec.workingDir", &spec.working_dir), ("spec.rootfs", &spec.rootfs)] {
        let Some(folder) = folder else { continue };
        if !folder.starts_with('/') {
            let message = format!("must be an absolute path, not `{}`", folder.escape_debug());
            errors.push(FieldError::new(field, message).hint("start it with `/`"));
        }
        no_nul(errors, field, folder);
    }
}

fn host_names(errors: &mut Vec<FieldError>, spec: &PodSpec) {
    if let Some(node) = &spec.node_name
        && let Err(error) = names::dns_subdomain(node)
    {
        errors.push(FieldError::name("spec.nodeName", node, error));
    }
    for (field, name) in [("spec.hostname", &spec.hostname), ("spec.subdomain", &spec.subdomain)] {
        if let Some(name) = name
            && let Err(error) = names::dns_label(name)
        {
            errors.push(FieldError::name(field, name, error));
        }
    }
}

fn dns(errors: &mut Vec<FieldError>, spec: &PodSpec) {
    let nothing = DnsConfig::default();
    let config = spec.dns_config.as_ref().unwrap_or(&nothing);
    if spec.dns_policy == DnsPolicy::None && config.nameservers.is_empty() {
        let message = "must provide at least one DNS nameserver when `dnsPolicy` is `None`";
        let hint = "add `dnsConfig` with `nameservers`, or leave `dnsPolicy` out";
        let field = match spec.dns_config {
            Some(_) => "spec.dnsConfig.nameservers",
            None => "spec.dnsPolicy",
        };
        errors.push(FieldError::new(field, message).hint(hint));
    }
    if config.nameservers.len() > MOST_NAMESERVERS {
        let message = format!(
            "must not have more than {MOST_NAMESERVERS} nameservers: resolvers read no more"
        );
        errors.push(FieldError::new(
            format!("spec.dnsConfig.nameservers[{MOST_NAMESERVERS}]"),
            message,
        ));
    }
    if config.searches.len() > MOST_SEARCHES {
        let message = format!("must not have more than {MOST_SEARCHES} search paths");
        errors.push(FieldError::new(format!("spec.dnsConfig.searches[{MOST_SEARCHES}]"), message));
    }
    let length = config.searches.iter().map(|s| s.len() + 1).sum::<usize>().saturating_sub(1);
    if length > MOST_SEARCH_CHARACTERS {
        let message =
            format!("must not have more than {MOST_SEARCH_CHARACTERS} characters, not {length}");
        errors.push(FieldError::new("spec.dnsConfig.searches", message));
    }
    for (index, search) in config.searches.iter().enumerate() {
        // A final dot is fine, as in zone files, and so is the root alone.
        let name = search.strip_suffix('.').unwrap_or(search);
        if search != "."
            && let Err(error) = names::dns_subdomain(name)
        {
            errors.push(FieldError::name(
                format!("spec.dnsConfig.searches[{index}]"),
                search,
                error,
            ));
        }
    }
    for (index, option) in config.options.iter().enumerate() {
        let field = format!("spec.dnsConfig.options[{index}]");
        let foreign = |text: &str| text.contains(|c: char| c.is_whitespace() || c.is_control());
        if option.name.is_empty() || foreign(&option.name) || option.name.contains(':') {
            let message = "must be one word, such as `ndots`, with its value in `value`";
            errors.push(FieldError::new(format!("{field}.name"), message));
        }
        if option.value.as_deref().is_some_and(foreign) {
            errors.push(FieldError::new(format!("{field}.value"), "must be one word"));
        }
    }
}
