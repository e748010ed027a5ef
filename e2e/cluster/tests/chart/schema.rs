//! Values that the chart refuses.

use vrfgate_cluster::Helm;

use super::{CHART, template};
use crate::suite::{Suite, Test, tests};

pub fn tests() -> Vec<Test> {
    tests![
        helm_lint_finds_nothing,
        a_value_that_is_misspelt_or_wrong_is_refused_with_its_path,
    ]
}

/// A setting, and what the refusal must name: the place, and the word or what it may be.
const REFUSED: &[(&str, &[&str])] = &[
    ("replicas=3", &["replicas"]),
    ("controler.replicas=3", &["controler"]),
    ("controller.replica=3", &["/controller", "replica"]),
    ("controller.replicas=-1", &["/controller/replicas"]),
    ("controller.replicas=\"two\"", &["/controller/replicas"]),
    ("controller.port=70000", &["/controller/port"]),
    ("controller.port=\"metrics\"", &["/controller/port"]),
    ("controller.address=\"localhost\"", &["/controller/address"]),
    (
        "controller.resources.limit={\"memory\":\"1Gi\"}",
        &["/controller/resources", "limit"],
    ),
    (
        "controller.resources.limits.memory=\"1 GB\"",
        &["/controller/resources/limits/memory"],
    ),
    (
        "controller.tolerations=[{\"operator\":\"exists\"}]",
        &["/controller/tolerations/0/operator"],
    ),
    (
        "controller.affinity={\"podAffinities\":{}}",
        &["/controller/affinity", "podAffinities"],
    ),
    (
        "controller.podDisruptionBudget.minAvailable=1",
        &["/controller/podDisruptionBudget", "minAvailable"],
    ),
    (
        "controller.topologySpreadConstraints=[{\"maxSkew\":0,\"topologyKey\":\"zone\",\"whenUnsatisfiable\":\"ScheduleAnyway\"}]",
        &["/controller/topologySpreadConstraints/0/maxSkew"],
    ),
    ("agent.steerMask=\"127\"", &["/agent/steerMask"]),
    ("agent.steerMask=127", &["/agent/steerMask"]),
    (
        "agent.acceptSharedPorts=\"yes\"",
        &["/agent/acceptSharedPorts"],
    ),
    ("agent.hostPid=true", &["/agent", "hostPid"]),
    ("agent.pods=true", &["/agent/pods"]),
    ("agent.cni.binDir=\"opt/cni/bin\"", &["/agent/cni/binDir"]),
    ("agent.cni.chain=\"cbr0\"", &["/agent/cni/chain"]),
    (
        "agent.cni.chain.networks=\"cbr0\"",
        &["/agent/cni/chain", "networks"],
    ),
    (
        "agent.updateStrategy.type=\"Recreate\"",
        &["/agent/updateStrategy/type"],
    ),
    // A second agent beside the first would want its port.
    (
        "agent.updateStrategy.rollingUpdate.maxSurge=1",
        &["/agent/updateStrategy/rollingUpdate"],
    ),
    (
        "agent.seccompProfile.type=\"runtime/default\"",
        &["/agent/seccompProfile/type"],
    ),
    (
        "agent.capabilities=[\"SYS_ADMIN\"]",
        &["/agent", "capabilities"],
    ),
    ("image.tag=1.0", &["/image/tag"]),
    ("image.digest=\"0123\"", &["/image/digest"]),
    ("image.pullPolicy=\"always\"", &["/image/pullPolicy"]),
    ("imagePullSecrets=[\"secret\"]", &["/imagePullSecrets/0"]),
    ("crds.keep=\"yes\"", &["/crds/keep"]),
    ("crds.install=\"false\"", &["/crds/install"]),
    ("uninstall.timeout=240", &["/uninstall/timeout"]),
    ("uninstall.timeout=\"4 minutes\"", &["/uninstall/timeout"]),
    (
        "podMonitor.intervall=\"10s\"",
        &["/podMonitor", "intervall"],
    ),
    ("serviceMonitor.enabled=1", &["/serviceMonitor/enabled"]),
    (
        "prometheusRule.runbookUrl=\"runbooks\"",
        &["/prometheusRule/runbookUrl"],
    ),
    (
        "dashboard.labels={\"grafana\":true}",
        &["/dashboard/labels/grafana"],
    ),
    (
        "networkPolicy.from=[{\"podSelectors\":{}}]",
        &["/networkPolicy/from/0", "podSelectors"],
    ),
    ("fullnameOverride=\"Vrfgate\"", &["/fullnameOverride"]),
    ("tests.enabled=true", &["/tests", "enabled"]),
    ("logLevel=\"\"", &["/logLevel"]),
];

async fn helm_lint_finds_nothing(_: &Suite) {
    let said = Helm::default().run(&["lint", "--strict", CHART]).unwrap();
    assert!(
        !said.contains("[WARNING]") && !said.contains("[ERROR]"),
        "{said}"
    );
}

async fn a_value_that_is_misspelt_or_wrong_is_refused_with_its_path(_: &Suite) {
    let mut wrong = Vec::new();
    for (setting, names) in REFUSED {
        match template(&["--set-json", setting]) {
            Ok(_) => wrong.push(format!("{setting} is accepted")),
            Err(error) => {
                let says = error.to_string();
                if !names.iter().all(|name| says.contains(name)) {
                    wrong.push(format!("{setting}: {names:?} aren't named in {says}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
