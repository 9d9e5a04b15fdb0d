// SPDX-License-Identifier: GPL-3.0-or-later
//! `link`, `node partition`, `node heal` and `lab reset`: faults from the command line. They stand
//! until they are reset or their time is over, also when the lab is applied again.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, Subcommand};
use netlab_api::lab::{Faults, Percent, Rate, Span};

use super::folder::{Folder, Lock};
use super::kernel;
use super::plan::{self, ROUTER};
use super::state::{LinkWish, PairWish, State};
use super::{failed, fault, now};
use crate::context::Context;
use crate::failure::{Failure, NOT_FOUND};
use crate::output::table::{Look, Table};
use crate::{duration, output};

#[derive(Debug, Subcommand)]
pub(crate) enum LinkCommand {
    /// List links, and what is wrong with each
    #[command(visible_alias = "list")]
    Ls,
    /// Pull a machine's cable
    Down(LinkArgs),
    /// Plug it in again
    Up(LinkArgs),
    /// Make a link slow, late or lossy, in each direction
    Set {
        #[command(flatten)]
        link: LinkArgs,
        #[command(flatten)]
        faults: FaultArgs,
    },
    /// Leave a link as the file has it
    Reset(LinkArgs),
}

/// Which link, and for how long.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// The node or host whose link it is
    #[arg(value_name = "MACHINE")]
    machine: String,
    /// The network that the link leads to; the machine's first unless given
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// As it was after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    time: Option<Duration>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct FaultArgs {
    /// The most that passes: 10mbit
    #[arg(long)]
    rate: Option<Rate>,
    /// How late each packet is: 50ms
    #[arg(long, value_name = "TIME")]
    delay: Option<Span>,
    /// How much the delay varies: 5ms
    #[arg(long, value_name = "TIME")]
    jitter: Option<Span>,
    /// Share of packets that are lost: 1%
    #[arg(long, value_name = "SHARE")]
    loss: Option<Percent>,
    /// Share of packets that come twice: 1%
    #[arg(long, value_name = "SHARE")]
    duplicate: Option<Percent>,
    /// Share of packets that overtake others: 5%
    #[arg(long, value_name = "SHARE")]
    reorder: Option<Percent>,
}

#[derive(Debug, Args)]
pub(crate) struct PartitionArgs {
    /// One machine
    one: String,
    /// The other
    other: String,
    /// As it was after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    time: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct HealArgs {
    /// Two machines; all pairs unless given
    #[arg(num_args = 0..=2, value_name = "MACHINE")]
    machines: Vec<String>,
}

/// A lab, locked and read, to be changed.
struct Open {
    folder: Folder,
    state: State,
    _lock: Lock,
}

impl Open {
    fn lab(context: &Context, name: Option<&str>) -> Result<Open, Failure> {
        let folder = context.lab(name)?;
        let lock = folder.lock()?.ok_or_else(|| super::unknown(&folder.name))?;
        let mut state = folder.state()?.unwrap_or_default();
        fault::expire(&mut state, now());
        Ok(Open { folder, state, _lock: lock })
    }

    /// Carries the wishes out. One that the kernel cannot carry out is none.
    fn carry_out(mut self) -> Result<(), Failure> {
        let wanted = fault::wanted_links(&self.state);
        fault::check(wanted.values())?;
        let opened = kernel::apply(&self.folder, &[])?;
        fault::apply(&self.folder, &mut self.state, &opened)?;
        self.folder.save(&self.state)?;
        if fault::next_end(&self.state).is_some() {
            watch_the_clock(&self.folder, &opened)?;
        }
        Ok(())
    }

    /// The machine and network of a link.
    fn link(&self, args: &LinkArgs) -> Result<(String, String), Failure> {
        let name = machine_name(&args.machine);
        let machine = self.state.plan.machine(name).ok_or_else(|| self.no_machine(name))?;
        let port = machine.port(args.network.as_deref()).ok_or_else(|| {
            let networks: Vec<&str> = machine.ports.iter().map(|p| p.network.as_str()).collect();
            let network = args.network.as_deref().unwrap_or_default();
            Failure::new(NOT_FOUND, format!("error: `{name}` has no link to network `{network}`"))
                .with_hint(format!("its networks: {}", networks.join(", ")))
        })?;
        Ok((name.to_owned(), port.network.clone()))
    }

    fn no_machine(&self, name: &str) -> Failure {
        let names: Vec<&str> = self.state.plan.machines.iter().map(|m| m.name.as_str()).collect();
        let text = format!("error: lab `{}` has no machine `{name}`", self.folder.name);
        Failure::new(NOT_FOUND, text).with_hint(format!("machines: {}", names.join(", ")))
    }

    /// Forgets what the command line said of a link.
    fn forget(&mut self, machine: &str, network: &str) {
        self.state.links.retain(|wish| !(wish.machine == machine && wish.network == network));
    }

    fn pair(&self, one: &str, other: &str) -> Result<plan::Pair, Failure> {
        let (one, other) = (machine_name(one), machine_name(other));
        for name in [one, other] {
            if self.state.plan.machine(name).is_none() {
                return Err(self.no_machine(name));
            }
        }
        if one == other {
            return Err(Failure::usage("name two machines, not one twice"));
        }
        Ok(plan::pair(one, other))
    }
}

/// `n1` of `node/n1`.
fn machine_name(word: &str) -> &str {
    word.strip_prefix("node/").or_else(|| word.strip_prefix("host/")).unwrap_or(word)
}

fn until(time: Option<Duration>) -> Option<u64> {
    time.map(|time| now() + time.as_secs().max(1))
}

/// ` for 30s`, or nothing.
fn lasting(time: Option<Duration>) -> String {
    time.map(|time| format!(" for {}s", time.as_secs().max(1))).unwrap_or_default()
}

pub(crate) fn link(context: &Context, command: LinkCommand) -> Result<(), Failure> {
    let (args, change): (_, &dyn Fn(&mut Faults)) = match &command {
        LinkCommand::Ls => return list(context),
        LinkCommand::Reset(args) => {
            let mut open = Open::lab(context, None)?;
            let (machine, network) = open.link(args)?;
            open.forget(&machine, &network);
            open.carry_out()?;
            output::line(&format!("link/{machine} reset"));
            return Ok(());
        }
        LinkCommand::Down(args) => (args, &|faults| faults.down = true),
        LinkCommand::Up(args) => (args, &|faults| faults.down = false),
        LinkCommand::Set { link, faults: given } => (link, &|faults| given.merge(faults)),
    };
    let mut open = Open::lab(context, None)?;
    let (machine, network) = open.link(args)?;
    let key = fault::key(&machine, &network);
    let mut faults = fault::wanted_links(&open.state).remove(&key).unwrap_or_default();
    change(&mut faults);
    if faults.delay.is_none() && (faults.jitter.is_some() || faults.reorder.is_some()) {
        return Err(Failure::usage("--jitter and --reorder need a --delay to vary"));
    }
    let told = told(&faults);
    // What lasts for a time stands over what lasts, and leaves it as it was.
    if args.time.is_none() {
        open.forget(&machine, &network);
    } else {
        open.state.links.retain(|wish| {
            !(wish.machine == machine && wish.network == network && wish.until.is_some())
        });
    }
    let name = machine.clone();
    open.state.links.push(LinkWish { machine, network, faults, until: until(args.time) });
    open.carry_out()?;
    output::line(&format!("link/{name} {told}{}", lasting(args.time)));
    Ok(())
}

impl FaultArgs {
    fn merge(&self, faults: &mut Faults) {
        faults.rate = self.rate.or(faults.rate);
        faults.delay = self.delay.or(faults.delay);
        faults.jitter = self.jitter.or(faults.jitter);
        faults.loss = self.loss.or(faults.loss);
        faults.duplicate = self.duplicate.or(faults.duplicate);
        faults.reorder = self.reorder.or(faults.reorder);
    }
}

/// `rate 10mbit, delay 50ms`.
fn told(faults: &Faults) -> String {
    let mut words = Vec::new();
    if faults.down {
        words.push("down".to_owned());
    }
    let Faults { rate, delay, jitter, loss, duplicate, reorder, .. } = faults;
    words.extend(rate.map(|rate| format!("rate {rate}")));
    for (word, time) in [("delay", delay), ("jitter", jitter)] {
        words.extend(time.map(|time| format!("{word} {time}")));
    }
    for (word, share) in [("loss", loss), ("duplicate", duplicate), ("reorder", reorder)] {
        words.extend(share.map(|share| format!("{word} {share}")));
    }
    if words.is_empty() { "up".to_owned() } else { words.join(", ") }
}

fn list(context: &Context) -> Result<(), Failure> {
    let folder = context.lab(None)?;
    let mut state = folder.state()?.unwrap_or_default();
    fault::expire(&mut state, now());
    let wanted = fault::wanted_links(&state);
    let mut table = Table::new(&["MACHINE", "LINK", "NETWORK", "STATE", "REST"]);
    for machine in &state.plan.machines {
        for port in &machine.ports {
            let faults = wanted.get(&fault::key(&machine.name, &port.network));
            let rest = state
                .links
                .iter()
                .rev()
                .find(|wish| wish.machine == machine.name && wish.network == port.network)
                .and_then(|wish| wish.until);
            table.rows.push(vec![
                machine.name.clone(),
                port.dev.clone(),
                port.network.clone(),
                faults.map_or_else(|| "up".to_owned(), told),
                rest.map(|until| format!("{}s", until.saturating_sub(now()))).unwrap_or_default(),
            ]);
        }
    }
    output::text(&table.render(Look { headers: true, colour: false }, &mut Vec::new()));
    for (one, other) in fault::wanted_pairs(&state) {
        output::line(&format!("{one} and {other} are parted"));
    }
    Ok(())
}

/// `node partition`.
pub(crate) fn partition(context: &Context, args: &PartitionArgs) -> Result<(), Failure> {
    let mut open = Open::lab(context, None)?;
    let pair = open.pair(&args.one, &args.other)?;
    open.state.pairs.retain(|wish| wish.pair != pair);
    let told = format!("{} and {} parted{}", pair.0, pair.1, lasting(args.time));
    open.state.pairs.push(PairWish { pair, is_parted: true, until: until(args.time) });
    open.carry_out()?;
    output::line(&told);
    Ok(())
}

/// `node heal`.
pub(crate) fn heal(context: &Context, args: &HealArgs) -> Result<(), Failure> {
    let mut open = Open::lab(context, None)?;
    let healed: Vec<plan::Pair> = match &args.machines[..] {
        [] => fault::wanted_pairs(&open.state).into_iter().collect(),
        [one, other] => vec![open.pair(one, other)?],
        _ => return Err(Failure::usage("name two machines, or none for all pairs")),
    };
    for pair in &healed {
        open.state.pairs.retain(|wish| wish.pair != *pair);
        open.state.pairs.push(PairWish { pair: pair.clone(), is_parted: false, until: None });
    }
    open.carry_out()?;
    for (one, other) in &healed {
        output::line(&format!("{one} and {other} healed"));
    }
    Ok(())
}

/// `lab reset`: the file alone says what is wrong.
pub(crate) fn reset(context: &Context, name: Option<&str>) -> Result<(), Failure> {
    let mut open = Open::lab(context, name)?;
    open.state.links.clear();
    open.state.pairs.clear();
    let name = open.folder.name.clone();
    open.carry_out()?;
    output::line(&format!("lab/{name} reset"));
    Ok(())
}

/// Starts a process that ends what was to last for a time. It lives in the router's namespace, so
/// that it is one of the lab's processes and ends with it at the latest.
fn watch_the_clock(folder: &Folder, opened: &kernel::Opened) -> Result<(), Failure> {
    let Some(router) = opened.get(ROUTER) else { return Ok(()) };
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("failed to find this program: {error}")))?;
    let mut command = Command::new(program);
    command.args(["lab", "revert-in-time", &folder.name]).current_dir("/");
    command.env("NETLAB_LAB_DIR", super::folder::root());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C on the terminal is not meant for it.
    command.process_group(0);
    router.run(|| command.spawn()).map_err(failed)?.map(drop).map_err(|error| {
        Failure::failed(format!("failed to start the process that reverts in time: {error}"))
    })
}

/// What that process does.
pub(crate) async fn revert_in_time(context: &Context, name: &str) -> Result<(), Failure> {
    loop {
        let next = {
            let open = Open::lab(context, Some(name))?;
            let next = fault::next_end(&open.state);
            let opened = kernel::apply(&open.folder, &[])?;
            let Open { folder, mut state, _lock } = open;
            fault::apply(&folder, &mut state, &opened)?;
            folder.save(&state)?;
            next
        };
        let Some(next) = next else { return Ok(()) };
        tokio::time::sleep(Duration::from_secs(next.saturating_sub(now()))).await;
    }
}
