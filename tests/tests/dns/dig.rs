// SPDX-License-Identifier: GPL-3.0-or-later
//! Asks many questions by one `dig`, and reads what it prints.

use std::fmt;

use netlab_tests::Lab;

/// What `dig` printed of one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Name and type as they came back.
    pub(crate) question: String,
    /// The response code, or why there is none.
    pub(crate) status: String,
    /// Letters of the header's flags.
    pub(crate) flags: Vec<String>,
    /// Records as `owner ttl type data`, by section, in the order of the answer.
    pub(crate) answer: Vec<String>,
    pub(crate) authority: Vec<String>,
    pub(crate) additional: Vec<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} [{}]", self.question, self.status, self.flags.join(" "))?;
        for (section, records) in [
            ("answer", &self.answer),
            ("authority", &self.authority),
            ("additional", &self.additional),
        ] {
            for record in records {
                writeln!(f, "    {section}: {record}")?;
            }
        }
        Ok(())
    }
}

/// Asks a server from a pod, one question after the other: `(name, type)`.
#[track_caller]
pub(crate) fn dig(
    lab: &Lab,
    pod: &str,
    server: &str,
    flags: &[&str],
    questions: &[(String, String)],
) -> Vec<Told> {
    let batch = lab.dir().join(format!("questions-{}", flags.join("")));
    let lines: Vec<String> =
        questions.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    std::fs::write(&batch, lines.join("\n") + "\n").expect("a file can be written");
    let server = format!("@{server}");
    let batch = batch.display().to_string();
    let mut words = vec!["dig", "-r", &server, "+noall", "+comments", "+question", "+answer"];
    words.extend(["+authority", "+additional", "+nocookie", "+timeout=5", "+tries=1"]);
    words.extend(flags);
    words.extend(["-f", &batch]);
    let output = lab.pod_exec(pod, &words);
    let told = read(&output.stdout);
    assert_eq!(told.len(), questions.len(), "answers to {} questions: {output}", questions.len());
    told
}

/// Reads what dig printed.
pub(crate) fn read(text: &str) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    let mut section = "";
    for line in text.lines() {
        if line.starts_with(";; Got answer") || line.starts_with(";; no servers could be reached") {
            all.push(Told { status: "no answer".to_owned(), ..Told::default() });
            section = "";
            continue;
        }
        let Some(told) = all.last_mut() else { continue };
        if let Some(header) = line.strip_prefix(";; ->>HEADER<<-") {
            let status = header.split_once("status: ").and_then(|(_, rest)| rest.split(',').next());
            told.status = status.unwrap_or("no status").to_owned();
        } else if let Some(flags) = line.strip_prefix(";; flags:") {
            let flags = flags.split(';').next().unwrap_or_default();
            told.flags = flags.split_whitespace().map(str::to_owned).collect();
        } else if let Some(name) = line.strip_suffix(" SECTION:") {
            section = name.trim_start_matches(";; ");
        } else if section == "QUESTION" && line.starts_with(';') {
            let words: Vec<&str> = line.trim_start_matches(';').split_whitespace().collect();
            if let [name, _, kind] = words[..] {
                told.question = format!("{name} {kind}");
            }
        } else if !line.starts_with(';') && !line.trim().is_empty() {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            // The class is always the Internet's.
            if words.get(2) == Some(&"IN") {
                words.remove(2);
            }
            let record = words.join(" ");
            match section {
                "ANSWER" => told.answer.push(record),
                "AUTHORITY" => told.authority.push(record),
                "ADDITIONAL" => told.additional.push(record),
                _ => {}
            }
        }
    }
    all
}
