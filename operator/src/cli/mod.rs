//! The command line: arguments in, one function a command, an exit code out.

mod agent;
mod clear;
mod controller;
mod doctor;
mod explain;
mod install_cni;
mod jobs;
mod manual;
mod monitor;
mod run;
mod signals;
mod status;
mod table;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use vrfgate_ebpf::{Netns, SharedPorts, Store};

use vrfgate_core::MarkMask;

/// Opens chosen services of a Linux network namespace to chosen VRFs, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "vrfgate", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    places: Places,

    /// What to log, as `tracing` takes it: error, warn, info, debug, or target=level.
    #[arg(long, global = true, env = "VRFGATE_LOG", default_value = "info")]
    log: String,
}

/// Where state is kept.
#[derive(Debug, clap::Args)]
struct Places {
    /// Where the BPF file system is mounted.
    #[arg(long, global = true, default_value = "/sys/fs/bpf", value_name = "DIR")]
    bpffs: PathBuf,

    /// Where records, reports and locks are kept.
    #[arg(
        long,
        global = true,
        default_value = "/run/vrfgate",
        value_name = "DIR"
    )]
    run_dir: PathBuf,

    /// Where sysctls are written: what /proc/sys shows, where that itself is read-only, as in containers.
    #[arg(long, global = true, default_value = "/proc/sys", value_name = "DIR")]
    sysctls: PathBuf,
}

impl Places {
    fn store(&self) -> Store {
        Store::new(&self.bpffs, &self.run_dir)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts the gate into a namespace and keeps it in line with leaks from files.
    ///
    /// Follows changes of the files, of VRFs and of addresses. On SIGTERM or SIGINT the gate stays as it
    /// is; `vrfgate clear` removes it.
    Run(run::Args),
    /// Shows what is in force, and what it has done.
    Status(status::Args),
    /// Restores a namespace exactly as it was before vrfgate.
    Clear(clear::Args),
    /// Shows what this kernel and host can and can't do, and what leaks would do here. Changes nothing.
    ///
    /// With -f: which leaks would be in force, what they would open, and which listeners they would close that VRFs
    /// reach now. Exits with 1 when something is missing or a file has a mistake.
    Doctor(doctor::Args),
    /// Shows why a packet from a VRF is served, or isn't: rules, routes, gate, socket, the way back.
    ///
    /// Sends nothing. Exits with 0 when the packet would be served and answered, with 1 when not, and with 2
    /// when that can't be determined.
    Explain(explain::Args),
    /// Shows what the gate refuses, as it happens, until Ctrl-C.
    ///
    /// A sample: under a flood, what doesn't fit is left out (the counters of `vrfgate status` miss nothing).
    /// Works beside `vrfgate run`. Each decision is shown to one reader only: run one monitor per namespace.
    Monitor(monitor::Args),
    /// Node side: keeps the gate in line with the `VrfGateNode` of this node, and reports its status.
    Agent(agent::Args),
    /// Cluster side: makes a `VrfGateNode` for each node of all `VrfLeak`s, and reports their status.
    Controller(controller::Args),
    /// Installs the CNI plugin on this node, and its entry in the configuration list of a network.
    ///
    /// Changes nothing that is already in place, and nothing that vrfgate hasn't put there.
    InstallCni(install_cni::Args),
    /// Removes what `install-cni` has installed. Takes the same flags.
    ///
    /// The plugin stays while a network configuration asks for it, or a pod needs it when it is deleted.
    UninstallCni(install_cni::UninstallArgs),
    /// Deletes every `VrfLeak`, and waits until the nodes have released them. Run it before vrfgate is uninstalled.
    Withdraw(jobs::WithdrawArgs),
    /// Checks whether every node of the cluster has put its generation into force. Exits with 1 when not.
    CheckNodes(jobs::CheckNodesArgs),
    /// Prints the Kubernetes custom resource definitions.
    Crd,
    /// Prints completions for a shell.
    Completions(manual::CompletionsArgs),
    /// Prints the manual page, or writes those of all commands.
    Man(manual::ManArgs),
}

/// Which namespace a command is about.
#[derive(Debug, clap::Args)]
struct Target {
    /// Network namespace: a name of `ip netns`, or a path such as /proc/PID/ns/net. Without it, the
    /// namespace the command runs in.
    #[arg(long, value_name = "NAME|PATH")]
    netns: Option<String>,
}

impl Target {
    fn open(&self) -> anyhow::Result<Netns> {
        match &self.netns {
            Some(name) => Netns::open(name)
                .with_context(|| format!("--netns {name}: opening the network namespace")),
            None => Netns::current().context("opening this network namespace"),
        }
    }
}

/// Which bits of packets' marks steering may use.
#[derive(Debug, clap::Args)]
struct Marks {
    /// Bits of packets' marks that `replies: Steer` may use, next to each other, such as 0xff0000. 7 bits are
    /// enough for 127 VRFs. Choose bits that nothing else on this host uses; `doctor` finds clashes.
    #[arg(long, value_name = "BITS", default_value_t)]
    steer_mask: MarkMask,
}

/// What to do while TCP ports are shared.
#[derive(Debug, clap::Args)]
struct PortPolicy {
    /// Go ahead although a VRF-bound socket and an unbound one share a TCP port. Linux 6.8 and later may crash when
    /// `tcp_l3mdev_accept` changes meanwhile: without this flag, nothing is changed until no port is shared.
    #[arg(long)]
    accept_shared_ports: bool,
}

impl PortPolicy {
    fn policy(&self) -> SharedPorts {
        if self.accept_shared_ports {
            SharedPorts::Accept
        } else {
            SharedPorts::Refuse
        }
    }
}

/// Form of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs; fields are only ever added.
    Json,
}

/// Runs the command of this process's arguments. Errors go to stderr as one line each.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        // kube logs every request that fails; our own lines say what that means, and not every time.
        .with_env_filter(format!("kube_client::client::builder=off,{}", cli.log))
        .with_target(false)
        .with_writer(|| vrfgate_cni::OneLine(std::io::stderr()))
        .with_ansi(false)
        .init();
    vrfgate_ebpf::sysctls_at(cli.places.sysctls.clone());
    let store = cli.places.store();
    let result = match &cli.command {
        Command::Run(args) => run::run(args, &store),
        Command::Status(args) => status::status(args, &store),
        Command::Clear(args) => clear::clear(args, &store),
        Command::Doctor(args) => doctor::doctor(args, &store),
        Command::Explain(args) => Ok(explain::explain(args, &store)),
        Command::Monitor(args) => monitor::monitor(args, &store),
        Command::Agent(args) => agent::agent(args, &store),
        Command::Controller(args) => controller::controller(args),
        Command::InstallCni(args) => install_cni::install(args),
        Command::UninstallCni(args) => install_cni::uninstall(args, &store),
        Command::Withdraw(args) => jobs::withdraw(args),
        Command::CheckNodes(args) => jobs::check_nodes(args),
        Command::Completions(args) => Ok(manual::completions(args)),
        Command::Man(args) => manual::man(args),
        Command::Crd => crate::api::crd_yaml()
            .context("writing the custom resource definitions")
            .map(|yaml| {
                print!("{yaml}");
                ExitCode::SUCCESS
            }),
    };
    result.unwrap_or_else(|error| {
        eprintln!("vrfgate: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs the asynchronous part of a command.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(work)
}
