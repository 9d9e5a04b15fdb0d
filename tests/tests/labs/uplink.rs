// SPDX-License-Identifier: GPL-3.0-or-later
//! A lab with an uplink, on a machine of the test's own.

use std::process::Command;

use netlab_tests::command::run;
use netlab_tests::machine::unique;
use netlab_tests::{Machine, VirtualLab, observe, wait_until};

use crate::SMALL;

/// The machine that labs are on, and one outside of it that knows no way back into any lab.
fn machines() -> (Machine, Machine) {
    let name = unique("uplink");
    let (machine, outside) = (Machine::new(name.clone()), Machine::new(format!("{name}o")));
    machine.ip(&format!("link add eth0 type veth peer name eth0 netns {}", outside.name));
    for (machine, last) in [(&machine, 1), (&outside, 9)] {
        machine.ip(&format!("address add 192.0.2.{last}/24 dev eth0"));
        machine.ip("link set eth0 addrgenmode none up");
    }
    machine.ip("route add default via 192.0.2.9");
    (machine, outside)
}

/// The same command, run on a machine.
fn on(machine: &Machine, command: &Command) -> Command {
    let mut words = vec![command.get_program().to_str().unwrap()];
    words.extend(command.get_args().map(|word| word.to_str().unwrap()));
    let mut moved = machine.command(&words);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => moved.env(name, value),
            None => moved.env_remove(name),
        };
    }
    moved.current_dir(command.get_current_dir().unwrap());
    moved
}

#[test]
fn an_uplink_leads_out_and_leaves_the_machine_as_it_was() {
    let (machine, _outside) = machines();
    let before = || (observe::network(&machine), observe::sysctls(&machine));
    let was = before();
    let lab = VirtualLab::new("uplink", &format!("[lab]\nuplink = true\n{SMALL}"));
    run(&mut on(&machine, &lab.netlabctl(&["lab", "up", "lab.toml"]))).ok();
    for words in [
        &["exec", "client", "--", "ping", "-c1", "-W2", "192.0.2.9"][..],
        &["host", "exec", "laptop", "--", "ping", "-c1", "-W2", "192.0.2.9"],
    ] {
        lab.ctl(words).ok();
    }
    // Up again changes nothing, and without the uplink it is gone while the lab stays.
    run(&mut on(&machine, &lab.netlabctl(&["lab", "up", "lab.toml"]))).ok();
    lab.ctl(&["exec", "client", "--", "ping", "-c1", "-W2", "192.0.2.9"]).ok();
    lab.write(SMALL);
    run(&mut on(&machine, &lab.netlabctl(&["lab", "up", "lab.toml"]))).ok();
    wait_until("the machine is what it was", || before() == was);
    lab.write(&format!("[lab]\nuplink = true\n{SMALL}"));
    run(&mut on(&machine, &lab.netlabctl(&["lab", "up", "lab.toml"]))).ok();
    assert_ne!(before(), was);
    run(&mut on(&machine, &lab.netlabctl(&["lab", "down", &lab.name]))).ok();
    wait_until("the machine is what it was", || before() == was);
}
