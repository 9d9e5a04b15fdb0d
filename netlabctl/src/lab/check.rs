// SPDX-License-Identifier: GPL-3.0-or-later
//! `lab test`: whether what the file says must be true is true.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::join_all;
use netlab_api::Pod;
use netlab_api::client::ObjectRef;
use netlab_api::lab::{Expectation, Family, LabTest, TestSource};
use netlab_api::resource::Kind;
use netlab_link::Netns;

use super::folder::Folder;
use super::probe::{self, Outcome};
use super::state::State;
use super::{failed, up};
use crate::context::Context;
use crate::failure::{FAILED, Failure, USAGE};
use crate::{exec, output};

/// How long a test may take unless it says so.
const WITHIN: Duration = Duration::from_secs(5);
/// How long one question waits for its answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two questions of a test that is not met yet.
const REST: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The lab, by name or file; the only one unless given. A file's own tests are run
    #[arg(value_name = "NAME|FILE")]
    lab: Option<String>,
    /// Write a report in JUnit's format too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What became of a test.
struct Verdict {
    title: String,
    took: Duration,
    /// Why it failed.
    failure: Option<String>,
}

pub(crate) async fn test(context: &Context, args: TestArgs) -> Result<(), Failure> {
    let name = args.lab.as_deref().map(|word| up::name_of(context, word)).transpose()?;
    let folder = context.lab(name.as_deref())?;
    let state = folder.state()?.unwrap_or_default();
    let tests = match args.lab.as_deref().filter(|word| PathBuf::from(word).is_file()) {
        Some(file) => up::lab_of_file(context, file)?.tests,
        None => state.lab.tests.clone(),
    };
    if tests.is_empty() {
        let text = format!("error: lab `{}` has no tests", folder.name);
        return Err(Failure::new(USAGE, text).with_hint("write them as `[[test]]` in its file"));
    }
    let run = |test: LabTest| {
        let (folder, state) = (&folder, &state);
        async move {
            let verdict = run(folder, state, &test).await;
            // Told as it is known, so that a slow one does not hide the others.
            let took = verdict.took.as_secs_f64();
            match &verdict.failure {
                None => output::line(&format!("PASS  {}  ({took:.2}s)", verdict.title)),
                Some(why) => output::line(&format!("FAIL  {}  ({took:.2}s): {why}", verdict.title)),
            }
            verdict
        }
    };
    let started = Instant::now();
    let verdicts = join_all(tests.into_iter().map(run)).await;
    let failed = verdicts.iter().filter(|verdict| verdict.failure.is_some()).count();
    output::line(&format!("{} passed, {failed} failed", verdicts.len() - failed));
    if let Some(path) = &args.junit {
        let text = junit(&folder.name, &verdicts, started.elapsed());
        std::fs::write(path, text).map_err(|error| {
            Failure::failed(format!("failed to write `{}`: {error}", path.display()))
        })?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::silent(FAILED)),
    }
}

async fn run(folder: &Folder, state: &State, test: &LabTest) -> Verdict {
    let started = Instant::now();
    let title = test.name.clone().unwrap_or_else(|| {
        let family = match test.family {
            Some(Family::Ipv4) => " over IPv4",
            Some(Family::Ipv6) => " over IPv6",
            None => "",
        };
        format!("{} -> {}{family} is {}", test.from, test.to, test.expect)
    });
    let within = test.within.map_or(WITHIN, netlab_api::lab::Span::duration);
    let failure = loop {
        let last = match attempt(folder, state, test).await {
            Ok(outcome) if test.expect.is_met_by(outcome.found) => break None,
            Ok(Outcome { found, detail }) if detail.is_empty() => format!("it is {found}"),
            Ok(Outcome { found, detail }) => format!("it is {found} ({detail})"),
            Err(why) => why,
        };
        if started.elapsed() + REST >= within {
            break Some(format!("expected {}, and {last}", test.expect));
        }
        tokio::time::sleep(REST).await;
    };
    Verdict { title, took: started.elapsed(), failure }
}

/// Asks once, each address until one gives what is expected.
async fn attempt(folder: &Folder, state: &State, test: &LabTest) -> Result<Outcome, String> {
    let source = source(folder, state, &test.from).await?;
    let mut addresses = match test.to.host().parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => source.resolve(state, test.to.host()).await?,
    };
    addresses.retain(|address| match test.family {
        Some(Family::Ipv4) => address.is_ipv4(),
        Some(Family::Ipv6) => address.is_ipv6(),
        None => true,
    });
    let mut first = None;
    for address in addresses {
        let (netns, target) = (Arc::clone(&source.netns), test.to.clone());
        let asked =
            tokio::task::spawn_blocking(move || probe::ask(&netns, &target, address, PATIENCE));
        let outcome = asked.await.map_err(|error| format!("BUG: {error}"))??;
        if test.expect.is_met_by(outcome.found) {
            return Ok(outcome);
        }
        first.get_or_insert(outcome);
    }
    Ok(first.unwrap_or_else(|| {
        Outcome::new(Expectation::UnknownName, format!("`{}` has no address", test.to.host()))
    }))
}

/// Who asks: a namespace, and the pod that it is of.
struct Source {
    netns: Arc<Netns>,
    pod: Option<(Context, ObjectRef)>,
}

async fn source(folder: &Folder, state: &State, from: &TestSource) -> Result<Source, String> {
    let TestSource::Pod { namespace, name } = from else {
        let (TestSource::Host(name) | TestSource::Node(name)) = from else {
            return Err("BUG: a source of no kind".to_owned());
        };
        let netns = Netns::open(&folder.pin(name)).map_err(|error| failed(error).message)?;
        return Ok(Source { netns: Arc::new(netns), pod: None });
    };
    let server = state.plan.nodes().next().ok_or("the lab has no node")?;
    let context = Context::of_socket(folder.socket(&server.name));
    let pod: Pod = context
        .client
        .get_as(Some(namespace), name)
        .await
        .map_err(|error| Failure::from(error).message)?;
    let node = pod.spec.node_name.as_deref().ok_or_else(|| format!("pod/{name} has no node"))?;
    let path = folder.run_dir(node).join("netns").join(format!("{namespace}_{name}"));
    let netns = Netns::open(&path).map_err(|error| failed(error).message)?;
    let context = Context::of_socket(folder.socket(node));
    let object = ObjectRef::new(Kind::Pod, Some(namespace), name);
    Ok(Source { netns: Arc::new(netns), pod: Some((context, object)) })
}

impl Source {
    /// Addresses of a name: as the pod resolves it, or else those of a machine of the lab.
    async fn resolve(&self, state: &State, name: &str) -> Result<Vec<IpAddr>, String> {
        let mut found: Vec<IpAddr> = Vec::new();
        if let Some((context, pod)) = &self.pod {
            // The pod's own resolver, with its hosts, its servers and its search domains.
            let (code, text) = exec::quiet(context, pod, &["getent", "ahosts", name])
                .await
                .map_err(|failure| failure.message)?;
            // 2: no such name (getent(1)).
            if code != 0 && code != 2 {
                return Err(format!("`getent ahosts {name}` in the pod ended with {code}"));
            }
            for line in String::from_utf8_lossy(&text).lines() {
                let address = line.split_whitespace().next().and_then(|word| word.parse().ok());
                if let Some(address) = address
                    && !found.contains(&address)
                {
                    found.push(address);
                }
            }
        }
        if found.is_empty()
            && let Some(machine) = state.plan.machine(name)
        {
            found.extend(machine.addresses());
        }
        Ok(found)
    }
}

/// The report as Jenkins, GitLab and others read it.
fn junit(lab: &str, verdicts: &[Verdict], took: Duration) -> String {
    let failed = verdicts.iter().filter(|verdict| verdict.failure.is_some()).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("writing to a string never fails");
    };
    line(format_args!(
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" time=\"{:.3}\">",
        escaped(lab),
        verdicts.len(),
        took.as_secs_f64()
    ));
    for Verdict { title, took, failure } in verdicts {
        let (title, took) = (escaped(title), took.as_secs_f64());
        let head = format!(
            "  <testcase classname=\"{}\" name=\"{title}\" time=\"{took:.3}\"",
            escaped(lab)
        );
        match failure {
            None => line(format_args!("{head}/>")),
            Some(why) => {
                let why = escaped(why);
                line(format_args!("{head}>\n    <failure message=\"{why}\"/>\n  </testcase>"));
            }
        }
    }
    line(format_args!("</testsuite>"));
    text
}

/// Text for an XML attribute; characters that XML does not have are left out.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(' '),
            character if character.is_control() => {}
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_case_for_each_test() {
        let verdict = |title: &str, failure: Option<&str>| Verdict {
            title: title.to_owned(),
            took: Duration::from_millis(1500),
            failure: failure.map(str::to_owned),
        };
        let verdicts = [verdict("a -> b", None), verdict("c", Some("it is \"refused\""))];
        assert_eq!(
            junit("shop", &verdicts, Duration::from_secs(2)),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuite name=\"shop\" tests=\"2\" failures=\"1\" time=\"2.000\">\n\
             \x20 <testcase classname=\"shop\" name=\"a -&gt; b\" time=\"1.500\"/>\n\
             \x20 <testcase classname=\"shop\" name=\"c\" time=\"1.500\">\n\
             \x20   <failure message=\"it is &quot;refused&quot;\"/>\n\
             \x20 </testcase>\n\
             </testsuite>\n"
        );
    }
}
