// SPDX-License-Identifier: GPL-3.0-or-later
//! Verbs that netlabctl does not have, and what to type instead.

use netlab_api::resource::Kind;

/// Verbs within this many keystrokes of one that there is are taken for it.
const SLIPS: usize = 2;

/// What to do instead of `netlabctl WORD`, or `netlabctl UNDER WORD`. `known` are the verbs there
/// are.
pub(super) fn instead<'a>(
    under: Option<&str>,
    word: &str,
    known: impl Iterator<Item = &'a str>,
) -> String {
    let path = under.map(|under| format!("{under} ")).unwrap_or_default();
    let slip =
        || nearest(word, known).map(|verb| format!("did you mean `netlabctl {path}{verb}`?"));
    let list = || format!("`netlabctl {path}--help` lists the commands");
    match under {
        Some("create") => of_create(word).or_else(slip).unwrap_or_else(list),
        Some("pod") => of_pod(word).or_else(slip).unwrap_or_else(list),
        Some("node") => of_node(word).or_else(slip).unwrap_or_else(list),
        Some("svc") => of_svc(word).or_else(slip).unwrap_or_else(list),
        Some(_) => slip().unwrap_or_else(list),
        None => of_root(word).or_else(slip).unwrap_or_else(list),
    }
}

fn of_root(word: &str) -> Option<String> {
    let mean = |instead: &str| Some(format!("did you mean `netlabctl {instead}`?"));
    let later = |what: &str| Some(format!("{what} not in this version yet"));
    let use_this = |why: &str| Some(why.to_owned());
    match word {
        "services" => mean("get services"),
        "endpoints" | "ep" => mean("get endpointslices"),
        "publish" => mean("expose NAME --port 80"),
        "trace" | "why" | "can" | "capture" => later("tracing packets is"),
        "policy" | "netpol" | "networkpolicy" => later("network policies are"),
        "portforward" | "forward" | "tunnel" => mean("port-forward pod/NAME 8080:80"),
        "ps" | "list" | "ls" => mean("get pods"),
        "top" => use_this(
            "there are no metrics of pods and nodes yet: `netlabctl get pods` and `netlabctl get nodes` tell their status, `netlabctl exec POD -- top` processes",
        ),
        "start" | "up" => mean("apply -f FILE"),
        "stop" | "kill" | "down" => mean("delete pod NAME"),
        "sh" | "shell" | "ssh" | "enter" | "debug" => mean("exec -it NAME -- sh"),
        "attach" => use_this(
            "`netlabctl logs -f NAME` follows what its command prints, `netlabctl exec -it NAME -- sh` opens a shell",
        ),
        "log" => mean("logs NAME"),
        "inspect" | "show" => mean("describe pod NAME"),
        "new" | "add" => mean("run NAME"),
        "autoscale" => use_this(
            "nothing measures pods here: `netlabctl pod scale NAME N` makes them more or fewer",
        ),
        "proxy-mode" | "ipvs" | "iptables" | "nftables" => mean("proxy mode"),
        "rollout" | "set" => use_this(
            "nothing makes pods anew here: change the file, `netlabctl delete -f FILE`, then `netlabctl apply -f FILE`",
        ),
        "taint" | "untaint" => use_this(
            "there are no taints: `netlabctl cordon NODE` keeps new pods off a node, `netlabctl drain NODE` moves those there are, `netlabctl uncordon NODE` opens it again",
        ),
        "evict" => use_this(
            "`netlabctl drain NODE --pod-selector app=web` moves pods off a node, `netlabctl delete pod NAME` removes one",
        ),
        "route-mode" | "mode" | "routes" => mean("network mode"),
        "net" | "networks" => mean("network"),
        "cluster-info" | "info" | "health" | "ping" => mean("status"),
        "check" => mean("doctor"),
        "config" | "use" | "login" | "context" => use_this(
            "there is nothing to configure: --socket or NETLAB_SOCKET chooses a daemon, -n or NETLAB_NAMESPACE a namespace",
        ),
        "auth" | "certificate" => use_this(
            "whoever may open the daemon's socket may do everything: root and group `netlab`",
        ),
        "kustomize" | "plugin" | "alpha" => {
            use_this("netlab has no such thing; `netlabctl --help` lists the commands")
        }
        "api-versions" => mean("api-resources"),
        "options" => mean("--help"),
        word => Kind::from_word(word).and_then(|kind| mean(&format!("get {}", kind.plural()))),
    }
}

fn of_create(word: &str) -> Option<String> {
    if Kind::from_word(word) == Some(Kind::Pod) {
        return Some("did you mean `netlabctl run NAME -- CMD`?".to_owned());
    }
    match word {
        "deployment" | "deploy" | "job" | "cronjob" => Some(
            "netlab has pods, and nothing that makes them: `netlabctl run NAME --replicas 3 -- CMD`"
                .to_owned(),
        ),
        "endpointslice" | "eps" => Some(
            "an EndpointSlice is made of a file: `netlabctl create -f FILE`".to_owned(),
        ),
        word if word.contains('.') || word.contains('/') => {
            Some(format!("did you mean `netlabctl create -f {word}`?"))
        }
        _ => Some(
            "`netlabctl create namespace NAME`, `netlabctl create service TYPE NAME` and `netlabctl create -f FILE` are all there is"
                .to_owned(),
        ),
    }
}

fn of_pod(word: &str) -> Option<String> {
    let mean = |instead: &str| Some(format!("did you mean `netlabctl {instead}`?"));
    match word {
        "get" => mean("get pods"),
        "create" | "new" | "add" | "start" => mean("pod run NAME"),
        "describe" | "inspect" | "show" => mean("describe pod NAME"),
        "logs" | "log" => mean("logs NAME"),
        "exec" | "sh" | "shell" => mean("exec -it NAME -- sh"),
        "stop" | "kill" => mean("pod rm NAME"),
        _ => None,
    }
}

fn of_svc(word: &str) -> Option<String> {
    let mean = |instead: &str| Some(format!("did you mean `netlabctl {instead}`?"));
    match word {
        "get" => mean("get services"),
        "create" | "new" | "add" | "run" => mean("svc expose NAME --port 80"),
        "describe" | "inspect" | "show" => mean("describe svc NAME"),
        "forward" | "port-forward" => mean("port-forward svc/NAME 8080:80"),
        "endpoints" => mean("get endpointslices"),
        _ => None,
    }
}

fn of_node(word: &str) -> Option<String> {
    match word {
        "get" => Some("did you mean `netlabctl get nodes`?".to_owned()),
        "describe" | "show" => Some("did you mean `netlabctl describe node NAME`?".to_owned()),
        "join" | "add" | "new" | "create" => Some(
            "`netlabctl node token` prints what lets another machine join, and the command"
                .to_owned(),
        ),
        "rm" | "delete" | "remove" => Some("did you mean `netlabctl delete node NAME`?".to_owned()),
        "top" | "taint" => of_root(word),
        _ => None,
    }
}

/// The verb that `word` was probably meant to be. Short words are near to everything, so half of
/// a word must be right.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|verb| (strsim::damerau_levenshtein(word, verb), verb))
        .filter(|(distance, verb)| *distance <= SLIPS && *distance < verb.len().div_ceil(2))
        .min()
        .map(|(_, verb)| verb)
}
