// SPDX-License-Identifier: GPL-3.0-or-later
//! What Kubernetes knows and netlab does not carry out: such words are no slips of the pen.

/// A field that Kubernetes has and netlab has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsupported {
    /// What netlab has in its place.
    pub(super) instead: Option<&'static str>,
}

/// The field `field` of the type `definition`, if Kubernetes has it.
pub(super) fn field(definition: &str, field: &str) -> Option<Unsupported> {
    let fields: &[&str] = match definition {
        "PodSpec" => POD_SPEC,
        "ObjectMeta" => OBJECT_META,
        "Probe" => &["grpc", "terminationGracePeriodSeconds"],
        "HttpGetAction" => &["scheme"],
        "Resources" => &["requests", "claims"],
        "Limits" => &["ephemeral-storage"],
        "EnvVar" => &["valueFrom"],
        "ContainerPort" => &["hostPort", "hostIP"],
        "NodeSpec" => {
            &["podCIDR", "podCIDRs", "providerID", "taints", "configSource", "externalID"]
        }
        "NamespaceSpec" => &["finalizers"],
        _ => &[],
    };
    // Resources have open names in Kubernetes: `hugepages-2Mi`, `nvidia.com/gpu`.
    let resource =
        definition == "Limits" && (field.contains('/') || field.starts_with("hugepages-"));
    (fields.contains(&field) || resource).then(|| Unsupported { instead: instead(field) })
}

/// Whether Kubernetes, or a common extension of it, has this kind.
pub(super) fn is_kubernetes_kind(kind: &str) -> bool {
    KINDS.contains(&kind)
}

fn instead(field: &str) -> Option<&'static str> {
    Some(match field {
        "image" => "a pod runs `command` in the folder that `rootfs` names, not in an image",
        "initContainers" => "run its steps in `command`, before the program",
        "valueFrom" => "write the value itself, as `value`",
        "requests" => "nothing is reserved; `limits` are kept",
        "startupProbe" => "a `livenessProbe` with `initialDelaySeconds` does its work",
        "grpc" => "use `tcpSocket`, `httpGet` or `exec`",
        "scheme" => "probes speak plain HTTP",
        "nodeSelector" | "affinity" => "name the node in `nodeName`",
        "generateName" => "write a `name`",
        _ => return None,
    })
}

/// Of a pod and of its one container, which are one in netlab.
const POD_SPEC: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "envFrom",
    "ephemeralContainers",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostnameOverride",
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "initContainers",
    "lifecycle",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resizePolicy",
    "resourceClaims",
    "restartPolicyRules",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tolerations",
    "topologySpreadConstraints",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "volumes",
];

const OBJECT_META: &[&str] =
    &["finalizers", "generateName", "managedFields", "ownerReferences", "selfLink"];

const KINDS: &[&str] = &[
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "Endpoints",
    "Gateway",
    "HTTPRoute",
    "HorizontalPodAutoscaler",
    "Ingress",
    "IngressClass",
    "Job",
    "LimitRange",
    "NetworkPolicy",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "PodTemplate",
    "PriorityClass",
    "ReplicaSet",
    "ReplicationController",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "Secret",
    "ServiceAccount",
    "StatefulSet",
    "StorageClass",
];
