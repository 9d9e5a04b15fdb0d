// SPDX-License-Identifier: GPL-3.0-or-later
//! A command line taken apart without regard for what is wrong in it: for those who answer mistakes,
//! and for what is rewritten before clap reads it. It judges nothing.

use std::ffi::OsString;

use clap::ArgAction;

/// A command line up to `--`, as far as it can be read when something in it is wrong.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// The program and the verbs: `netlabctl`, `pod`, `run`.
    pub(crate) commands: Vec<&'a clap::Command>,
    /// Where the words after the verbs stand that are neither flags nor values of flags.
    pub(crate) plain: Vec<usize>,
}

impl<'a> Line<'a> {
    /// Reads the words, of which the first is the program.
    pub(crate) fn read(root: &'a clap::Command, words: &[OsString]) -> Line<'a> {
        let mut line = Line { commands: vec![root], plain: Vec::new() };
        let mut is_value = false;
        for (at, word) in words.iter().enumerate().skip(1) {
            let word = word.to_string_lossy();
            if word == "--" {
                break;
            }
            if std::mem::take(&mut is_value) {
                continue;
            }
            if word.starts_with('-') && word != "-" {
                is_value = line.takes_next(&word);
                continue;
            }
            match line.command().find_subcommand(&*word) {
                Some(verb) if line.plain.is_empty() => line.commands.push(verb),
                _ => line.plain.push(at),
            }
        }
        line
    }

    /// What the verbs lead to.
    pub(crate) fn command(&self) -> &'a clap::Command {
        self.commands.last().expect("the program itself is always there")
    }

    /// The flag of one of the commands, the last one's first.
    fn flag(&self, is_meant: impl Fn(&clap::Arg) -> bool) -> Option<&'a clap::Arg> {
        let mut flags = self.commands.iter().rev().flat_map(|command| command.get_arguments());
        flags.find(|arg| is_meant(arg))
    }

    /// Whether the word after `word` is the value of a flag: after `--replicas`, `-n`, `-itn`.
    fn takes_next(&self, word: &str) -> bool {
        let is_valued = |arg: &clap::Arg| arg.get_action().takes_values();
        if let Some(long) = word.strip_prefix("--") {
            let flag = self.flag(|arg| arg.get_long() == Some(long));
            return flag.is_some_and(|arg| is_valued(arg) && !arg.is_require_equals_set());
        }
        let mut letters = word.chars().skip(1);
        // The first that takes a value takes the rest of the word, if there is any.
        let valued = letters.find(|letter| {
            self.flag(|arg| arg.get_short() == Some(*letter)).is_some_and(is_valued)
        });
        valued.is_some() && letters.next().is_none()
    }

    /// Whether `--watch` or `-w` is there or not, and takes no value. `--wait=false` of `delete` is
    /// read by clap itself.
    pub(super) fn is_switch(&self, word: &str) -> bool {
        let flag = match word.strip_prefix("--") {
            Some(long) => self.flag(|arg| arg.get_long() == Some(long)),
            None => {
                let mut letters = word.chars();
                let (Some('-'), Some(letter), None) =
                    (letters.next(), letters.next(), letters.next())
                else {
                    return false;
                };
                self.flag(|arg| arg.get_short() == Some(letter))
            }
        };
        flag.is_some_and(|arg| {
            matches!(arg.get_action(), ArgAction::SetTrue) && !arg.is_require_equals_set()
        })
    }
}
