// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;

mod documents;

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[track_caller]
fn reads(line: &str) -> Cli {
    let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    parse(&words).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn what_kubectl_users_type_is_understood() {
    for line in [
        "netlabctl get po -A -o wide",
        "netlabctl get pods web db -o=yaml -n shop",
        "netlabctl get pods -l app=web -w --show-labels",
        "netlabctl -n shop get pods,nodes --sort-by=.metadata.name --no-headers",
        "netlabctl run web --port 80 --labels app=web --restart=Never -- sleep 5",
        "netlabctl run -it --rm sh -- /bin/sh -c ls",
        "netlabctl exec -it web -- sh",
        "netlabctl exec web -n shop -- ls -l",
        "netlabctl logs -f --tail=10 web --since 5m",
        "netlabctl logs web -p --timestamps",
        "netlabctl delete pod web --grace-period=0 --force",
        "netlabctl delete pods --all --now",
        "netlabctl delete -f a.yaml -f b.yaml --ignore-not-found",
        "netlabctl delete pod web --wait=false --ignore-not-found=true",
        "netlabctl apply -f - --dry-run=server",
        "netlabctl apply -f a.yaml,b.yaml",
        "netlabctl wait --for=condition=Ready pod/web --timeout=60s",
        "netlabctl wait pods -l app=web --for delete",
        "netlabctl label pod web a=b c- --overwrite",
        "netlabctl cp web:/etc/hosts hosts",
        "netlabctl events --for pod/web -w",
        "netlabctl create namespace shop",
        "netlabctl create ns shop",
        "netlabctl create -f a.yaml",
        "netlabctl explain pod.spec",
        "netlabctl pod run web --explain -- sleep 5",
        "netlabctl --explain delete pod web",
        "netlabctl version -o json",
        "netlabctl pod ls -A",
        "netlabctl pod rm web db",
        "netlabctl node ls",
        "netlabctl svc expose web --port 80",
        "netlabctl service expose web --port=80/tcp --port dns:53:5353/udp --type nodeport",
        "netlabctl expose pod web-0 --port=80 --target-port=8080 --name=web",
        "netlabctl expose pod/web --type=LoadBalancer --session-affinity=ClientIP",
        "netlabctl create service clusterip web --tcp=80:8080 --dry-run=server",
        "netlabctl create svc nodeport web --tcp=80 --node-port=30080",
        "netlabctl create service externalname db --external-name db.example.org",
        "netlabctl svc ls -A",
        "netlabctl svc rm web db",
        "netlabctl pod scale web 5",
        "netlabctl scale pod/web --replicas=3",
        "netlabctl scale pod web --replicas 3 --timeout 10s",
        "netlabctl get flows --service svc/web --protocol udp -o wide",
        "netlabctl get flows --all",
        "netlabctl proxy show svc/web --as iptables -n shop",
        "netlabctl proxy show -o yaml",
        "netlabctl port-forward svc/web 8080:80 :443",
        "netlabctl port-forward web 8080 --address 0.0.0.0,::1",
        "netlabctl proxy mode iptables --no-wait",
        "netlabctl cordon n1",
        "netlabctl drain n1 --ignore-daemonsets --delete-emptydir-data --force --timeout=60s",
        "netlabctl drain -l rack=a --pod-selector app=web --grace-period=-1 --dry-run=server",
        "netlabctl node drain n1 n2",
        "netlabctl network mode vxlan",
        "netlabctl node token --ttl 30m --description racks -o wide",
        "netlabctl node token list --no-headers",
        "netlabctl node token ls -o json",
        "netlabctl node token revoke abcdef",
        "netlabctl version --client=true",
        "netlabctl get pods --watch=false --no-headers=true",
        "netlabctl get pods -L app,tier",
        "netlabctl logs web -c web --all-containers=true",
        "netlabctl exec web -c web -- ls",
        "netlabctl cp web:/etc/hosts hosts -c web",
        "netlabctl label pod web --list",
        "netlabctl patch pod web -p {} --type=merge",
    ] {
        reads(line);
    }
}

#[test]
fn a_switch_that_is_said_to_be_off_is_off() {
    let Command::Get(_) = reads("netlabctl get pods --watch=false").command else {
        panic!("not get")
    };
    let words = ["netlabctl", "get", "--watch=false", "--", "--watch=true"].map(OsString::from);
    assert_eq!(familiar(&command(), &words), ["netlabctl", "get", "--", "--watch=true"]);
    let words = ["netlabctl", "delete", "pod", "web", "--wait=false"].map(OsString::from);
    assert_eq!(familiar(&command(), &words), words);
    let words = ["netlabctl", "logs", "-f=false", "web", "-p=true"].map(OsString::from);
    assert_eq!(familiar(&command(), &words), ["netlabctl", "logs", "web", "-p"]);
    // The same letter takes a value there.
    let words = ["netlabctl", "apply", "-f=false"].map(OsString::from);
    assert_eq!(familiar(&command(), &words), words);
}

#[test]
fn a_line_is_read_though_something_in_it_is_wrong() {
    let read = |line: &str| {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let root = command();
        let line = Line::read(&root, &words);
        let verbs: Vec<_> = line.commands[1..].iter().map(|c| c.get_name().to_owned()).collect();
        let plain: Vec<_> =
            line.plain.iter().map(|at| words[*at].to_string_lossy().into_owned()).collect();
        (verbs.join(" "), plain.join(" "))
    };
    let expect = |line, verbs: &str, plain: &str| {
        assert_eq!(read(line), (verbs.to_owned(), plain.to_owned()), "{line}");
    };
    expect("netlabctl -n get pod run web --nope -l a=b ls", "pod run", "web ls");
    expect("netlabctl po rm -nshop web -- x", "pod rm", "web");
    expect("netlabctl exec -itc c web", "exec", "web");
    expect("netlabctl get run pod", "get", "run pod");
    expect("netlabctl delete pod --wait web", "delete", "pod web");
}

#[test]
fn help_is_also_a_word() {
    let words = ["netlabctl", "help", "get"].map(OsString::from);
    assert_eq!(familiar(&command(), &words), ["netlabctl", "get", "--help"]);
}

#[test]
fn a_command_keeps_its_own_flags_after_the_dashes() {
    let cli = reads("netlabctl run web -- ls --all -n x");
    let Command::Run(args) = cli.command else { panic!("not run") };
    assert_eq!(args.command, ["ls", "--all", "-n", "x"]);
    assert_eq!(cli.global.namespace, None);
}

#[test]
fn only_what_changes_a_kernel_is_explained() {
    for line in ["run web", "scale web 3", "delete pod web", "apply -f a", "proxy mode iptables"] {
        let line = format!("netlabctl {}", line.replace("scale web", "pod scale web"));
        assert!(reads(&line).command.is_explained(), "{line}");
    }
    for line in ["get pods", "logs web", "proxy mode", "network", "pod ls", "explain pod"] {
        assert!(!reads(&format!("netlabctl {line}")).command.is_explained(), "{line}");
    }
}
