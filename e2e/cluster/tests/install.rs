//! What an agent has installed on its node stays when the agent ends, but for the one reason: its `DaemonSet` goes.

use std::{fs, path::PathBuf};

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use vrfgate_cluster::{Pages, Process, free_port};

use crate::{
    accounts::NAMESPACE,
    kit::{Kit, create, delete, eventually, merge},
    node::Machine,
    suite::{Suite, Test, tests},
};

pub fn tests() -> Vec<Test> {
    tests![what_an_agent_has_installed_goes_with_its_daemon_set_and_for_no_other_reason]
}

const DAEMON_SET: &str = "installs";
const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "kindnet", "plugins": [{"type": "ptp"}, {"type": "portmap"}]}"#;

/// A machine whose container runtime looks into two directories.
struct Node<'a> {
    machine: &'a Machine,
}

impl Node<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.machine.home.path().join(name)
    }

    fn prepare(&self) {
        for directory in ["bin", "net.d"] {
            fs::create_dir_all(self.path(directory)).unwrap();
        }
        fs::write(self.path("net.d/10-kindnet.conflist"), LIST).unwrap();
        let plugin = "vrfgate CNI plugin 0.1.0 (CNI 1.0.0)";
        fs::write(self.path("plugin"), plugin).unwrap();
    }

    fn list(&self) -> String {
        fs::read_to_string(self.path("net.d/10-kindnet.conflist")).unwrap()
    }

    /// Whether the entry is there, and the plugin in use; nothing halfway is expected of an agent that has ended. A plugin that was
    /// in use once stays, marked, to let pods go.
    fn installed(&self) -> (bool, bool) {
        let is_marked = self.path("bin/.vrfgate.uninstalled").exists();
        let is_there = self.path("bin/vrfgate").exists();
        assert!(is_there || !is_marked, "a mark without its plugin");
        (self.list() != LIST, is_there && !is_marked)
    }

    /// Everything is there after an agent's end, and its last words say why.
    #[track_caller]
    fn is_left(&self, agent: &Process, why: &str) {
        let words = agent.last_words();
        let last = words.lines().last().unwrap_or_default();
        assert!(
            last.contains("the CNI plugin stays") && last.contains(why),
            "{words}"
        );
        assert_eq!(self.installed(), (true, true), "{words}");
    }

    /// Starts an agent, and waits until it has installed everything.
    async fn agent(&self, daemon_set: Option<&str>) -> Process {
        let port = free_port().unwrap();
        let mut flags = vec![
            format!("--metrics-addr=127.0.0.1:{port}"),
            format!("--cni-bin-dir={}", self.path("bin").display()),
            format!("--cni-conf-dir={}", self.path("net.d").display()),
            format!("--cni-plugin={}", self.path("plugin").display()),
            "--cni-chain=kindnet".to_owned(),
        ];
        flags.extend(daemon_set.map(|name| format!("--daemon-set={NAMESPACE}/{name}")));
        let agent = self.machine.agent_with("a", &flags);
        eventually("plugin and entry", async || match self.installed() {
            (true, true) => Ok(()),
            _ => Err(agent.last_words()),
        })
        .await;
        // Before it knows the cluster, it asks nobody. It serves pages from then on.
        eventually("the cluster", async || {
            let pages = Pages { port };
            pages.get("/readyz").ok_or_else(|| agent.last_words())
        })
        .await;
        agent
    }
}

async fn create_daemon_set(api: &Api<DaemonSet>) {
    let labels = json!({"app": DAEMON_SET});
    let daemon_set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": DAEMON_SET},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "agent", "image": "none"}]},
        }},
    });
    create(api, daemon_set).await;
}

/// Agents may look at the one `DaemonSet`.
async fn allow(suite: &Suite) {
    let roles: Api<Role> = Api::namespaced(suite.admin.clone(), NAMESPACE);
    let bindings: Api<RoleBinding> = Api::namespaced(suite.admin.clone(), NAMESPACE);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": DAEMON_SET},
        "rules": [{
            "apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": [DAEMON_SET],
            "verbs": ["get"],
        }],
    });
    create(&roles, role).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": DAEMON_SET},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": DAEMON_SET},
        "subjects": [{"kind": "ServiceAccount", "name": "vrfgate-agent", "namespace": NAMESPACE}],
    });
    let binding: RoleBinding = serde_json::from_value(binding).unwrap();
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
}

async fn what_an_agent_has_installed_goes_with_its_daemon_set_and_for_no_other_reason(
    suite: &Suite,
) {
    let kit = Kit::new(suite).await;
    let machine = Machine::new(&kit, "install").await;
    let node = Node { machine: &machine };
    let daemon_sets: Api<DaemonSet> = Api::namespaced(suite.admin.clone(), NAMESPACE);
    node.prepare();

    let mut agent = node.agent(Some("another")).await;
    agent.stop();
    node.is_left(&agent, "cannot get resource");

    allow(suite).await;
    create_daemon_set(&daemon_sets).await;
    let mut agent = node.agent(Some(DAEMON_SET)).await;
    agent.stop();
    node.is_left(&agent, "vrfgate-system/installs is there");

    let mut agent = node.agent(Some(DAEMON_SET)).await;
    suite.away_while(async || agent.stop()).await;
    node.is_left(&agent, "client error (Connect)");

    let hold = |finalizers: &[&str]| json!({"metadata": {"finalizers": finalizers}});
    merge(&daemon_sets, DAEMON_SET, hold(&["vrfgate.dev/test"])).await;
    let mut agent = node.agent(Some(DAEMON_SET)).await;
    delete(&daemon_sets, DAEMON_SET).await;
    agent.stop();
    assert_eq!(node.installed(), (false, false), "{}", agent.last_words());
    assert!(node.path("bin/vrfgate").exists(), "it lets pods go");
    merge(&daemon_sets, DAEMON_SET, hold(&[])).await;
    eventually("the end of the DaemonSet", async || {
        match daemon_sets.get_opt(DAEMON_SET).await.unwrap() {
            None => Ok(()),
            Some(there) => Err(there.metadata),
        }
    })
    .await;

    let mut agent = node.agent(None).await;
    agent.stop();
    node.is_left(&agent, "no --daemon-set was given");
    let mut agent = node.agent(Some(DAEMON_SET)).await;
    agent.stop();
    assert_eq!(node.installed(), (false, false), "{}", agent.last_words());

    let roles: Api<Role> = Api::namespaced(suite.admin.clone(), NAMESPACE);
    let bindings: Api<RoleBinding> = Api::namespaced(suite.admin.clone(), NAMESPACE);
    let now = DeleteParams::default();
    roles.delete(DAEMON_SET, &now).await.unwrap();
    bindings.delete(DAEMON_SET, &now).await.unwrap();
}
