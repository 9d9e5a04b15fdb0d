// SPDX-License-Identifier: GPL-3.0-or-later
//! Flags that netlabctl does not have and kubectl has, and what to do without them.

/// What to do instead of a flag of kubectl's.
pub(super) fn instead(flag: &str, verb: &str) -> Option<&'static str> {
    Some(match (flag, verb) {
        ("--context" | "--kubeconfig" | "--cluster" | "--server" | "-s" | "--user", _) => {
            "there are no contexts: --socket PATH chooses the daemon"
        }
        ("--token" | "--as" | "--username" | "--password", _) => {
            "whoever may open the daemon's socket may do everything: leave it out"
        }
        ("--request-timeout", _) => "--timeout bounds the commands that wait; leave it out",
        ("-f" | "--filename", "get" | "describe") => {
            "`netlabctl diff -f FILE` compares a file with what is there; else name TYPE and NAME"
        }
        ("-f" | "--filename", _) => "name TYPE and NAME instead of a file",
        ("--raw", _) => {
            "`curl --unix-socket /run/netlab/netlabd.sock http://netlab/PATH` asks the API"
        }
        ("-k" | "--kustomize", _) => "there is no kustomize: name files and folders with -f",
        (
            "--server-side" | "--field-manager" | "--force-conflicts" | "--validate" | "--record"
            | "--save-config" | "--chunk-size",
            _,
        ) => "netlab needs no such flag: leave it out",
        ("--prune", _) => "`netlabctl delete -f FILE` removes what a file makes; nothing is pruned",
        ("--force", "apply" | "replace") => {
            "delete and create it anew: `netlabctl delete -f FILE`, then `netlabctl apply -f FILE`"
        }
        ("--since-time", "logs") => "--since 5m counts from now",
        ("--all" | "--all-pods", "logs") => {
            "-l selects several pods, as in `netlabctl logs -l app=web`"
        }
        ("-A" | "--all-namespaces", "logs" | "wait" | "label" | "annotate") => {
            "-n NAMESPACE, once for each"
        }
        ("--limit-bytes", "logs") => {
            "--tail bounds the lines; `netlabctl logs NAME | head -c BYTES` the bytes"
        }
        ("--show-kind", "get") => "`-o name` prints types with names, as `pod/web`",
        ("--show-events", "describe") => "events stand at the end always: leave it out",
        ("-r" | "-R" | "--recursive", "cp") => {
            "a folder is copied with all that is in it: leave it out"
        }
        ("-A" | "--all-namespaces", "delete") => {
            "-n NAMESPACE, once for each: no flag deletes in all"
        }
        ("--command", "run") => "what stands after `--` is the command: leave it out",
        ("--expose", "run") => "expose it afterwards: `netlabctl expose NAME --port 80`",
        ("--generator" | "--overrides" | "--override-type", "expose") => {
            "write a file, and `netlabctl apply -f FILE`"
        }
        ("--current-replicas" | "--resource-version" | "--all", "scale") => {
            "netlab needs no such flag: leave it out"
        }
        ("-e", "run") => "write `--env KEY=VALUE`",
        ("--requests" | "--limits" | "--cpu" | "--memory", "run") => {
            "write `--limit cpu=500m,memory=64Mi`"
        }
        ("--overrides", "run") => "write a file, and `netlabctl apply -f FILE`",
        ("--disable-eviction" | "--skip-wait-for-delete-timeout", "drain") => {
            "nothing stands in the way of an eviction here: leave it out"
        }
        ("--cascade", "delete") => "nothing owns pods here: leave it out",
        ("--short", "version") => "the answer is short: leave it out",
        _ => return None,
    })
}
