// SPDX-License-Identifier: GPL-3.0-or-later
//! The house: which part may know which other, and what every file has. Reads sources, needs no
//! root.

mod documents;
mod files;
mod paths;

use documents::Document;
use files::{Source, sources};

/// A rule: files, and paths that they must not name.
struct Rule {
    /// Why; shown when it is broken.
    why: &'static str,
    /// Files, by the beginning of their path or, with a `*/`, by its end.
    files: &'static [&'static str],
    /// Of these, files that may.
    except: &'static [&'static str],
    /// Paths, by their beginning; one that is a single name counts wherever it stands in a path.
    never: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        why: "netlab-api is what all others build upon",
        files: &["netlabd/api/src/"],
        except: &[],
        never: &["netlabd", "netlab_link", "netlab_nft", "sled", "nix", "rtnetlink"],
    },
    Rule {
        why: "netlab-link and netlab-nft know no object",
        files: &["netlabd/link/src/", "netlabd/nft/src/"],
        except: &[],
        never: &["netlab_api", "netlabd", "sled"],
    },
    Rule {
        why: "planners are pure: no async, no store, no sockets, no files, no clock",
        files: &[
            "*/plan.rs",
            "*/ipam.rs",
            "netlabd/src/node/pod/report.rs",
            "netlabd/src/node/pod/resolv.rs",
            "netlabd/src/node/pod/restart.rs",
            "netlabd/src/node/network/fabric/diff.rs",
            "netlabd/src/node/network/fabric/problem.rs",
            "netlabd/src/node/network/fabric/wish.rs",
            "netlabd/nft/src/antispoof.rs",
            "netlabd/nft/src/masquerade.rs",
            "netlabd/nft/src/diff.rs",
        ],
        except: &[],
        never: &[
            "tokio",
            "sled",
            "nix",
            "rtnetlink",
            "netlink_sys",
            "std::fs",
            "std::process",
            "std::os",
            "Instant",
            "SystemTime",
            "RouteSocket",
            "Socket",
            "TcpStream",
            "UdpSocket",
            "UnixStream",
            "crate::store",
            "crate::node::machine",
            "crate::control::cluster",
        ],
    },
    Rule {
        why: "only the store names sled",
        files: &["netlabd/", "netlabctl/", "tests/"],
        except: &["netlabd/src/store.rs", "netlabd/src/store/", "tests/tests/house/"],
        never: &["sled"],
    },
    Rule {
        why: "the store knows no object's meaning and nobody above it",
        files: &["netlabd/src/store.rs", "netlabd/src/store/"],
        except: &[],
        never: &[
            "netlab_api",
            "netlab_link",
            "netlab_nft",
            "crate::control",
            "crate::server",
            "crate::node",
            "crate::daemon",
        ],
    },
    Rule {
        why: "control decides and touches no kernel",
        files: &["netlabd/src/control.rs", "netlabd/src/control/"],
        // Its tests run it over the real store.
        except: &["netlabd/src/control/tests", "netlabd/src/control/feed/tests.rs"],
        never: &[
            "netlab_link",
            "netlab_nft",
            "nix",
            "libc",
            "std::fs",
            "std::process",
            "tokio::fs",
            "tokio::net",
            "tokio::process",
            "crate::server",
            "crate::node",
            "crate::daemon",
            "SledStore",
        ],
    },
    Rule {
        why: "the server decides nothing and knows neither kernel nor disk",
        files: &["netlabd/src/server.rs", "netlabd/src/server/"],
        except: &["netlabd/src/server/tests"],
        never: &[
            "netlab_link",
            "netlab_nft",
            "crate::node",
            "crate::daemon",
            "Control",
            "SledStore",
            "Store",
        ],
    },
    Rule {
        why: "the node edits no desired state: it knows the cluster, not the store",
        files: &["netlabd/src/node.rs", "netlabd/src/node/"],
        except: &[],
        never: &["crate::server", "crate::daemon", "Control", "SledStore", "Store"],
    },
    Rule {
        why: "the command line speaks to the daemon by its API alone",
        files: &["netlabctl/src/"],
        except: &["netlabctl/src/lab/", "netlabctl/src/lab.rs"],
        never: &["netlabd", "netlab_link", "netlab_nft", "sled"],
    },
    Rule {
        why: "the builder of labs makes machines and knows nothing of what a daemon makes in them",
        files: &["netlabctl/src/lab/", "netlabctl/src/lab.rs"],
        except: &[],
        never: &["netlabd", "sled"],
    },
    Rule {
        why: "the rootful tests look at the kernel by other means than netlab's",
        files: &["tests/"],
        except: &["tests/src/bin/"],
        never: &["netlabd", "netlab_api", "netlab_link", "netlab_nft"],
    },
];

impl Rule {
    fn is_about(&self, source: &Source) -> bool {
        let matches = |pattern: &&str| match pattern.strip_prefix('*') {
            Some(end) => source.path.ends_with(end),
            None => source.path.starts_with(*pattern),
        };
        self.files.iter().any(matches) && !self.except.iter().any(matches)
    }

    fn broken_by(&self, source: &Source) -> Vec<String> {
        let named = paths::named(&source.text);
        let is_named = |never: &&&str| named.iter().any(|path| paths::is_in(never, path));
        let broken = self.never.iter().filter(is_named);
        broken.map(|never| format!("{} names `{never}`: {}", source.path, self.why)).collect()
    }
}

#[test]
fn parts_know_only_what_they_may() {
    let sources = sources();
    let mut broken = Vec::new();
    for rule in RULES {
        let about: Vec<_> = sources.iter().filter(|source| rule.is_about(source)).collect();
        assert!(!about.is_empty(), "no file is left that this is about: {}", rule.why);
        broken.extend(about.into_iter().flat_map(|source| rule.broken_by(source)));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn a_broken_rule_is_found_however_it_is_written() {
    let rule = |why: &str| RULES.iter().find(|rule| rule.why.contains(why)).expect("a rule");
    let broken = |why: &str, text: &str| {
        let source = Source { path: "x.rs".into(), text: text.into() };
        rule(why).broken_by(&source).len()
    };
    assert_eq!(broken("only the store", "use sled::Db;"), 1);
    assert_eq!(broken("only the store", "fn f() { let db = sled::open(path); }"), 1);
    assert_eq!(broken("only the store", "// sled::open is not for us\nuse unsled::Db;"), 0);
    assert_eq!(broken("control", "use crate::{\n    store::Store,\n    node::{Machine},\n};"), 1);
    assert_eq!(broken("control", "fn f() -> crate::node::Machine { std::fs::read(x) }"), 2);
    assert_eq!(broken("server", "use crate::store::{Revision, SledStore as Disk};"), 1);
    assert_eq!(broken("pure", "use netlab_link::{Batch, RouteSocket};"), 1);
    assert_eq!(broken("pure", "use super::Plan;\n#[cfg(test)]\nmod tests { use std::fs; }"), 0);
    assert_eq!(broken("pure", "const TEXT: &str = \"use std::fs;\";"), 0);
}

#[test]
fn only_the_daemon_and_its_program_know_all_planes() {
    let planes = ["crate::store", "crate::control", "crate::server", "crate::node"];
    for source in sources().iter().filter(|source| source.path.starts_with("netlabd/src/")) {
        let named = paths::named(&source.text);
        let known =
            planes.iter().filter(|plane| named.iter().any(|path| paths::is_in(plane, path)));
        let is_daemon = source.path.starts_with("netlabd/src/daemon");
        assert!(known.count() < planes.len() || is_daemon, "{} knows all planes", source.path);
    }
}

#[test]
fn every_file_says_under_which_licence_it_is() {
    let without: Vec<_> = files::all()
        .into_iter()
        .filter(|file| !file.text.lines().take(2).any(|line| line.contains(files::LICENCE)))
        .map(|file| file.path)
        .collect();
    assert!(without.is_empty(), "no `{}` at the top of: {without:#?}", files::LICENCE);
}

#[test]
fn every_module_says_what_it_is() {
    let is_silent = |source: &&Source| {
        let is_test = source.path.contains("/tests/") || source.path.ends_with("/tests.rs");
        !is_test && !source.text.lines().take(3).any(|line| line.starts_with("//! "))
    };
    let silent: Vec<_> = sources().iter().filter(is_silent).map(|it| it.path.clone()).collect();
    assert!(silent.is_empty(), "no `//!` at the top of: {silent:#?}");
}

#[test]
fn modules_are_named_after_their_noun() {
    let bad = ["/mod.rs", "/utils.rs", "/helpers.rs", "/common.rs", "/manager.rs"];
    let is_bad = |source: &&Source| bad.iter().any(|name| source.path.ends_with(name));
    let found: Vec<_> = sources().iter().filter(is_bad).map(|it| it.path.clone()).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// Code spans of ARCHITECTURE.md that look like paths and are none: a key of the store, and the form
/// of a name.
const NO_FILES: [&str; 2] = ["settings/network", "namespace/name"];

/// Nouns in its code map that have no file: the name of a device.
const NO_MODULES: [&str; 1] = ["nlsvc"];

/// Whether there is a file, a folder or a module of this path.
fn exists(path: &str) -> bool {
    let path = files::root().join(path.trim_end_matches('/'));
    path.exists() || path.with_extension("rs").exists()
}

#[test]
fn every_path_in_the_architecture_is_one() {
    let documents = Document::all();
    let document = documents.iter().find(|document| document.path == "ARCHITECTURE.md");
    let document = document.expect("there is an ARCHITECTURE.md");
    let mut missing = Vec::new();
    // In the text, what is inside the daemon is named from its sources or those of the node on.
    let bases = ["", "netlabd/src/", "netlabd/src/node/"];
    for path in document.paths().iter().filter(|path| !NO_FILES.contains(&path.as_str())) {
        if !bases.iter().any(|base| exists(&format!("{base}{path}"))) {
            missing.push(path.clone());
        }
    }
    let rows = document.code_map("## Code map");
    assert!(rows.len() > 40, "only {} rows: is this the code map?", rows.len());
    for row in rows {
        missing.extend(row.modules.iter().filter(|module| !exists(module)).cloned());
        for noun in row.nouns.iter().filter(|noun| !NO_MODULES.contains(&noun.as_str())) {
            if !row.modules.iter().any(|module| exists(&format!("{module}/{noun}"))) {
                missing.push(format!("{noun} of {}", row.modules.join(", ")));
            }
        }
    }
    assert!(missing.is_empty(), "not there: {missing:#?}");
}

#[test]
fn every_link_of_a_document_leads_to_a_file() {
    let mut dead = Vec::new();
    for document in Document::all() {
        for link in document.links().iter().filter(|link| !files::root().join(link).exists()) {
            dead.push(format!("{}: {}", document.path, link.display()));
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}
