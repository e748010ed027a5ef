//! `vrfgate-lab-node`: the inside of a virtual machine that is a node of a cluster.
//!
//! The machine is a router with VRF BLUE and a client behind it, and does what it is told over one TCP
//! connection: a line of words in, a line of JSON out, `{"said": …}` or `{"failed": …}`. From its first moment to
//! its last, the client tries ports that no leak ever lists.
//!
//! Tests that tell it what to do are in `e2e/cluster`. Nothing here ends well on a machine that is needed.

mod node;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use serde_json::json;
use vrfgate_e2e::use_vrfgate;

use crate::node::Node;

/// A node of a cluster that does what it is told.
#[derive(Debug, Parser)]
struct Options {
    /// Who tells it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    told_by: SocketAddr,

    /// The program that the tests are about.
    #[arg(long, value_name = "PATH")]
    vrfgate: PathBuf,

    /// How the agent finds the API server.
    #[arg(long, value_name = "PATH")]
    kubeconfig: PathBuf,

    /// Where the agent's log is kept.
    #[arg(long, value_name = "PATH")]
    log: PathBuf,
}

fn main() -> ExitCode {
    let Options {
        told_by,
        vrfgate,
        kubeconfig,
        log,
    } = Options::parse();
    use_vrfgate(vrfgate);
    let mut node = Node::new(kubeconfig, log);
    match obey(&mut node, told_by) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vrfgate-lab-node: being told what to do by {told_by}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Until there is nobody any more who says something.
fn obey(node: &mut Node, told_by: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(told_by)?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        // What the lab can't do, it panics of.
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
