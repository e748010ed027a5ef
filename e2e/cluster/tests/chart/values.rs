//! Every documented value: it does something, and what it makes is valid to a real API server.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vrfgate_cluster::{apply, apply_dry};

use super::{by_id, read, template};
use crate::suite::{Suite, Test, tests};

pub fn tests() -> Vec<Test> {
    tests![
        what_the_chart_makes_by_default_is_valid_to_a_real_api_server,
        every_value_does_something_and_what_it_makes_is_valid_to_a_real_api_server,
    ]
}

/// The kinds of the Prometheus operator, without their schemas: the API server knows their names, and `made.rs` looks
/// at what is in them.
const MONITORING: &str = include_str!("monitoring.yaml");

/// Settings of values, as `--set-json` takes them; some do something only where others are set as well.
const SETTINGS: &[&[&str]] = &[
    &["nameOverride=\"gate\""],
    &["fullnameOverride=\"gate\""],
    &["commonLabels={\"team\":\"network\"}"],
    &["image.repository=\"registry.example:5000/vrfgate\""],
    &["image.tag=\"1.0\""],
    &["image.digest=\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""],
    &["image.pullPolicy=\"Always\""],
    &["imagePullSecrets=[{\"name\":\"registry\"}]"],
    &["crds.install=false"],
    &["crds.keep=false"],
    &["logLevel=\"debug\""],
    &["controller.replicas=1"],
    &["controller.replicas=3"],
    &["controller.address=\"[::]\""],
    &["controller.port=8081"],
    &["controller.leaseName=\"another\""],
    &["controller.resources={\"limits\":{\"cpu\":1,\"memory\":\"1Gi\"}}"],
    &["controller.podDisruptionBudget.enabled=false"],
    &["controller.podDisruptionBudget.maxUnavailable=\"50%\""],
    &[
        "controller.topologySpreadConstraints=[{\"maxSkew\":2,\"topologyKey\":\"topology.kubernetes.io/zone\",\"whenUnsatisfiable\":\"DoNotSchedule\"}]",
    ],
    &["controller.priorityClassName=\"system-node-critical\""],
    &["controller.nodeSelector={\"role\":\"infra\"}"],
    &[
        "controller.tolerations=[{\"key\":\"a\",\"operator\":\"Equal\",\"value\":\"b\",\"effect\":\"NoExecute\",\"tolerationSeconds\":5}]",
    ],
    &[
        "controller.affinity={\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Exists\"}]}]}}}",
    ],
    &["controller.podAnnotations={\"a\":\"b\"}"],
    &["controller.podLabels={\"a\":\"b\"}"],
    &["controller.serviceAccount.annotations={\"a\":\"b\"}"],
    &["agent.address=\"[::]\""],
    &["agent.address=\"192.0.2.1\""],
    &["agent.port=9819"],
    &["agent.steerMask=\"0xff0000\""],
    &["agent.acceptSharedPorts=true"],
    &["agent.pods.enabled=false"],
    &["agent.pods.netnsDir=\"/var/run/docker/netns\""],
    &["agent.cni.install=false"],
    &["agent.cni.binDir=\"/usr/libexec/cni\""],
    &["agent.cni.chain.network=\"cbr0\""],
    &[
        "agent.cni.chain.network=\"cbr0\"",
        "agent.cni.chain.config={\"vrf\":\"BLUE\",\"services\":[{\"name\":\"a\",\"protocol\":\"TCP\",\"port\":80}]}",
    ],
    &[
        "agent.cni.chain.network=\"cbr0\"",
        "agent.cni.confDir=\"/etc/kubernetes/cni/net.d\"",
    ],
    &["agent.hostPID=true"],
    &["agent.resources={\"requests\":{\"cpu\":\"50m\"}}"],
    &["agent.updateStrategy={\"type\":\"OnDelete\",\"rollingUpdate\":null}"],
    &["agent.terminationGracePeriodSeconds=30"],
    &["agent.seccompProfile={\"type\":\"Localhost\",\"localhostProfile\":\"vrfgate.json\"}"],
    &["agent.appArmorProfile={\"type\":\"Localhost\",\"localhostProfile\":\"vrfgate\"}"],
    &["agent.seLinuxOptions={\"type\":\"spc_t\"}"],
    &["agent.priorityClassName=\"system-cluster-critical\""],
    &["agent.nodeSelector={\"role\":\"edge\"}"],
    &["agent.tolerations=[]"],
    &[
        "agent.affinity={\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Exists\"}]}]}}}",
    ],
    &["agent.podAnnotations={\"a\":\"b\"}"],
    &["agent.podLabels={\"a\":\"b\"}"],
    &["agent.serviceAccount.annotations={\"a\":\"b\"}"],
    &["admissionPolicy.enabled=false"],
    &["uninstall.enabled=false"],
    &["uninstall.timeout=\"90s\""],
    &["podMonitor.enabled=true"],
    &["podMonitor.enabled=true", "podMonitor.interval=\"10s\""],
    &[
        "podMonitor.enabled=true",
        "podMonitor.labels={\"release\":\"prometheus\"}",
    ],
    &["podMonitor.enabled=true", "serviceMonitor.enabled=true"],
    &["serviceMonitor.enabled=true"],
    &[
        "serviceMonitor.enabled=true",
        "serviceMonitor.interval=\"10s\"",
    ],
    &[
        "serviceMonitor.enabled=true",
        "serviceMonitor.labels={\"release\":\"prometheus\"}",
    ],
    &["prometheusRule.enabled=true"],
    &[
        "prometheusRule.enabled=true",
        "prometheusRule.labels={\"release\":\"prometheus\"}",
    ],
    &[
        "prometheusRule.enabled=true",
        "prometheusRule.runbookUrl=\"https://runbooks.example/vrfgate\"",
    ],
    &["dashboard.enabled=true"],
    &[
        "dashboard.enabled=true",
        "dashboard.labels={\"dashboards\":\"yes\"}",
    ],
    &[
        "dashboard.enabled=true",
        "dashboard.annotations={\"folder\":\"network\"}",
    ],
    &["networkPolicy.enabled=true"],
    &[
        "networkPolicy.enabled=true",
        "networkPolicy.from=[{\"namespaceSelector\":{\"matchLabels\":{\"a\":\"b\"}}}]",
    ],
    &["tests.timeout=\"5m\""],
];

fn rendered(settings: &[&str]) -> BTreeMap<String, Value> {
    let arguments = settings.iter().flat_map(|setting| ["--set-json", setting]);
    let arguments: Vec<&str> = arguments.collect();
    by_id(&template(&arguments).unwrap_or_else(|error| panic!("{settings:?}: {error}")))
}

/// Asks the API server about objects, as one manifest.
async fn is_valid(suite: &Suite, objects: impl Iterator<Item = &Value>) -> Result<(), String> {
    let manifests: Vec<String> = objects.map(|object| format!("---\n{object}\n")).collect();
    let valid = apply_dry(&suite.admin, &manifests.concat()).await;
    valid.map_err(|error| format!("{error:#}"))
}

async fn what_the_chart_makes_by_default_is_valid_to_a_real_api_server(suite: &Suite) {
    let objects = rendered(&[]);
    is_valid(suite, objects.values()).await.unwrap();
    // That a field which the API server doesn't know would be found.
    let mut wrong = objects["DaemonSet vrfgate-system/vrfgate-agent"].clone();
    wrong["spec"]["template"]["spec"]["hostNetworks"] = Value::Bool(true);
    let says = is_valid(suite, std::iter::once(&wrong)).await.unwrap_err();
    assert!(says.contains("hostNetworks"), "{says}");
}

async fn every_value_does_something_and_what_it_makes_is_valid_to_a_real_api_server(suite: &Suite) {
    apply(&suite.admin, MONITORING).await.unwrap();
    let default = rendered(&[]);
    let mut wrong = Vec::new();
    for settings in SETTINGS {
        let (setting, others) = settings.split_last().unwrap();
        let before = if others.is_empty() {
            default.clone()
        } else {
            rendered(others)
        };
        let after = rendered(settings);
        if after == before {
            wrong.push(format!("{setting} changes nothing"));
        }
        // Unchanged objects are as valid as before.
        let new = after
            .iter()
            .filter(|(id, object)| default.get(*id) != Some(object));
        // Selectors of existing objects can't be changed; another release has other names.
        let new = new.filter(|(id, _)| {
            !setting.starts_with("nameOverride") || !(id.starts_with("Da") || id.starts_with("De"))
        });
        if let Err(error) = is_valid(suite, new.map(|(_, object)| object)).await {
            wrong.push(format!("{settings:?}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let tested: BTreeSet<&str> = SETTINGS
        .iter()
        .filter_map(|settings| Some(settings.last()?.split_once('=')?.0))
        .collect();
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let mut untested = Vec::new();
    find_untested("", &values, &tested, &mut untested);
    assert!(untested.is_empty(), "no setting tries {untested:?}");
}

/// The values that are neither tested themselves nor part of one that is.
fn find_untested(path: &str, value: &Value, tested: &BTreeSet<&str>, untested: &mut Vec<String>) {
    if tested.contains(path) {
        return;
    }
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                find_untested(&path, value, tested, untested);
            }
        }
        _ => untested.push(path.to_owned()),
    }
}
