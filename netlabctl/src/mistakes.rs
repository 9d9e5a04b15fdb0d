// SPDX-License-Identifier: GPL-3.0-or-later
//! Command lines that make no sense, answered with what to type instead.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use netlab_api::resource::Kind;

use crate::failure::{Failure, USAGE};
use crate::output;

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
            let suggested = match error.get(ContextKind::SuggestedSubcommand) {
                Some(ContextValue::Strings(words)) => words.first().cloned(),
                _ => None,
            };
            unknown_command(&word, suggested)
        }
        ErrorKind::UnknownArgument => {
            let word = invalid(ContextKind::InvalidArg);
            let failure = Failure::new(USAGE, rendered(error));
            match missing_dashes(&word, words) {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            }
        }
        _ => Failure::new(USAGE, rendered(error)),
    }
}

fn rendered(error: &clap::Error) -> String {
    error.render().to_string().trim_end().to_owned()
}

fn unknown_command(word: &str, suggested: Option<String>) -> Failure {
    let failure =
        Failure::new(USAGE, format!("error: unknown command \"{word}\" for \"netlabctl\""));
    let instead = match word {
        "ps" | "list" | "ls" | "top" => Some("netlabctl get pods".to_owned()),
        "start" | "up" => Some("netlabctl apply -f FILE".to_owned()),
        "stop" | "kill" | "down" => Some("netlabctl delete pod NAME".to_owned()),
        "sh" | "shell" | "ssh" | "attach" | "enter" => {
            Some("netlabctl exec -it NAME -- sh".to_owned())
        }
        "log" => Some("netlabctl logs NAME".to_owned()),
        "inspect" | "show" => Some("netlabctl describe pod NAME".to_owned()),
        "scale" => Some("netlabctl pod run NAME --replicas N".to_owned()),
        "help" => Some("netlabctl --help".to_owned()),
        word => Kind::from_word(word).map(|kind| format!("netlabctl get {}", kind.plural())),
    };
    match instead.or_else(|| suggested.map(|verb| format!("netlabctl {verb}"))) {
        Some(instead) => failure.with_hint(format!("did you mean `{instead}`?")),
        None => failure.with_hint("`netlabctl --help` lists the commands"),
    }
}

/// `exec web ls -l` and `run web nginx -g`: the flag belongs to the command, which needs `--`.
fn missing_dashes(flag: &str, words: &[OsString]) -> Option<String> {
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let verb = words.iter().position(|word| word == "exec" || word == "run")?;
    if words.iter().any(|word| word == "--") {
        return None;
    }
    let at = words.iter().position(|word| word.starts_with(flag))?;
    // The name is the first word after the verb; the command begins after it.
    let plain = |word: &&String| !word.starts_with('-');
    let name = words.iter().skip(verb + 1).position(|word| plain(&word))? + verb + 1;
    let command = name + 1;
    (command < at).then(|| {
        format!(
            "put `--` before the command: `netlabctl {} -- {}`",
            words[1..command].join(" "),
            words[command..].join(" ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

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
    }

    #[test]
    fn a_missing_double_dash_is_put_in_place() {
        check("netlabctl exec web ls -l", &["`netlabctl exec web -- ls -l`"]);
        check("netlabctl run web sleep --foo", &["`netlabctl run web -- sleep --foo`"]);
    }

    #[test]
    fn an_unknown_flag_suggests_a_known_one() {
        check("netlabctl get pods --show-lables", &["--show-labels"]);
        check("netlabctl run web --port eighty", &["eighty", "--port 8080"]);
    }
}
