// SPDX-License-Identifier: GPL-3.0-or-later
//! "Did you mean".

/// The candidate that somebody who wrote `word` most likely meant.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = folded(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&plain, &folded(candidate)), candidate))
        // One slip in three letters is a slip; more is another word.
        .filter(|(slips, candidate)| *slips <= candidate.chars().count().max(plain.len()) / 3)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// `working_dir` and `WorkingDir` are the same slip from `workingDir`.
fn folded(word: &str) -> String {
    word.chars().filter(|c| !"_- ".contains(*c)).take(64).collect::<String>().to_lowercase()
}

/// `` `a`, `b` or `c` ``.
pub(super) fn either<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [many @ .., last] => format!("{} or {last}", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood_and_other_words_are_not() {
        let fields = ["readinessProbe", "livenessProbe", "workingDir", "env", "ports"];
        assert_eq!(closest("readynessProbe", fields), Some("readinessProbe"));
        assert_eq!(closest("working_dir", fields), Some("workingDir"));
        assert_eq!(closest("port", fields), Some("ports"));
        assert_eq!(closest("volumes", fields), None);
        assert_eq!(closest("x", fields), None);
        assert_eq!(either(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
