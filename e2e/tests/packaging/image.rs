//! The container image: its contents, and that it needs nothing else.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{VERSION, file_in, files_below, output, should_load_nothing, unpack};

/// The image as a registry's client sees it, and its files as a container would.
struct Image {
    home: TempDir,
    /// Its metadata in the layout.
    descriptor: Value,
    config: Value,
}

impl Image {
    #[track_caller]
    fn unpacked() -> Self {
        let home = tempfile::tempdir().unwrap();
        unpack(&file_in("IMAGE"), home.path());
        let mut image = Self {
            home,
            descriptor: Value::Null,
            config: Value::Null,
        };
        let index = read(&image.home.path().join("index.json"));
        image.descriptor = index["manifests"][0].clone();
        let manifest = read(&image.blob(&image.descriptor));
        image.config = read(&image.blob(&manifest["config"]));
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1, "{manifest:#}");
        fs::create_dir(image.root()).unwrap();
        unpack(&image.blob(&layers[0]), &image.root());
        image
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap();
        self.home
            .path()
            .join("blobs")
            .join(digest.replace(':', "/"))
    }

    /// A program of the image, with the image's files only.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(self.root())
            .arg(program)
            .env_clear()
            // Where chroot itself is.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}

#[track_caller]
fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_image_holds_two_programs_and_the_licences_and_nothing_else() {
    let image = Image::unpacked();
    let expected = [
        "/licences/LICENSE-APACHE",
        "/licences/LICENSE-GPL-2.0",
        "/licences/LICENSE-MIT",
        "/licences/third-party.txt",
        "/vrfgate",
        "/vrfgate-cni",
    ];
    assert_eq!(
        files_below(&image.root()),
        BTreeSet::from(expected.map(str::to_owned))
    );
    let licences = fs::read_to_string(image.root().join("licences/third-party.txt")).unwrap();
    for part in ["* kube ", "* ring ", "* aya ", "tokio "] {
        assert!(licences.contains(part), "no licence of {part}");
    }
    let size = |path: &Path| fs::metadata(path).unwrap().len() / 1024;
    println!(
        "image: {} KiB; vrfgate {} KiB, vrfgate-cni {} KiB",
        size(&file_in("IMAGE")),
        size(&image.root().join("vrfgate")),
        size(&image.root().join("vrfgate-cni"))
    );
}

#[test]
fn the_programs_run_in_an_empty_root_and_tell_the_version() {
    let image = Image::unpacked();
    for (program, says) in [
        ("/vrfgate", format!("vrfgate {VERSION}\n")),
        (
            "/vrfgate-cni",
            format!("vrfgate CNI plugin {VERSION} (CNI "),
        ),
    ] {
        should_load_nothing(&image.root().join(&program[1..]));
        let said = output(image.command(program).arg("--version"));
        assert!(said.starts_with(&says), "{program}: {said}");
    }
}

#[test]
fn the_image_starts_vrfgate_as_nobody_and_says_what_it_is() {
    let Image {
        descriptor, config, ..
    } = Image::unpacked();
    let runs = &config["config"];
    assert_eq!(runs["Entrypoint"], serde_json::json!(["/vrfgate"]));
    assert_eq!(runs["User"], "65534:65534");
    assert_eq!(config["os"], "linux");
    let labels = &runs["Labels"];
    let label = |name: &str| {
        let value = &labels[format!("org.opencontainers.image.{name}")];
        value.as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(label("version"), VERSION);
    assert!(
        label("licenses").contains("MIT OR Apache-2.0"),
        "{labels:#}"
    );
    assert_eq!(label("revision").len(), 40, "{labels:#}");
    // What the chart pulls is what a runtime calls it that has loaded the file.
    let values = include_str!("../../../charts/vrfgate/values.yaml");
    let repository = values
        .lines()
        .find_map(|line| line.strip_prefix("  repository: "))
        .unwrap();
    assert_eq!(
        descriptor["annotations"]["io.containerd.image.name"],
        format!("{repository}:{VERSION}")
    );
}

/// Some certificate, in PEM and that in base64: without one, the system's are looked for, and an image has none.
const AUTHORITY: &str = "\
    LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJuRENDQVVLZ0F3SUJBZ0lVQkpneCtWK2ZwWkh0WUlXbFhGSFdNVmM5\
    TjJNd0NnWUlLb1pJemowRUF3SXcKRnpFVk1CTUdBMVVFQXd3TWEzVmlaUzVsZUdGdGNHeGxNQjRYRFRJMk1URXlOekF3TURV\
    ME9Gb1hEVEkyTVRFegpNREF3TURVME9Gb3dGekVWTUJNR0ExVUVBd3dNYTNWaVpTNWxlR0Z0Y0d4bE1Ga3dFd1lIS29aSXpq\
    MENBUVlJCktvWkl6ajBEQVFjRFFnQUVmUFQ1ZWJPUUxFbkwxQ0NXbjhzSlpuZlRqMFB0Wk9lTkZlMDYzQkpKdkcwNjV0clEK\
    VXg0SzVKZ3B0NW1zYXNpWndMZTNtSXBrbVZuOWtwRndNLy8wRDZOc01Hb3dIUVlEVlIwT0JCWUVGS1gvNEJPWQo2UmtpRW9i\
    UEpsMG10Q0FPSDR4MU1COEdBMVVkSXdRWU1CYUFGS1gvNEJPWTZSa2lFb2JQSmwwbXRDQU9INHgxCk1BOEdBMVVkRXdFQi93\
    UUZNQU1CQWY4d0Z3WURWUjBSQkJBd0RvSU1hM1ZpWlM1bGVHRnRjR3hsTUFvR0NDcUcKU000OUJBTUNBMGdBTUVVQ0lRREQ2\
    V20yWktYakM1QTN1RnlZY1ZHNVpITE5RMFRaem41OHA5UXM0UWdYaHdJZwpjeDJiK05wWGZYazY0MU9BaXNIejRxZUNBMExn\
    YU94WEJUYkd6Wm1NdVdZPQotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS0tCg==";

/// There are no modules for name look-ups in an image that has no libraries; a kubeconfig may name a host all the same.
#[test]
fn names_of_hosts_are_looked_up_in_the_files_that_a_kubelet_mounts() {
    let image = Image::unpacked();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let etc = image.root().join("etc");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("hosts"), "127.0.0.1 kube.example\n").unwrap();
    fs::write(
        etc.join("kubeconfig"),
        format!(
            "{{apiVersion: v1, kind: Config, current-context: c, \
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}], users: [{{name: u, user: {{token: t}}}}], \
             clusters: [{{name: c, cluster: {{server: 'http://kube.example:{port}', \
             certificate-authority-data: {AUTHORITY}}}}}]}}"
        ),
    )
    .unwrap();
    let asked = Arc::new(AtomicBool::new(false));
    thread::spawn({
        let asked = asked.clone();
        move || {
            for connection in server.incoming() {
                asked.store(connection.is_ok(), Ordering::SeqCst);
                // The other side hung up, which is not under test.
            }
        }
    });

    let ended = image
        .command("/vrfgate")
        .args(["check-nodes", "--timeout=1s"])
        .env("KUBECONFIG", "/etc/kubeconfig")
        .output()
        .unwrap();

    assert!(!ended.status.success(), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(asked.load(Ordering::SeqCst), "nobody came: {said}");
}

#[test]
fn the_same_sources_make_the_same_bytes() {
    let image = file_in("IMAGE");
    let before = fs::read(&image).unwrap();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/packaging");
    output(&mut Command::new(tools.join("image.sh")));
    assert!(fs::read(&image).unwrap() == before, "another image");
}
