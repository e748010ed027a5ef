//! `vrfgate install-cni` and `vrfgate uninstall-cni`; and the same as flags of the agent.

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use vrfgate_ebpf::Store;

use crate::{
    daemon_set::DaemonSetName,
    install::{Binary, Chain, ChainConfig, Entry, Wanted, uninstall as take_away},
};

/// The plugin, as it is called before it is installed.
const PLUGIN: &str = "vrfgate-cni";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the container runtime looks for plugins.
    #[arg(long, default_value = "/opt/cni/bin", value_name = "DIR")]
    bin_dir: PathBuf,

    /// The plugin to install. Without it: `vrfgate-cni`, beside this command.
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,

    /// Where the container runtime looks for network configurations.
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "DIR")]
    conf_dir: PathBuf,

    /// The network whose list our entry goes into, as the last plugin. Without it, none is written; and
    /// `uninstall-cni` takes it out of all lists.
    #[arg(long, value_name = "NETWORK")]
    chain: Option<String>,

    /// Keys of the plugin in that entry, such as {"vrf": "BLUE", "services": […]}.
    #[arg(long, value_name = "JSON", requires = "chain")]
    chain_config: Option<ChainConfig>,
}

#[derive(Debug, clap::Args)]
pub(super) struct UninstallArgs {
    #[command(flatten)]
    places: Args,

    /// Remove the plugin, too. Without it, the plugin stays and does no more than let pods go: some container runtimes
    /// keep the network configuration of a pod's start for its end (CRI-O, Multus), and can't end it without the plugin.
    #[arg(long)]
    remove_plugin: bool,
}

/// The same, for an agent.
#[derive(Debug, clap::Args)]
pub(super) struct AgentArgs {
    /// Install the CNI plugin into this directory, where the container runtime looks for plugins, and keep it
    /// there. Without it: leave that to others.
    #[arg(long, value_name = "DIR")]
    cni_bin_dir: Option<PathBuf>,

    /// The plugin to install. Without it: `vrfgate-cni`, beside this command.
    #[arg(long, value_name = "FILE", requires = "cni_bin_dir")]
    cni_plugin: Option<PathBuf>,

    /// Where the container runtime looks for network configurations.
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "DIR")]
    cni_conf_dir: PathBuf,

    /// The network whose list our entry goes into, as the last plugin, and is kept in.
    #[arg(long, value_name = "NETWORK", requires = "cni_bin_dir")]
    cni_chain: Option<String>,

    /// Keys of the plugin in that entry, such as {"vrf": "BLUE", "services": […]}.
    #[arg(long, value_name = "JSON", requires = "cni_chain")]
    cni_chain_config: Option<ChainConfig>,

    /// The `DaemonSet` that this agent is of. When the agent is to end and its `DaemonSet` is gone, or going, it
    /// removes plugin and entry. Without it: they stay.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "cni_bin_dir")]
    pub(super) daemon_set: Option<DaemonSetName>,
}

impl AgentArgs {
    /// None if nothing shall be installed.
    pub(super) fn wanted(&self) -> anyhow::Result<Option<Wanted>> {
        let Some(directory) = &self.cni_bin_dir else {
            return Ok(None);
        };
        Ok(Some(Wanted {
            binary: Binary {
                plugin: plugin(self.cni_plugin.as_ref())?,
                directory: directory.clone(),
            },
            lists: self.cni_conf_dir.clone(),
            chain: chain(self.cni_chain.as_ref(), self.cni_chain_config.as_ref()),
        }))
    }
}

pub(super) fn install(args: &Args) -> anyhow::Result<ExitCode> {
    let wanted = Wanted {
        binary: Binary {
            plugin: plugin(args.plugin.as_ref())?,
            directory: args.bin_dir.clone(),
        },
        lists: args.conf_dir.clone(),
        chain: chain(args.chain.as_ref(), args.chain_config.as_ref()),
    };
    for said in wanted.install()? {
        println!("{said}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn uninstall(args: &UninstallArgs, store: &Store) -> anyhow::Result<ExitCode> {
    let Args {
        bin_dir,
        conf_dir,
        chain,
        ..
    } = &args.places;
    let for_good = args.remove_plugin;
    let said = take_away(bin_dir, conf_dir, chain.as_deref(), store, for_good)?;
    if said.is_empty() {
        println!("nothing of vrfgate's is there");
    }
    for said in said {
        println!("{said}");
    }
    Ok(ExitCode::SUCCESS)
}

fn plugin(named: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    match named {
        Some(path) => Ok(path.clone()),
        None => Ok(env::current_exe()
            .context("finding the plugin beside this command; name it with --plugin")?
            .with_file_name(PLUGIN)),
    }
}

fn chain(network: Option<&String>, config: Option<&ChainConfig>) -> Option<Chain> {
    let network = network?.clone();
    let entry = Entry::new(config.unwrap_or(&ChainConfig::default()));
    Some(Chain { network, entry })
}
