// SPDX-License-Identifier: GPL-3.0-or-later
//! Command lines that make no sense, answered with what to type instead.

mod flags;
mod verbs;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::{Failure, USAGE};
use crate::{cli, output, target};

/// Turns clap's error into ours. Help and version are no errors: they are printed, code 0.
pub(crate) fn explain(error: &clap::Error, words: &[OsString]) -> Failure {
    let invalid = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::text(&error.render().to_string());
            Failure::silent(0)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::raw_error(error.render().to_string().as_bytes());
            Failure::silent(USAGE)
        }
        ErrorKind::InvalidSubcommand => {
            let word = invalid(ContextKind::InvalidSubcommand);
            // What follows the word may be a verb too: `expose pod web`.
            let end = words.iter().position(|other| *other == *word).unwrap_or(words.len());
            unknown_command(&word, &verbs_of(&words[..end]))
        }
        ErrorKind::UnknownArgument => {
            unknown_argument(error, &invalid(ContextKind::InvalidArg), words)
        }
        _ => Failure::new(USAGE, first_paragraph(error)).with_hint(more_help(&verbs_of(words))),
    }
}

/// What clap says, without its usage line: that one names flags which the environment set.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or(&text);
    let text = text.split("\n\nFor more information").next().unwrap_or(text);
    text.trim_end().to_owned()
}

fn more_help(verbs: &[String]) -> String {
    let words = ["netlabctl"].into_iter().chain(verbs.iter().map(String::as_str));
    format!("`{} --help` shows how it is used", words.collect::<Vec<_>>().join(" "))
}

/// The verbs of a command line, as far as there are such: `pod run`.
fn verbs_of(words: &[OsString]) -> Vec<String> {
    let root = cli::command();
    let line = cli::Line::read(&root, words);
    line.commands.iter().skip(1).map(|command| command.get_name().to_owned()).collect()
}

fn unknown_command(word: &str, verbs: &[String]) -> Failure {
    let root = cli::command();
    let under = verbs.first().map(String::as_str);
    let command = under.and_then(|verb| root.find_subcommand(verb)).unwrap_or(&root);
    let known = command.get_subcommands().map(clap::Command::get_name);
    let whole = under.map(|verb| format!(" {verb}")).unwrap_or_default();
    Failure::new(USAGE, format!("error: unknown command \"{word}\" for \"netlabctl{whole}\""))
        .with_hint(verbs::instead(under, word, known))
}

fn unknown_argument(error: &clap::Error, word: &str, words: &[OsString]) -> Failure {
    let verbs = verbs_of(words);
    if let Some(hint) = missing_dashes(word, words) {
        let message = format!("error: unknown flag \"{word}\": the command stands after `--`");
        return Failure::new(USAGE, message).with_hint(hint);
    }
    let verb = verbs.last().map(String::as_str).unwrap_or_default();
    if !word.starts_with('-') {
        let failure = Failure::new(USAGE, format!("error: unexpected argument \"{word}\""));
        return match verb {
            "apply" | "replace" | "diff" => {
                failure.with_hint(format!("did you mean `netlabctl {verb} -f {word}`?"))
            }
            "logs" => failure.with_hint(
                "the log of one pod at a time; -l selects several, as in `netlabctl logs -l app=web`",
            ),
            _ => failure.with_hint(more_help(&verbs)),
        };
    }
    let failure = Failure::new(USAGE, format!("error: unknown flag \"{word}\""));
    let near = match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(flag)) => Some(format!("did you mean `{flag}`?")),
        _ => None,
    };
    let instead = flags::instead(word, verb).map(str::to_owned).or(near);
    failure.with_hint(instead.unwrap_or_else(|| more_help(&verbs)))
}

/// `exec web ls -l` and `run web nginx -g`: the flag belongs to the command, which needs `--`.
fn missing_dashes(flag: &str, words: &[OsString]) -> Option<String> {
    let root = cli::command();
    let line = cli::Line::read(&root, words);
    let verb = line.command().get_name();
    if !matches!(verb, "exec" | "run") || words.iter().any(|word| word == "--") {
        return None;
    }
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let plain: Vec<String> = line.plain.iter().map(|at| words[*at].clone()).collect();
    // The pod is one word, and the command begins after it.
    let (pod, rest) = match verb {
        "exec" => target::joined(&plain),
        _ => (plain.first()?.clone(), &plain[1..]),
    };
    let (name, command) = (*line.plain.first()?, *line.plain.get(plain.len() - rest.len())?);
    words[command..].iter().find(|word| word.starts_with(flag))?;
    let flags = (name + 1..command).filter(|at| !line.plain.contains(at)).map(|at| &words[at]);
    let before = words[1..name].iter().chain([&pod]).chain(flags).cloned().collect::<Vec<_>>();
    Some(format!(
        "put `--` before the command: `netlabctl {} -- {}`",
        before.join(" "),
        words[command..].join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, parts: &[&str]) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = cli::parse(&words).expect_err(line);
        let failure = explain(&error, &words);
        let text = format!("{}\n{}", failure.message, failure.hints.join("\n"));
        for part in parts {
            assert!(text.contains(part), "{line}:\n{text}");
        }
        assert_eq!(failure.code, USAGE, "{line}");
    }

    #[test]
    fn nouns_and_other_tools_verbs_lead_to_the_right_command() {
        check("netlabctl pods", &["unknown command \"pods\"", "`netlabctl get pods`"]);
        check("netlabctl ps", &["`netlabctl get pods`"]);
        check("netlabctl ns", &["`netlabctl get namespaces`"]);
        check("netlabctl shell", &["`netlabctl exec -it NAME -- sh`"]);
        check("netlabctl aply", &["`netlabctl apply`"]);
        check("netlabctl xyzzy", &["`netlabctl --help`"]);
        check(
            "netlabctl create pod web",
            &["for \"netlabctl create\"", "`netlabctl run NAME -- CMD`"],
        );
        check("netlabctl pod logs web", &["`netlabctl logs NAME`"]);
        check("netlabctl config view", &["NETLAB_SOCKET"]);
        check("netlabctl cluster-info", &["`netlabctl status`"]);
        check("netlabctl node delete n2", &["`netlabctl delete node NAME`"]);
        check("netlabctl node add", &["`netlabctl node token`"]);
        check("netlabctl taint nodes n1 a=b:NoSchedule", &["`netlabctl cordon NODE`"]);
        check("netlabctl top node", &["`netlabctl get nodes`"]);
        check("netlabctl network mode vxlna", &["'vxlna'", "'vxlan'"]);
        check("netlabctl network mod", &["`netlabctl network mode`"]);
        check("netlabctl drain", &["<NODE>"]);
        check("netlabctl node join n2", &["`netlabctl node token`"]);
        check("netlabctl services", &["`netlabctl get services`"]);
        check("netlabctl svc create web", &["`netlabctl svc expose NAME --port 80`"]);
        check("netlabctl forward web 80", &["`netlabctl port-forward pod/NAME 8080:80`"]);
        check("netlabctl create deployment web", &["run NAME --replicas 3"]);
        check("netlabctl proxy mode ipvs", &["'ipvs'", "nftables, iptables"]);
        check("netlabctl svc expose web --port http", &["`http` is no port", "--port 80"]);
    }

    #[test]
    fn what_is_not_there_yet_is_said_to_be_so() {
        for line in ["trace a b", "why a b", "policy ls"] {
            check(&format!("netlabctl {line}"), &["not in this version yet"]);
        }
    }

    #[test]
    fn a_missing_double_dash_is_put_in_place() {
        check("netlabctl exec web ls -l", &["`netlabctl exec web -- ls -l`"]);
        check("netlabctl run web sleep --foo", &["`netlabctl run web -- sleep --foo`"]);
        check(
            "netlabctl run --replicas 2 web -l a=b sleep --foo",
            &["`netlabctl run --replicas 2 web -l a=b -- sleep --foo`"],
        );
        check("netlabctl -n shop exec web -i ls -l", &["`netlabctl -n shop exec web -i -- ls -l`"]);
        check("netlabctl exec pod web ls -l", &["`netlabctl exec pod/web -- ls -l`"]);
    }

    #[test]
    fn a_flag_of_no_command_is_not_put_behind_the_dashes() {
        for line in ["run web --replicas 2 --foo", "run web --foo", "exec web --foo -i"] {
            check(&format!("netlabctl {line}"), &["unknown flag \"--foo\"\n"]);
        }
        check("netlabctl run web --replicas -1", &["'-1'", "'--replicas <N>'", "1..=1000"]);
    }

    #[test]
    fn an_unknown_flag_suggests_a_known_one() {
        check("netlabctl get pods --show-lables", &["--show-labels"]);
        check("netlabctl run web --port eighty", &["eighty", "--port 8080"]);
        check("netlabctl get pods --context x", &["unknown flag \"--context\"", "--socket PATH"]);
        check("netlabctl get -f pods.toml", &["unknown flag \"-f\"", "`netlabctl diff -f FILE`"]);
        check("netlabctl apply pods.toml", &["`netlabctl apply -f pods.toml`"]);
        check("netlabctl get pods --xyzzy", &["`netlabctl get --help`"]);
        check("netlabctl get pods --show-kind", &["`-o name`"]);
        check("netlabctl describe pod web --show-events=false", &["leave it out"]);
        check("netlabctl logs web --limit-bytes=5", &["--tail"]);
        check("netlabctl cp -r a web:/a", &["leave it out"]);
        check("netlabctl wait pod/web --for delete -A", &["-n NAMESPACE"]);
        check("netlabctl label pods --all a=b -A", &["-n NAMESPACE"]);
    }

    #[test]
    fn no_answer_names_flags_that_nobody_typed() {
        let words: Vec<OsString> = ["netlabctl", "wait", "pod/web"].map(OsString::from).into();
        let failure = explain(&cli::parse(&words).expect_err("no goal"), &words);
        assert!(failure.message.contains("--for <WHAT>"), "{}", failure.message);
        assert!(!failure.message.contains("--socket"), "{}", failure.message);
        assert_eq!(failure.hints, ["`netlabctl wait --help` shows how it is used"]);
    }
}
