//! Only root counts as an agent, and an agent listens only to root, even if everybody can reach the socket.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    path::Path,
    process::{Child, Command},
};

use serde_json::json;
use vrfgate_e2e::{CniNode, Lab, Started};

use super::{
    agent::{only, pod, spec},
    open,
};
use crate::suite::{soon, tests};

tests! {
    "cni::strangers";
    once:
        an_agent_that_is_not_root_is_not_believed,
        a_plugin_that_is_not_root_is_not_heard;
}

const ROOT: u32 = 0;
/// Debian's nobody.
const NOBODY: u32 = 65534;

/// Says yes to everything.
const AGENT: &str = "\
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    plugin, _ = listener.accept()
    try:
        plugin.makefile().readline()
        plugin.sendall(b'{\"done\":true}\\n')
    except OSError:
        pass
    plugin.close()
";

/// Says one line, and prints the answer, if there is one.
const PLUGIN: &str = "\
import socket, sys
agent = socket.socket(socket.AF_UNIX)
agent.connect(sys.argv[1])
try:
    agent.sendall(sys.argv[2].encode() + b'\\n')
    print(agent.makefile().readline())
except OSError:
    pass
";

fn python(program: &str, uid: u32) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", program]).uid(uid);
    command
}

/// A process that listens where an agent would.
struct Stranger(Child);

impl Stranger {
    #[track_caller]
    fn new(uid: u32, socket: &Path) -> Self {
        let child = python(AGENT, uid).arg(socket).started();
        let stranger = Self(child.unwrap_or_else(|error| panic!("python3: {error}")));
        soon("somebody listens", || UnixStream::connect(socket).is_ok());
        stranger
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives a place and what it is in to everybody.
#[track_caller]
fn give_away(socket: &Path) {
    for path in socket.ancestors().take(3).filter(|path| path.exists()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn an_agent_that_is_not_root_is_not_believed() {
    let (one, client, _servers) = pod();
    let node = CniNode::new();
    let mut config = open(8080);
    config["required"] = true.into();
    let net1 = node.interface(&one, "net1", &config);
    let socket = node.agent_socket();
    if let Some(run) = socket.parent() {
        fs::create_dir(run).unwrap_or_else(|error| panic!("{}: {error}", run.display()));
    }
    give_away(&socket);

    let stranger = Stranger::new(NOBODY, &socket);
    let who = "uid 65534 listens there, and is not root";
    net1.should_refuse("ADD", 11, who);
    net1.should_refuse("STATUS", 50, who);
    assert!(node.records().is_empty(), "{:?}", node.records());
    assert_eq!(one.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
    only(&client, &[]);
    // One that doesn't need an agent doesn't mind.
    let by_itself = node.interface(&one, "net1", &open(8080));
    by_itself.add();
    only(&client, &[8080]);
    by_itself.del();

    // It is by its user, not by what it says.
    drop(stranger);
    fs::remove_file(&socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    let _root = Stranger::new(ROOT, &socket);
    net1.add();
    net1.must("STATUS");
    only(&client, &[8080]);
}

fn a_plugin_that_is_not_root_is_not_heard() {
    let machine = Lab::new();
    let (one, client, _servers) = pod();
    let node = CniNode::new();
    let net1 = node.interface(&one, "net1", &open(8080));
    let agent = node.agent(&machine, &spec(&[], &[]));
    net1.add();
    agent.should_say("looking after the gate of");
    give_away(&node.agent_socket());
    let records: Vec<_> = node.records();
    let record = records.first().and_then(|record| fs::read(record).ok());
    let record =
        record.and_then(|record| serde_json::from_slice::<serde_json::Value>(&record).ok());
    let notice = json!({"protocol": 1, "event": "detached", "attachment": record});
    let say_as = |uid: u32| {
        let mut plugin = python(PLUGIN, uid);
        plugin.arg(node.agent_socket()).arg(notice.to_string());
        machine.output(&mut plugin)
    };

    let answer = say_as(NOBODY);
    assert_eq!(answer.trim(), "", "{answer}");
    agent.should_say("uid 65534 was refused");
    only(&client, &[8080]);

    // By root, the same words have the gate taken away.
    let answer = say_as(ROOT);
    assert!(answer.contains(r#""done":true"#), "{answer}");
    client
        .connect(crate::net::V4.main(8080))
        .should_be_refused();
}
