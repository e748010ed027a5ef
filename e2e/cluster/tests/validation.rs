//! What a real API server refuses, `vrfgate run -f` refuses, and the other way round.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::Request;
use kube::{
    Api, Client, Error,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use vrfgate_operator::api::{VrfLeak, parse_cluster, read_leaks};

use crate::suite::{Suite, Test, tests};

#[path = "../../../operator/src/api/tests/cases.rs"]
mod cases;

pub fn tests() -> Vec<Test> {
    tests![
        bad_leaks_are_refused_by_the_api_server_as_in_files,
        what_only_a_cluster_gives_a_meaning_to_is_refused_by_api_server_and_controller_alike,
        what_the_api_server_cannot_tell_is_refused_in_files,
        good_leaks_are_accepted_by_the_api_server_as_in_files,
        the_examples_of_the_documents_are_accepted,
        nothing_stands_beside_a_reference_to_a_service,
        the_vrf_of_a_leak_cannot_be_changed,
        lists_are_limited_by_the_api_server_too,
        columns_say_what_is_known_of_a_leak,
    ]
}

/// The object of a row.
pub fn leak(spec: &str) -> String {
    format!(
        "apiVersion: vrfgate.dev/v1alpha1\nkind: VrfLeak\nmetadata: {{name: blue}}\nspec: {{{spec}}}\n"
    )
}

/// What `kubectl create --dry-run=server` would say.
async fn create(admin: &Client, yaml: &str) -> Result<Value, String> {
    let object: Value =
        serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
    let request = Request::post(
        "/apis/vrfgate.dev/v1alpha1/vrfleaks?dryRun=All&fieldValidation=Strict&fieldManager=test",
    )
    .header("content-type", "application/json")
    .body(object.to_string().into_bytes())
    .unwrap();
    admin
        .request(request)
        .await
        .map_err(|error| error.to_string())
}

async fn bad_leaks_are_refused_by_the_api_server_as_in_files(suite: &Suite) {
    let mut accepted = Vec::new();
    let mut cases = 0;
    for cases::Row(spec, path, _) in cases::REFUSED_BY_THE_API_SERVER.iter().copied().flatten() {
        cases += 1;
        let text = leak(spec);
        assert!(
            read_leaks("file", &text).is_err(),
            "{text} is right in a file"
        );
        let field = path.rsplit(['.', '[']).find(|step| !step.ends_with(']'));
        match create(&suite.admin, &text).await {
            Ok(_) => accepted.push(format!("{spec} is accepted")),
            Err(says) if field.is_some_and(|field| says.contains(field)) => {}
            Err(says) => accepted.push(format!("{spec}: {path} isn't named in {says}")),
        }
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
    assert!(cases >= 40, "{cases} cases");
}

async fn what_only_a_cluster_gives_a_meaning_to_is_refused_by_api_server_and_controller_alike(
    suite: &Suite,
) {
    let mut accepted = Vec::new();
    for cases::Row(spec, path, _) in cases::REFUSED_IN_A_CLUSTER.iter().copied().flatten() {
        let text = leak(spec);
        let object: VrfLeak = serde_saphyr::from_str(&text).unwrap();
        assert!(
            parse_cluster(&object).is_err(),
            "{text} is right for the controller"
        );
        let field = path.rsplit(['.', '[']).find(|step| !step.ends_with(']'));
        match create(&suite.admin, &text).await {
            Ok(_) => accepted.push(format!("{spec} is accepted")),
            Err(says) if field.is_some_and(|field| says.contains(field)) => {}
            Err(says) => accepted.push(format!("{spec}: {path} isn't named in {says}")),
        }
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
    for spec in cases::ACCEPTED_IN_A_CLUSTER {
        let stored = create(&suite.admin, &leak(spec))
            .await
            .unwrap_or_else(|error| panic!("{spec}: {error}"));
        let stored: VrfLeak = serde_json::from_value(stored).unwrap();
        if let Err(errors) = parse_cluster(&stored) {
            panic!("{spec}: {errors:?}");
        }
    }
}

async fn what_the_api_server_cannot_tell_is_refused_in_files(suite: &Suite) {
    for cases::Row(spec, path, says) in cases::BEYOND_THE_API_SERVER.iter().copied().flatten() {
        let stored = create(&suite.admin, &leak(spec))
            .await
            .unwrap_or_else(|error| panic!("{spec} is refused, so move it to the others: {error}"));
        let stored: VrfLeak = serde_json::from_value(stored).unwrap();
        // The controller reads it with this, and reports what it says.
        let errors = parse_cluster(&stored).unwrap_err();
        assert!(
            errors
                .iter()
                .any(|error| error.path.to_string() == *path && error.message.contains(says)),
            "{spec}: {errors:?}"
        );
    }
}

async fn good_leaks_are_accepted_by_the_api_server_as_in_files(suite: &Suite) {
    for spec in cases::ACCEPTED {
        let text = leak(spec);
        if let Err(errors) = read_leaks("file", &text) {
            panic!("{spec}: {errors:?}");
        }
        let stored = create(&suite.admin, &text)
            .await
            .unwrap_or_else(|error| panic!("{spec}: {error}"));
        let stored: VrfLeak = serde_json::from_value(stored).unwrap();
        if let Err(errors) = parse_cluster(&stored) {
            panic!("{spec}: {errors:?}");
        }
    }
}

/// `README.md` and the pages of `docs`.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    documents
}

/// The objects in a text: from `apiVersion` to the next prompt or fence.
fn examples(text: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("apiVersion: vrfgate.dev/") {
            let rest = lines
                .by_ref()
                .take_while(|line| !line.starts_with('$') && !line.starts_with("```"));
            let lines: Vec<&str> = std::iter::once(line).chain(rest).collect();
            examples.push(lines.join("\n"));
        }
    }
    examples
}

async fn the_examples_of_the_documents_are_accepted(suite: &Suite) {
    let mut tried = 0;
    for document in documents() {
        for example in examples(&fs::read_to_string(&document).unwrap()) {
            if let Err(error) = create(&suite.admin, &example).await {
                panic!("{}: {example}\n{error}", document.display());
            }
            tried += 1;
        }
    }
    assert!(tried >= 2, "{tried}");
}

async fn nothing_stands_beside_a_reference_to_a_service(suite: &Suite) {
    for (spec, says) in [
        (
            "vrf: BLUE, services: [{name: web, protocol: TCP, serviceRef: {namespace: web, name: b}}]",
            "protocol",
        ),
        (
            "vrf: BLUE, services: [{name: web, addresses: [192.0.2.1/32], serviceRef: {namespace: web, name: b}}]",
            "addresses",
        ),
        (
            "vrf: BLUE, services: [{name: web, serviceRef: {namespace: Web, name: b}}]",
            "serviceRef.namespace",
        ),
        (
            "vrf: BLUE, services: [{name: web, serviceRef: {namespace: web}}]",
            "serviceRef.name",
        ),
    ] {
        let error = create(&suite.admin, &leak(spec)).await.unwrap_err();
        assert!(error.contains(says), "{spec}: {error}");
    }
}

async fn the_vrf_of_a_leak_cannot_be_changed(suite: &Suite) {
    let api: Api<VrfLeak> = Api::all(suite.admin.clone());
    let first: VrfLeak = serde_saphyr::from_str(&leak("vrf: BLUE")).unwrap();
    api.create(&PostParams::default(), &first).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"vrf": "RED"}}));
    let refused = api.patch("blue", &PatchParams::default(), &patch).await;
    let Err(Error::Api(status)) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        status.message.contains("spec.vrf") && status.message.contains("can't be changed"),
        "{status:?}"
    );
    let patch = Patch::Merge(json!({"spec": {"mode": "Audit"}}));
    api.patch("blue", &PatchParams::default(), &patch)
        .await
        .unwrap();
    api.delete("blue", &DeleteParams::default()).await.unwrap();
}

async fn lists_are_limited_by_the_api_server_too(suite: &Suite) {
    let prefixes = |count: usize| {
        let prefixes: Vec<String> = (0..count)
            .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256))
            .collect();
        prefixes.join(", ")
    };
    let service = |lists: String| {
        format!("vrf: BLUE, services: [{{name: a, protocol: TCP, port: 1, {lists}}}]")
    };
    let services = |count: usize| {
        let services: Vec<String> = (1..=count)
            .map(|n| format!("{{name: s{n}, protocol: TCP, port: {n}, addresses: [192.0.2.1/32]}}"))
            .collect();
        format!("vrf: BLUE, services: [{}]", services.join(", "))
    };
    let addresses = |count| service(format!("addresses: [{}]", prefixes(count)));
    let sources = |count| {
        service(format!(
            "addresses: [192.0.2.1/32], sources: [{}]",
            prefixes(count)
        ))
    };
    for (most, too_many, field) in [
        (services(256), services(257), "spec.services"),
        (addresses(64), addresses(65), "spec.services[0].addresses"),
        (sources(256), sources(257), "spec.services[0].sources"),
    ] {
        create(&suite.admin, &leak(&most)).await.unwrap();
        let error = create(&suite.admin, &leak(&too_many)).await.unwrap_err();
        assert!(error.contains(field), "{error}");
    }
}

async fn columns_say_what_is_known_of_a_leak(suite: &Suite) {
    let api: Api<VrfLeak> = Api::all(suite.admin.clone());
    let first: VrfLeak = serde_saphyr::from_str(&leak("vrf: BLUE")).unwrap();
    api.create(&PostParams::default(), &first).await.unwrap();
    let status = json!({"status": {
        "services": 2,
        "nodes": {"summary": "1/3", "selected": 3, "inForce": 1, "waiting": 1, "failed": 0, "unreported": 1},
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "Waiting", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }});
    api.patch_status("blue", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let request = Request::get("/apis/vrfgate.dev/v1alpha1/vrfleaks")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = suite.admin.request(request).await.unwrap();
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(
        columns,
        ["Name", "VRF", "MODE", "SERVICES", "NODES", "READY", "AGE"]
    );
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(
        cells[..6],
        [
            json!("blue"),
            json!("BLUE"),
            json!("Enforce"),
            json!(2),
            json!("1/3"),
            json!("False")
        ]
    );
    api.delete("blue", &DeleteParams::default()).await.unwrap();
}
