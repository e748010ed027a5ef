//! `NetworkAttachmentDefinition`s that name the CNI plugin. They belong to their authors: `withdraw` only reports them.

use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use super::{all, some_of};

/// The plugin's `type` in a network configuration.
const PLUGIN: &str = "vrfgate";

/// Reports them in the log, and by an event for each. A failure is logged and otherwise ignored.
pub async fn report_networks(client: &Client, deadline: Instant) {
    let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
    let kind = ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions");
    let networks: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let what = "listing the NetworkAttachmentDefinitions that name the CNI plugin";
    let networks = match all(&networks, what, deadline).await {
        Ok(networks) => networks,
        Err(error) => {
            warn!("{error:#}: no matter, but new pods of such networks will not start");
            return;
        }
    };
    let ours: Vec<&DynamicObject> = networks.iter().filter(|one| names_plugin(one)).collect();
    if ours.is_empty() {
        return;
    }
    let names: Vec<String> = ours
        .iter()
        .map(|one| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any()))
        .collect();
    warn!(
        "NetworkAttachmentDefinitions still name the CNI plugin {PLUGIN}: {}. New pods of theirs will not start on nodes without \
         it: take it out of them",
        some_of(&names)
    );
    let reporter = Reporter {
        controller: "vrfgate-withdraw".to_owned(),
        instance: None,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let event = Event {
        type_: EventType::Warning,
        reason: "PluginUninstalled".to_owned(),
        note: Some(format!(
            "names the CNI plugin {PLUGIN}, which is uninstalled from the nodes: new pods of this network will not start; take \
             the plugin out of its configuration"
        )),
        action: "Uninstall".to_owned(),
        secondary: None,
    };
    for one in ours {
        if let Err(error) = recorder.publish(&event, &one.object_ref(&kind)).await {
            warn!("reporting it by an event: {error}");
            return;
        }
    }
}

/// A configuration is a text in the object, of one plugin or a list of them. A text that is none names no plugin.
fn names_plugin(network: &DynamicObject) -> bool {
    let config = network.data.pointer("/spec/config").and_then(Value::as_str);
    let Some(Ok(config)) = config.map(serde_json::from_str::<Value>) else {
        return false;
    };
    let is_plugin = |entry: &Value| entry["type"] == PLUGIN;
    let list = config["plugins"].as_array();
    is_plugin(&config) || list.is_some_and(|list| list.iter().any(is_plugin))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_plugin_is_found_alone_and_in_a_list_and_nowhere_else() {
        for (config, named) in [
            (json!(r#"{"type": "vrfgate"}"#), true),
            (
                json!(r#"{"plugins": [{"type": "bridge"}, {"type": "vrfgate"}]}"#),
                true,
            ),
            (json!(r#"{"name": "vrfgate", "type": "bridge"}"#), false),
            (json!(r#"{"plugins": {"type": "vrfgate"}}"#), false),
            (json!("vrfgate"), false),
            (json!(""), false),
            (json!(null), false),
        ] {
            let network = json!({"metadata": {"name": "n"}, "spec": {"config": config}});
            let network: DynamicObject = serde_json::from_value(network).unwrap();
            assert_eq!(names_plugin(&network), named, "{config}");
        }
    }
}
