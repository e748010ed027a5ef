//! etcd and kube-apiserver, started, stopped and started again; controllers and a scheduler, if need be.

use std::{
    env,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    API_SERVICE, Identity,
    pki::{self, Pki},
    process::Process,
};

/// How long a program may take until it answers. Machines that build at the same time are slow.
const TIMEOUT: Duration = Duration::from_mins(3);

/// Another process may take a free port before etcd or the API server do. So often, others are tried.
const TRIES: u32 = 5;

/// A control plane at work. Dropping it ends it and removes all it knew.
pub struct ControlPlane {
    // Dropped in this order: the API server waits for etcd when it ends.
    controllers: Vec<Process>,
    api_server: Option<Process>,
    etcd: Process,
    etcd_port: u16,
    port: u16,
    kind: Kind,
    pki: Pki,
    admin: Identity,
    home: TempDir,
}

/// What a control plane is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An API server that stores objects, without controllers that act on them.
    Storage,
    /// Kubernetes: what is deployed gets pods, and pods get nodes and the tokens of their accounts.
    Whole,
}

impl ControlPlane {
    /// Starts the programs named by `ETCD` and `KUBE_APISERVER`, or else those on PATH, and waits until
    /// they are ready.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_kind(Kind::Storage)
    }

    /// As [`ControlPlane::start`], and kube-controller-manager and kube-scheduler, by `KUBE_CONTROLLER_MANAGER` and
    /// `KUBE_SCHEDULER`.
    pub fn start_whole() -> anyhow::Result<Self> {
        let mut control_plane = Self::start_kind(Kind::Whole)?;
        let kubeconfig = control_plane.write_kubeconfig("controllers", &control_plane.admin())?;
        for start in [start_controller_manager, start_scheduler] {
            let process = start(control_plane.home.path(), &kubeconfig)?;
            control_plane.controllers.push(process);
        }
        Ok(control_plane)
    }

    fn start_kind(kind: Kind) -> anyhow::Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("vrfgate-cluster-")
            .tempdir()
            .context("making a directory for the control plane")?;
        let pki = Pki::new()?;
        let server = pki.server()?;
        pki::write(home.path(), "ca.crt", &pki.authority())?;
        pki::write(home.path(), "server.crt", &server.certificate)?;
        pki::write(home.path(), "server.key", &server.key)?;
        pki::write_token_keys(home.path(), "tokens")?;
        let admin = pki.user("admin", "system:masters")?;
        let (etcd, etcd_port) = start_somewhere(|port| start_etcd(home.path(), port))?;
        let (api_server, port) =
            start_somewhere(|port| start_api_server(home.path(), port, etcd_port, kind))?;
        let mut control_plane = Self {
            controllers: Vec::new(),
            api_server: Some(api_server),
            etcd,
            etcd_port,
            port,
            kind,
            pki,
            admin,
            home,
        };
        control_plane.wait_until_ready()?;
        Ok(control_plane)
    }

    /// The user who may do everything.
    #[must_use]
    pub fn admin(&self) -> Identity {
        self.admin.clone()
    }

    /// A user of any name in any group.
    pub fn user(&self, name: &str, group: &str) -> anyhow::Result<Identity> {
        self.pki.user(name, group)
    }

    /// The port that the API server listens on, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority that signed the API server's certificate, in PEM.
    #[must_use]
    pub fn authority(&self) -> String {
        self.pki.authority()
    }

    /// A kubeconfig for `user`, with the API server at `host`.
    #[must_use]
    pub fn kubeconfig_at(&self, host: Ipv4Addr, user: &Identity) -> String {
        self.kubeconfig_with(host, &credentials(user))
    }

    fn kubeconfig_with(&self, host: Ipv4Addr, user: &Value) -> String {
        // JSON is YAML.
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{host}:{}", self.port),
                "certificate-authority-data": BASE64_STANDARD.encode(self.pki.authority()),
            }}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        })
        .to_string()
    }

    /// Writes a kubeconfig for `user` and says where.
    pub fn write_kubeconfig(&self, name: &str, user: &Identity) -> anyhow::Result<PathBuf> {
        self.write_config(name, &credentials(user))
    }

    /// Writes a kubeconfig for the bearer of `token` and says where.
    pub fn write_token_kubeconfig(&self, name: &str, token: &str) -> anyhow::Result<PathBuf> {
        self.write_config(name, &json!({"token": token}))
    }

    /// A kubeconfig for the bearer of `token`, with the API server at `host`.
    #[must_use]
    pub fn token_kubeconfig_at(&self, host: Ipv4Addr, token: &str) -> String {
        self.kubeconfig_with(host, &json!({"token": token}))
    }

    fn write_config(&self, name: &str, user: &Value) -> anyhow::Result<PathBuf> {
        let name = format!("{name}.kubeconfig");
        let text = self.kubeconfig_with(Ipv4Addr::LOCALHOST, user);
        pki::write(self.home.path(), &name, &text)?;
        Ok(self.home.path().join(name))
    }

    /// A client that acts as `user`.
    pub async fn client(&self, user: &Identity) -> anyhow::Result<Client> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig_at(Ipv4Addr::LOCALHOST, user))?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Where everything lies, and logs of programs that are started besides may.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Ends the API server; etcd stays.
    pub fn stop_api_server(&mut self) {
        self.api_server = None;
    }

    /// Starts the API server again, on the same port.
    pub fn start_api_server(&mut self) -> anyhow::Result<()> {
        self.stop_api_server();
        self.api_server = Some(start_api_server(
            self.home.path(),
            self.port,
            self.etcd_port,
            self.kind,
        )?);
        self.wait_until_ready()
    }

    /// The end of the API server's log.
    #[must_use]
    pub fn api_server_log(&self) -> String {
        self.api_server
            .as_ref()
            .map(Process::last_words)
            .unwrap_or_default()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(self.client(&self.admin))?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.etcd.check_running()?;
            if let Some(api_server) = &mut self.api_server {
                api_server.check_running()?;
            }
            let request = Request::get("/readyz").body(Vec::new())?;
            match runtime.block_on(client.request_text(request)) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    let log = self.api_server_log();
                    bail!("kube-apiserver is not ready: {error}\n{log}");
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

fn credentials(user: &Identity) -> Value {
    json!({
        "client-certificate-data": BASE64_STANDARD.encode(&user.certificate),
        "client-key-data": BASE64_STANDARD.encode(&user.key),
    })
}

/// Starts a server on a free port; on another one if it ends at once.
fn start_somewhere(
    start: impl Fn(u16) -> anyhow::Result<Process>,
) -> anyhow::Result<(Process, u16)> {
    let mut tries = 0;
    loop {
        let port = free_port()?;
        let mut process = start(port)?;
        tries += 1;
        match wait_until_listening(&mut process, port) {
            Ok(()) => return Ok((process, port)),
            Err(error) if tries == TRIES => return Err(error),
            Err(_) => {}
        }
    }
}

/// A port of 127.0.0.1 that nobody listens on just now.
pub fn free_port() -> anyhow::Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

fn wait_until_listening(process: &mut Process, port: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        process.check_running()?;
        if Instant::now() > deadline {
            bail!("nothing listens on port {port}:\n{}", process.last_words());
        }
        thread::sleep(Duration::from_millis(20));
    }
    // Another program may listen there.
    process.check_running()
}

/// The program that a variable names, or the one on PATH.
fn program(variable: &str, name: &str) -> PathBuf {
    env::var_os(variable).map_or_else(|| name.into(), PathBuf::from)
}

fn start_etcd(home: &Path, port: u16) -> anyhow::Result<Process> {
    let clients = format!("http://127.0.0.1:{port}");
    let arguments = [
        format!("--data-dir={}", home.join("etcd").display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        // There are no peers; any port will do.
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--logger=zap".to_owned(),
    ];
    Process::start("etcd", &program("ETCD", "etcd"), &arguments, &[], home)
}

fn start_api_server(home: &Path, port: u16, etcd_port: u16, kind: Kind) -> anyhow::Result<Process> {
    let file = |name: &str| home.join(name).display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--cert-dir={}", file("certificates")),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("tokens.pub")),
        format!("--service-account-signing-key-file={}", file("tokens.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--api-audiences=https://kubernetes.default.svc".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--service-cluster-ip-range={API_SERVICE}/16"),
        "--allow-privileged=true".to_owned(),
    ];
    if kind == Kind::Storage {
        // There is no controller manager that would make the accounts of namespaces.
        arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
    }
    let program = program("KUBE_APISERVER", "kube-apiserver");
    Process::start("kube-apiserver", &program, &arguments, &[], home)
}

fn start_controller_manager(home: &Path, kubeconfig: &Path) -> anyhow::Result<Process> {
    let file = |name: &str| home.join(name).display().to_string();
    let arguments = [
        format!("--kubeconfig={}", kubeconfig.display()),
        // Pods know the API server by it.
        format!("--root-ca-file={}", file("ca.crt")),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ];
    let program = program("KUBE_CONTROLLER_MANAGER", "kube-controller-manager");
    Process::start("kube-controller-manager", &program, &arguments, &[], home)
}

fn start_scheduler(home: &Path, kubeconfig: &Path) -> anyhow::Result<Process> {
    let arguments = [
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ];
    let program = program("KUBE_SCHEDULER", "kube-scheduler");
    Process::start("kube-scheduler", &program, &arguments, &[], home)
}
