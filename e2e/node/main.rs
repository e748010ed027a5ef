//! `vrfgate-lab-node`: the inside of a virtual machine that is a node of a cluster.
//!
//! It takes commands over one TCP connection: a line of words in, a line of JSON out, `{"said": …}` or `{"failed": …}`. A
//! `router` has VRF BLUE and a client behind it, which tries ports that no leak ever lists, from the machine's first moment to
//! its last. A `worker` runs pods, whose interface is in a VRF, with a client beside them;
//! or it joins a whole cluster, runs ordinary pods, and has a management VRF.
//!
//! The tests that command it are in `e2e/cluster`. Don't run it on a machine that you need.

mod agent;
mod kubelet;
mod member;
mod router;
mod scene;
mod worker;

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};
use serde_json::json;
use vrfgate_e2e::{Started, use_vrfgate};

use crate::{agent::Agent, kubelet::Kubelet, router::Router, worker::Worker};

/// A node of a cluster that takes commands from a test.
#[derive(Debug, Parser)]
struct Options {
    /// Where the commands come from.
    #[arg(long, value_name = "ADDRESS:PORT")]
    told_by: SocketAddr,

    /// The program that the tests are about.
    #[arg(long, value_name = "PATH")]
    vrfgate: PathBuf,

    /// Where the agent's and the kubelet's ways to the API server are, `agent.kubeconfig` and `kubelet.kubeconfig`.
    #[arg(long, value_name = "DIR")]
    kubeconfigs: PathBuf,

    /// Where logs are kept.
    #[arg(long, value_name = "DIR")]
    logs: PathBuf,

    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// VRF BLUE, servers in the main domain, and a client.
    Router,
    /// A kubelet and its container runtime, and a client.
    Worker {
        /// Where their programs are, and `image.tar`; `cni` beneath it has the plugins.
        #[arg(long, value_name = "DIR")]
        programs: PathBuf,
    },
}

/// A node of some kind.
trait Node {
    /// Runs a command, and returns its result.
    fn obey(&mut self, words: &[&str]) -> String;
}

fn main() -> ExitCode {
    let Options {
        told_by,
        vrfgate,
        kubeconfigs,
        logs,
        kind,
    } = Options::parse();
    use_vrfgate(vrfgate);
    let agent = Agent::new(kubeconfigs.join("agent.kubeconfig"), logs.join("agent.log"));
    let mut node: Box<dyn Node> = match kind {
        Kind::Router => Box::new(Router::new(agent)),
        Kind::Worker { programs } => {
            let kubeconfig = kubeconfigs.join("kubelet.kubeconfig");
            Box::new(Worker::new(agent, Kubelet::new(programs, kubeconfig, logs)))
        }
    };
    match obey(&mut *node, told_by) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vrfgate-lab-node: being told what to do by {told_by}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves commands until the connection ends.
fn obey(node: &mut dyn Node, told_by: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(told_by)?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        // The lab panics if it can't do something.
        let answer = match panic::catch_unwind(AssertUnwindSafe(|| node.obey(&words))) {
            Ok(said) => json!({"said": said}),
            Err(panicked) => {
                let message = panicked.downcast_ref::<String>();
                json!({"failed": message.map_or("a panic without words", String::as_str)})
            }
        };
        writeln!(stream, "{answer}")?;
    }
    Ok(())
}

/// A log to be written on.
fn log(path: &Path) -> File {
    let log = File::options().create(true).append(true).open(path);
    log.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a command of the shell prints, whatever becomes of it.
fn output(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).finished();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
