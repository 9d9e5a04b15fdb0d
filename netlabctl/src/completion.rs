// SPDX-License-Identifier: GPL-3.0-or-later
//! `completion`: scripts for shells, which ask `netlabctl __complete WORDS…` for candidates; names
//! of objects come from the daemon.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command};
use netlab_api::client::{Collection, Selectors};
use netlab_api::resource::Kind;

use crate::cli::{self, Global};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::lab::folder;
use crate::{lab, output};

/// The hidden word that a shell's script asks with.
const ASK: &str = "__complete";
/// A key press waits no longer than this for the daemon.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// bash, zsh or fish
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

const BASH: &str = r#"# bash completion of netlabctl: source <(netlabctl completion bash)
_netlabctl() {
    local IFS=$'\n'
    COMPREPLY=($(netlabctl __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
    [[ ${#COMPREPLY[@]} -eq 0 ]] && compopt -o default
}
# `=` and `:` stay within words, as in POD:PATH and --output=wide.
COMP_WORDBREAKS=${COMP_WORDBREAKS//:/}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=/}
complete -F _netlabctl netlabctl
"#;

const ZSH: &str = r#"#compdef netlabctl
# zsh completion of netlabctl: source <(netlabctl completion zsh)
_netlabctl() {
    local -a candidates
    candidates=("${(@f)$(netlabctl __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    candidates=(${candidates:#})
    if (( ${#candidates} )); then
        compadd -- "${candidates[@]}"
    else
        _files
    fi
}
compdef _netlabctl netlabctl
"#;

const FISH: &str = r#"# fish completion of netlabctl: netlabctl completion fish | source
function __netlabctl_complete
    set -l words (commandline -opc) (commandline -ct)
    netlabctl __complete $words[2..-1] 2>/dev/null
end
complete -c netlabctl -f -a '(__netlabctl_complete)'
"#;

pub(crate) fn script(args: &CompletionArgs) -> Result<(), Failure> {
    output::text(match args.shell.as_str() {
        "bash" => BASH,
        "zsh" => ZSH,
        _ => FISH,
    });
    Ok(())
}

/// The words after the hidden verb, when a shell asks.
pub(crate) fn asked(words: &[OsString]) -> Option<Vec<String>> {
    match words.get(1) {
        Some(verb) if verb == ASK => {
            Some(words[2..].iter().map(|word| word.to_string_lossy().into_owned()).collect())
        }
        _ => None,
    }
}

/// Prints candidates for the last word. Errors are no candidates: a shell shows nothing then.
pub(crate) async fn complete(words: Vec<String>) -> Result<(), Failure> {
    let command = cli::command();
    let line = Line::read(&command, &words);
    let mut candidates = match line.wanted(&command) {
        Wanted::Words(words) => words,
        Wanted::Files => return Ok(()),
        Wanted::Labs | Wanted::LabsOrFiles => {
            folder::list().into_iter().map(|folder| folder.name).collect()
        }
        Wanted::Machines => {
            let lab = line.lab.clone().or_else(|| std::env::var("NETLAB_LAB").ok());
            let folder = context::lab_of(lab.as_deref());
            folder.and_then(|folder| lab::machines(&folder)).unwrap_or_default()
        }
        Wanted::Names { kind, prefix, suffix } => {
            let names = tokio::time::timeout(PATIENCE, line.names(kind)).await;
            let names = names.unwrap_or_default();
            names.into_iter().map(|name| format!("{prefix}{name}{suffix}")).collect()
        }
    };
    candidates.retain(|candidate| candidate.starts_with(&line.current));
    candidates.sort();
    candidates.dedup();
    output::text(&candidates.iter().map(|candidate| format!("{candidate}\n")).collect::<String>());
    Ok(())
}

/// A command line that is being typed.
#[derive(Debug, Default)]
struct Line {
    /// `pod run`.
    verbs: Vec<String>,
    /// Words that are no flags and no verbs, before the current one.
    plain: Vec<String>,
    /// The flag whose value the current word is.
    flag: Option<String>,
    current: String,
    namespace: Option<String>,
    socket: Option<PathBuf>,
    lab: Option<String>,
    node: Option<String>,
    /// Whether the current word belongs to a command after `--`.
    foreign: bool,
}

/// What may stand at the current word.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Words(Vec<String>),
    Files,
    Names {
        kind: Kind,
        prefix: String,
        suffix: &'static str,
    },
    /// Labs that are up.
    Labs,
    /// The same, or files where none fits.
    LabsOrFiles,
    /// Machines of the lab.
    Machines,
}

impl Line {
    fn read(root: &Command, words: &[String]) -> Line {
        let mut line = Line::default();
        let (current, before) = match words.split_last() {
            Some((current, before)) => (current.clone(), before),
            None => (String::new(), &[][..]),
        };
        line.current = current;
        let mut command = root;
        let mut waiting: Option<String> = None;
        for word in before {
            if let Some(flag) = waiting.take() {
                line.value(&flag, word);
            } else if word == "--" {
                line.foreign = true;
                break;
            } else if let Some((flag, value)) =
                word.split_once('=').filter(|_| word.starts_with("--"))
            {
                line.value(flag.trim_start_matches('-'), value);
            } else if word.starts_with('-') && word.len() > 1 {
                waiting = takes_value(root, command, word);
            } else if let Some(next) =
                command.find_subcommand(word).filter(|_| line.plain.is_empty())
            {
                line.verbs.push(next.get_name().to_owned());
                command = next;
            } else {
                line.plain.push(word.clone());
            }
        }
        line.flag = waiting;
        line
    }

    fn value(&mut self, flag: &str, value: &str) {
        match flag {
            "namespace" => self.namespace = Some(value.to_owned()),
            "socket" => self.socket = Some(value.into()),
            "lab" => self.lab = Some(value.to_owned()),
            // `--node` of `run` is where a pod goes, and no daemon.
            "node" if self.verbs.is_empty() => self.node = Some(value.to_owned()),
            _ => {}
        }
    }

    fn command<'a>(&self, root: &'a Command) -> &'a Command {
        self.verbs
            .iter()
            .fold(root, |command, verb| command.find_subcommand(verb).unwrap_or(command))
    }

    fn wanted(&self, root: &Command) -> Wanted {
        let names = |kind| Wanted::Names { kind, prefix: String::new(), suffix: "" };
        if self.foreign {
            return Wanted::Files;
        }
        let command = self.command(root);
        if let Some(flag) = &self.flag {
            return match flag.as_str() {
                "namespace" => names(Kind::Namespace),
                "node" => names(Kind::Node),
                "lab" => Wanted::Labs,
                "service" => names(Kind::Service),
                "for" => self.typed(true),
                flag => values(root, command, flag),
            };
        }
        if self.current.starts_with('-') {
            return Wanted::Words(flags(root, command));
        }
        let verbs: Vec<&str> = self.verbs.iter().map(String::as_str).collect();
        match verbs[..] {
            ["logs"] if self.plain.is_empty() => names(Kind::Pod),
            ["exec"] if self.plain.is_empty() => names(Kind::Pod),
            ["pod", "rm"] => names(Kind::Pod),
            ["svc", "rm"] => names(Kind::Service),
            ["proxy", "show"] if self.current.contains('/') => self.typed(true),
            ["proxy", "show"] => names(Kind::Service),
            ["dns", "query"] => names(Kind::Service),
            ["port-forward"] if self.plain.is_empty() => self.forwarded(),
            ["expose"] => self.typed(false),
            ["cordon" | "uncordon" | "drain"] | ["node", "cordon" | "uncordon" | "drain"] => {
                names(Kind::Node)
            }
            ["lab", "down" | "graph" | "test"] => Wanted::LabsOrFiles,
            ["lab", "eject" | "reset"] => Wanted::Labs,
            ["lab", "up"] => Wanted::Files,
            ["host", "exec"] | ["link", "down" | "up" | "set" | "reset"] => Wanted::Machines,
            ["node", "partition" | "heal"] => Wanted::Machines,
            ["cp"] if !self.current.contains(['/', ':']) => {
                Wanted::Names { kind: Kind::Pod, prefix: String::new(), suffix: ":" }
            }
            ["get"] if self.plain.is_empty() && !self.current.contains('/') => {
                match self.typed(false) {
                    // No object, so that only this verb knows it.
                    Wanted::Words(words) => {
                        Wanted::Words(words.into_iter().chain(["flows".to_owned()]).collect())
                    }
                    other => other,
                }
            }
            ["get" | "describe" | "delete" | "wait" | "label" | "annotate" | "edit" | "patch"] => {
                self.typed(false)
            }
            ["explain"] => Wanted::Words(Kind::ALL.map(|kind| kind.singular().to_owned()).to_vec()),
            _ => {
                let verbs: Vec<_> = subcommands(command);
                let own = values_of_first_argument(command);
                match verbs.is_empty() && own.is_empty() {
                    true => Wanted::Files,
                    false => Wanted::Words(verbs.into_iter().chain(own).collect()),
                }
            }
        }
    }

    /// A pod by its name, or a pod or a service with its type in front.
    fn forwarded(&self) -> Wanted {
        match self.current.contains('/') {
            true => self.typed(true),
            false if self.current.starts_with('s') => Wanted::Words(vec!["svc/".to_owned()]),
            false => Wanted::Names { kind: Kind::Pod, prefix: String::new(), suffix: "" },
        }
    }

    /// A type, or a name of the type that stands before or in the word.
    fn typed(&self, alone: bool) -> Wanted {
        if let Some((word, _)) = self.current.split_once('/') {
            return match Kind::from_word(word) {
                Some(kind) => Wanted::Names { kind, prefix: format!("{word}/"), suffix: "" },
                None => Wanted::Words(Vec::new()),
            };
        }
        match self.plain.first().filter(|_| !alone) {
            Some(word) => match Kind::from_word(word) {
                Some(kind) => Wanted::Names { kind, prefix: String::new(), suffix: "" },
                None => Wanted::Words(Vec::new()),
            },
            None if alone => {
                Wanted::Words(Kind::ALL.map(|kind| format!("{}/", kind.singular())).to_vec())
            }
            None => Wanted::Words(Kind::ALL.map(|kind| kind.plural().to_owned()).to_vec()),
        }
    }

    /// Names that there are. Errors are no names.
    async fn names(&self, kind: Kind) -> Vec<String> {
        let variable = |name: &str| std::env::var(name).ok();
        let namespace = self.namespace.clone().or_else(|| variable("NETLAB_NAMESPACE"));
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let global = Global {
            namespace: Some(namespace.clone()),
            socket: self.socket.clone().or_else(|| variable("NETLAB_SOCKET").map(PathBuf::from)),
            lab: self.lab.clone().or_else(|| variable("NETLAB_LAB")),
            node: self.node.clone().or_else(|| variable("NETLAB_NODE")),
            verbose: 0,
            no_color: true,
            explain: false,
        };
        let Ok(Context { client, .. }) = Context::new(&global, false) else { return Vec::new() };
        let collection = Collection::new(kind, Some(&namespace));
        match client.list(&collection, &Selectors::default()).await {
            Ok(list) => list.items.iter().map(|object| object.metadata().name.clone()).collect(),
            Err(_) => Vec::new(),
        }
    }
}

fn arguments<'a>(root: &'a Command, command: &'a Command) -> impl Iterator<Item = &'a clap::Arg> {
    command.get_arguments().chain(root.get_arguments())
}

/// The long name of the flag when it is one that takes a value of its own.
fn takes_value(root: &Command, command: &Command, word: &str) -> Option<String> {
    let found = match word.strip_prefix("--") {
        Some(long) => arguments(root, command).find(|arg| arg.get_long() == Some(long)),
        None => {
            // In `-it` the last one may take a value.
            let last = word.chars().last()?;
            arguments(root, command).find(|arg| arg.get_short() == Some(last))
        }
    }?;
    let takes = found.get_action().takes_values() && !found.is_require_equals_set();
    takes.then(|| found.get_long().unwrap_or_default().to_owned())
}

fn values(root: &Command, command: &Command, flag: &str) -> Wanted {
    let found = arguments(root, command).find(|arg| arg.get_long() == Some(flag));
    let possible: Vec<String> = found
        .map(|arg| arg.get_possible_values())
        .unwrap_or_default()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    match flag {
        _ if !possible.is_empty() => Wanted::Words(possible),
        "output" => Wanted::Words(
            ["wide", "json", "yaml", "name", "jsonpath=", "custom-columns="]
                .map(str::to_owned)
                .to_vec(),
        ),
        "restart" => Wanted::Words(["Always", "OnFailure", "Never"].map(str::to_owned).to_vec()),
        _ => Wanted::Files,
    }
}

fn flags(root: &Command, command: &Command) -> Vec<String> {
    arguments(root, command)
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| arg.get_long())
        .map(|long| format!("--{long}"))
        .collect()
}

fn subcommands(command: &Command) -> Vec<String> {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

fn values_of_first_argument(command: &Command) -> Vec<String> {
    let first = command.get_positionals().next();
    let values = first.map(|arg| arg.get_possible_values()).unwrap_or_default();
    values.iter().map(|value| value.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests;
