// SPDX-License-Identifier: GPL-3.0-or-later
//! More and fewer pods of one name by `netlabctl pod scale`.

use netlab_tests::Lab;

fn names(lab: &Lab) -> Vec<String> {
    let listed = lab.ctl(&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]).ok();
    let mut names: Vec<_> = listed.split_whitespace().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn pods_become_more_and_fewer_as_the_first_of_them_is() {
    let lab = Lab::new("scale");
    lab.ctl(&["pod", "run", "web", "--replicas=2", "-l", "app=shop", "--env=A=7", "--node=n1"])
        .ok();
    let told = lab.ctl(&["pod", "scale", "web", "4"]).ok();
    assert!(told.contains("pod/web-2 created\n") && told.contains("pod/web-3 created\n"), "{told}");
    assert!(told.ends_with("pod/web scaled\n"), "{told}");
    assert_eq!(names(&lab), ["web-0", "web-1", "web-2", "web-3"]);
    let made = lab.pod("web-3");
    assert_eq!(made["metadata"]["labels"]["app"], "shop");
    assert_eq!(lab.ctl(&["exec", "web-3", "--", "sh", "-c", "echo $A"]).ok().trim(), "7");
    assert_ne!(lab.pod_ips("web-3"), lab.pod_ips("web-0"));
    lab.ctl(&["delete", "pod", "web-1", "--now"]).ok();
    let told = lab.ctl(&["scale", "pod/web", "--replicas=3"]).ok();
    assert!(told.contains("pod \"web-3\" deleted") && told.contains("pod/web-1 created"), "{told}");
    assert_eq!(names(&lab), ["web-0", "web-1", "web-2"]);
    assert!(!lab.pod_netns("web-3").exists(), "it returns when it is gone");
    assert_eq!(lab.ctl(&["pod", "scale", "web", "3"]).ok(), "pod/web scaled\n");
    let single = lab.ctl(&["pod", "scale", "web-0", "3"]).fails(3);
    assert!(single.contains("`netlabctl pod scale web N`"), "{single}");
    let nobody = lab.ctl(&["pod", "scale", "db", "3"]).fails(3);
    assert!(nobody.contains("pod run db --replicas 3"), "{nobody}");
    lab.ctl(&["pod", "scale", "web", "0"]).ok();
    assert_eq!(names(&lab), [""; 0]);
}
