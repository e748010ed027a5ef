//! Parts of the chart that are made from other files, or that name parts of them: both agree.

use std::{collections::BTreeSet, env, fs, process::Command};

use serde_json::{Value, json};
use vrfgate_operator::api::crd_yaml;

use super::{by_id, objects, read, template};
use crate::suite::{Suite, Test, tests};

pub fn tests() -> Vec<Test> {
    tests![
        the_charts_crds_are_those_that_vrfgate_prints,
        the_charts_readme_is_what_its_values_say,
        the_charts_version_is_that_of_the_programs,
        the_agent_has_the_capabilities_that_are_listed_and_no_others,
        the_pods_that_need_nothing_have_nothing,
        the_agent_sees_network_namespaces_by_each_path_that_a_runtime_may_give,
        alerts_and_dashboard_speak_of_metrics_that_there_are,
        every_alert_leads_to_a_section_of_the_readme,
    ]
}

async fn the_charts_crds_are_those_that_vrfgate_prints(_: &Suite) {
    let printed = crd_yaml().unwrap();
    assert!(
        read("files/crds.yaml") == printed,
        "vrfgate crd >charts/vrfgate/files/crds.yaml"
    );
    let rendered = by_id(&template(&[]).unwrap());
    for definition in objects(&printed) {
        let id = super::id(&definition);
        let rendered = &rendered[&id];
        assert_eq!(
            as_numbers(&rendered["spec"]),
            as_numbers(&definition["spec"]),
            "{id}"
        );
        assert_eq!(
            rendered["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
    }
    let let_go = by_id(&template(&["--set", "crds.keep=false"]).unwrap());
    let annotations =
        &let_go["CustomResourceDefinition vrfleaks.vrfgate.dev"]["metadata"]["annotations"];
    assert!(annotations["helm.sh/resource-policy"].is_null());
}

/// Helm reads every number as a floating one.
fn as_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(as_numbers).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), as_numbers(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

async fn the_charts_readme_is_what_its_values_say(_: &Suite) {
    let program = env::var_os("HELM_DOCS").unwrap_or_else(|| "helm-docs".into());
    let made = tempfile::tempdir().unwrap();
    for name in ["Chart.yaml", "values.yaml", "README.md.gotmpl"] {
        fs::copy(super::file(name), made.path().join(name)).unwrap();
    }
    let status = Command::new(&program)
        .arg("--chart-search-root")
        .arg(made.path())
        .args(["--log-level", "warning"])
        .status();
    let status = status
        .unwrap_or_else(|error| panic!("{}: {error}; see e2e/tools/helm.sh", program.display()));
    assert!(status.success(), "helm-docs: {status}");
    let wanted = fs::read_to_string(made.path().join("README.md")).unwrap();
    assert!(read("README.md") == wanted, "make chart-readme");
    assert!(
        wanted.contains("| `agent.steerMask` | `\"0x7f\"` |"),
        "{wanted}"
    );
    let undescribed: Vec<&str> = wanted
        .lines()
        .filter(|line| line.starts_with("| `") && line.ends_with("|  |"))
        .collect();
    assert!(undescribed.is_empty(), "without a word: {undescribed:?}");
}

async fn the_charts_version_is_that_of_the_programs(_: &Suite) {
    let chart: Value = serde_saphyr::from_str(&read("Chart.yaml")).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    let images = chart["annotations"]["artifacthub.io/images"].as_str();
    let image = format!("ghcr.io/vrfgate/vrfgate:{}", env!("CARGO_PKG_VERSION"));
    assert!(images.unwrap().contains(&image), "{images:?}");
    let objects = by_id(&template(&[]).unwrap());
    let agent = &objects["DaemonSet vrfgate-system/vrfgate-agent"]["spec"]["template"]["spec"];
    assert_eq!(agent["containers"][0]["image"], image);
}

async fn the_agent_has_the_capabilities_that_are_listed_and_no_others(_: &Suite) {
    for (setting, capabilities) in [
        ("logLevel=info", &["NET_ADMIN", "SYS_ADMIN"][..]),
        ("agent.pods.enabled=false", &["NET_ADMIN", "BPF", "PERFMON"]),
        (
            "agent.hostPID=true",
            &["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"],
        ),
    ] {
        let objects = by_id(&template(&["--set", setting]).unwrap());
        let pod = &objects["DaemonSet vrfgate-system/vrfgate-agent"]["spec"]["template"]["spec"];
        let context = &pod["containers"][0]["securityContext"];
        assert_eq!(context["privileged"], false, "{setting}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{setting}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{setting}");
        assert_eq!(
            context["capabilities"],
            json!({"drop": ["ALL"], "add": capabilities}),
            "{setting}"
        );
    }
}

async fn the_pods_that_need_nothing_have_nothing(_: &Suite) {
    let objects = by_id(&template(&[]).unwrap());
    for (id, path) in [
        (
            "Deployment vrfgate-system/vrfgate-controller",
            "/spec/template/spec",
        ),
        ("Job vrfgate-system/vrfgate-withdraw", "/spec/template/spec"),
        ("Pod vrfgate-system/vrfgate-test-nodes", "/spec"),
    ] {
        let pod = objects[id].pointer(path).unwrap();
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{id}");
        assert_eq!(pod["securityContext"]["runAsUser"], 65534, "{id}");
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(
            pod["containers"][0]["securityContext"],
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            }),
            "{id}"
        );
        assert!(
            pod["volumes"].is_null() && pod["hostNetwork"].is_null(),
            "{id}"
        );
    }
}

/// Every word in a text that a metric of vrfgate could be.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("vrfgate_"))
        .collect()
}

/// `/var/run` is another name of `/run` on the node, and not in a container.
async fn the_agent_sees_network_namespaces_by_each_path_that_a_runtime_may_give(_: &Suite) {
    for (directory, seen_at) in [
        ("/run/netns", &["/run/netns", "/var/run/netns"][..]),
        ("/var/run/netns", &["/run/netns", "/var/run/netns"]),
        (
            "/var/run/docker/netns",
            &["/run/docker/netns", "/var/run/docker/netns"],
        ),
        ("/srv/netns", &["/srv/netns"]),
    ] {
        let setting = format!("agent.pods.netnsDir={directory}");
        let rendered = by_id(&template(&["--set", &setting]).unwrap());
        let agent = &rendered["DaemonSet vrfgate-system/vrfgate-agent"]["spec"]["template"]["spec"];
        let volumes = agent["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == "netns");
        assert_eq!(volume.unwrap()["hostPath"]["path"], directory);
        let mounts = agent["containers"][0]["volumeMounts"].as_array().unwrap();
        let mounts = mounts.iter().filter(|mount| mount["name"] == "netns");
        let paths: BTreeSet<&str> = mounts
            .map(|mount| {
                assert_eq!(mount["mountPropagation"], "HostToContainer", "{mount}");
                mount["mountPath"].as_str().unwrap()
            })
            .collect();
        let wanted: BTreeSet<&str> = seen_at.iter().copied().collect();
        assert_eq!(paths, wanted, "{directory}");
    }
}

async fn alerts_and_dashboard_speak_of_metrics_that_there_are(_: &Suite) {
    // Pages of metrics leave out those that have no value yet, such as the errors, so the programs' text is asked.
    let sources = [
        (
            "vrfgate_controller_",
            include_str!("../../../../operator/src/controller/metrics.rs"),
        ),
        (
            "vrfgate_agent_",
            include_str!("../../../../operator/src/agent/host.rs"),
        ),
    ];
    let is_there = |name: &str| {
        sources.iter().any(|(prefix, source)| {
            let name = name.strip_prefix(prefix).unwrap_or_default();
            let base = ["_total", "_bucket", "_count", "_sum"]
                .iter()
                .find_map(|ending| name.strip_suffix(ending))
                .unwrap_or(name);
            let registered = format!("register(\"{base}\",");
            source
                .split_whitespace()
                .collect::<String>()
                .contains(&registered)
        })
    };
    for name in ["files/alerts.yaml", "files/dashboard.json"] {
        let text = read(name);
        let metrics = metrics_in(&text);
        assert!(metrics.len() >= 6, "{metrics:?}");
        let missing: Vec<&&str> = metrics.iter().filter(|name| !is_there(name)).collect();
        assert!(missing.is_empty(), "{name}: there is no {missing:?}");
    }
    assert!(!is_there("vrfgate_agent_no_such") && !is_there("vrfgate_controller_no_such"));
    let dashboard: Value = serde_json::from_str(&read("files/dashboard.json")).unwrap();
    assert_eq!(dashboard["uid"], "vrfgate");
}

async fn every_alert_leads_to_a_section_of_the_readme(_: &Suite) {
    let readme = read("README.md");
    let objects = by_id(&template(&["--set", "prometheusRule.enabled=true"]).unwrap());
    let rules = &objects["PrometheusRule vrfgate-system/vrfgate"]["spec"]["groups"][0]["rules"];
    let rules = rules.as_array().unwrap();
    assert!(rules.len() >= 5, "{rules:?}");
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(readme.contains(&format!("\n### {name}\n")), "{name}");
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap();
        // As GitHub makes anchors of headings.
        assert!(
            runbook.ends_with(&format!("#{}", name.to_lowercase())),
            "{runbook}"
        );
        assert!(!rule["annotations"]["summary"].as_str().unwrap().is_empty());
        assert!(
            rule["for"].is_string() && rule["labels"]["severity"].is_string(),
            "{rule}"
        );
    }
}
