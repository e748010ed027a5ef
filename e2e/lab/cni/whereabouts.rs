//! Where container runtimes have the names of pods' namespaces, and what an agent makes of it that is in a container itself.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;
use vrfgate_e2e::{CniNode, Host, Lab, Netns};

use super::{
    agent::{only, pod, spec},
    open, open_to,
};
use crate::suite::{soon, tests};

tests! {
    "cni::whereabouts";
    once:
        a_pod_that_only_its_process_names_is_looked_after_like_any_other,
        what_a_pod_has_left_whose_process_died_goes_when_an_agent_comes_or_is_there,
        a_pod_that_got_the_name_of_one_that_is_gone_is_another;
    // Their agents have copies of every mount there is, namespaces and pins of other tests among them.
    alone:
        a_name_in_another_directory_is_found_by_an_agent_that_can_not_look_there,
        of_a_pod_that_it_can_not_see_an_agent_says_what_it_lacks_and_leaves_the_gate_as_it_is;
}

/// Where the names of some pods are, which an agent of [`elsewhere`] doesn't see.
const NAMES: &str = "/var/tmp";

/// Where it doesn't see mounts on them, as in a container whose volume has no mount propagation.
const BARE: &str = "/run";

/// A process that lives in a pod and does nothing else.
struct Resident(Child);

impl Resident {
    fn of(pod: &Host) -> Self {
        Self(pod.spawn(Command::new("sleep").arg("infinity")))
    }

    /// The pod's namespace, by this process.
    fn netns(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // One that has not been waited for is still there.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A name of a pod's namespace in a directory of its own; gone when it is dropped.
struct Name {
    directory: TempDir,
}

impl Name {
    fn new() -> Self {
        Self::new_in(NAMES)
    }

    fn new_in(place: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("vrfgate-names-")
            .tempdir_in(place)
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        Self { directory }
    }

    /// From now on, it names this pod.
    #[track_caller]
    fn name(&self, pod: &Host) {
        let own = format!("/proc/{}/fd/{}", std::process::id(), raw(pod.netns()));
        let named = File::create(self.path()).and_then(|_| {
            let nothing = None::<&str>;
            Ok(mount(
                Some(own.as_str()),
                &self.path(),
                nothing,
                MsFlags::MS_BIND,
                nothing,
            )?)
        });
        named.unwrap_or_else(|error| panic!("{}: {error}", self.path().display()));
    }

    /// From now on, it names nothing, and is not there.
    fn unname(&self) {
        let _ = umount2(&self.path(), MntFlags::MNT_DETACH);
        let _ = fs::remove_file(self.path());
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("pod")
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.unname();
    }
}

fn raw(netns: &Netns) -> i32 {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    netns.as_fd().as_raw_fd()
}

/// Removes the name that the lab gave to a pod. The test's descriptor keeps the namespace alive, unseen by others.
#[track_caller]
fn unname(pod: &Host) {
    let name = Path::new("/run/netns").join(pod.netns().name());
    let gone = umount2(&name, MntFlags::MNT_DETACH).map_err(Into::into);
    let gone = gone.and_then(|()| fs::remove_file(&name));
    gone.unwrap_or_else(|error| panic!("{}: {error}", name.display()));
}

/// Starts an agent that doesn't see [`NAMES`], as one in a container that has not mounted it, and of names in [`BARE`] only the
/// files. By `arguments` of unshare(1), it may lack more.
fn elsewhere<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut starter = vec!["unshare", "--mount"];
    starter.extend(arguments);
    starter.extend([
        "sh",
        "-c",
        "mount -t tmpfs none /var/tmp && umount --lazy /run/vrfgate-names-*/pod 2>/dev/null; exec \"$@\"",
        "sh",
    ]);
    starter
}

/// What is left of a pod, by the number and the name of its namespace.
fn left_of<'node>(node: &'node CniNode, pod: &Host) -> impl Fn() -> Vec<PathBuf> + use<'node> {
    let marks = [
        pod.netns().inode().to_string(),
        pod.netns().name().to_owned(),
    ];
    move || {
        let mut left = node.left();
        left.extend(node.records());
        left.retain(|path| {
            let path = path.to_string_lossy();
            marks.iter().any(|mark| path.contains(mark))
        });
        left
    }
}

fn a_pod_that_only_its_process_names_is_looked_after_like_any_other() {
    let machine = Lab::new();
    let (one, client, _servers) = pod();
    let node = CniNode::new();
    let resident = Resident::of(&one);
    unname(&one);
    let left = left_of(&node, &one);
    let mut config = open(8080);
    config["required"] = true.into();
    let net1 = node
        .interface(&one, "net1", &config)
        .of_pod("core", "one")
        .at(&resident.netns());

    let agent = node.agent(&machine, &spec(&["one"], &[22]));
    net1.add();
    only(&client, &[22, 8080]);
    net1.must("CHECK");

    agent.kill();
    only(&client, &[22, 8080]);
    let _agent = node.agent(&machine, &spec(&["one"], &[80]));
    client
        .connect(crate::net::V4.main(22))
        .should_soon_be_refused();
    only(&client, &[80, 8080]);
    net1.must("CHECK");

    net1.del();
    only(&client, &[]);
    assert_eq!(one.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
    assert!(left().is_empty(), "{:?}", left());
}

fn what_a_pod_has_left_whose_process_died_goes_when_an_agent_comes_or_is_there() {
    let machine = Lab::new();
    let node = CniNode::new();
    let (stays, client, _servers) = pod();
    let of_stays = Resident::of(&stays);
    unname(&stays);
    let net1 = node
        .interface(&stays, "net1", &open(8080))
        .at(&of_stays.netns());
    net1.add();

    let vanishing = || {
        let (pod, client, servers) = pod();
        let resident = Resident::of(&pod);
        unname(&pod);
        node.interface(&pod, "net1", &open(8080))
            .at(&resident.netns())
            .add();
        only(&client, &[8080]);
        let left = left_of(&node, &pod);
        (left, (resident, servers, client, pod))
    };
    let (left, everything) = vanishing();
    drop(everything);
    assert!(left().len() >= 2, "{:?}", left());

    let agent = node.agent(&machine, &spec(&[], &[]));
    soon("the pod's remains are gone", || left().is_empty());
    agent.should_say(&format!(
        "looking after the gate of network namespace {}",
        of_stays.netns().display()
    ));

    let (left, everything) = vanishing();
    agent.should_say(&format!(
        "looking after the gate of network namespace {}",
        everything.0.netns().display()
    ));
    drop(everything);
    soon("the other pod's remains are gone", || left().is_empty());

    only(&client, &[8080]);
    net1.must("CHECK");
}

fn a_name_in_another_directory_is_found_by_an_agent_that_can_not_look_there() {
    let machine = Lab::new();
    let (one, client, _servers) = pod();
    let node = CniNode::new();
    let name = Name::new();
    name.name(&one);
    unname(&one);
    let left = left_of(&node, &one);
    let net1 = node
        .interface(&one, "net1", &open(8080))
        .of_pod("core", "one")
        .at(&name.path());

    // It sees every process of the machine, and through these, names in their mount namespaces.
    let agent = node.agent_by(&machine, &spec(&["one"], &[22]), &elsewhere(&[]));
    net1.add();
    client
        .connect(crate::net::V4.main(22))
        .should_soon_reach("pod");
    only(&client, &[22, 8080]);
    net1.must("CHECK");
    net1.del();
    only(&client, &[]);
    assert!(left().is_empty(), "{:?}", left());

    // And by one that can.
    agent.kill();
    let _agent = node.agent(&machine, &spec(&["one"], &[80]));
    net1.add();
    client
        .connect(crate::net::V4.main(80))
        .should_soon_reach("pod");
    only(&client, &[80, 8080]);
    net1.del();
    assert!(left().is_empty(), "{:?}", left());
}

fn of_a_pod_that_it_can_not_see_an_agent_says_what_it_lacks_and_leaves_the_gate_as_it_is() {
    let machine = Lab::new();
    let node = CniNode::new();
    let (by_process, its_client, _its_servers) = pod();
    let resident = Resident::of(&by_process);
    unname(&by_process);
    let (by_name, client, _servers) = pod();
    let name = Name::new();
    name.name(&by_name);
    unname(&by_name);
    let (by_bare_name, client_of_bare, _servers_of_bare) = pod();
    let bare = Name::new_in(BARE);
    bare.name(&by_bare_name);
    unname(&by_bare_name);
    let pods = [
        (&by_process, &its_client, resident.netns(), "agent.hostPID"),
        (&by_name, &client, name.path(), "agent.pods.netnsDir"),
        (
            &by_bare_name,
            &client_of_bare,
            bare.path(),
            "mountPropagation: HostToContainer",
        ),
    ];
    for (pod, _, netns, _) in &pods {
        node.interface(pod, "net1", &open(8080)).at(netns).add();
    }

    let of_its_own = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let agent = node.agent_by(&machine, &spec(&[], &[]), &elsewhere(&of_its_own));
    for (pod, client, netns, what_it_lacks) in &pods {
        let path = netns.display();
        agent.should_say(&format!(
            "network namespace {path}: nobody looks after its gate, which stays as it is: the container runtime names \
             its network namespace {path}"
        ));
        agent.should_say(what_it_lacks);
        let net1 = node.interface(pod, "net1", &open(8080)).at(netns);
        net1.must("CHECK");

        let mut config = open_to("BLUE", 22);
        config["required"] = true.into();
        let net2 = node.interface(pod, "net2", &config).at(netns);
        net2.should_refuse("ADD", 102, what_it_lacks);
        only(client, &[8080]);
        net2.should_refuse("CHECK", 101, "not recorded");
        config["required"] = false.into();
        let net2 = node.interface(pod, "net2", &config).at(netns);
        net2.add();
        only(client, &[22, 8080]);

        net1.del();
        net2.del();
        only(client, &[]);
        let left = left_of(&node, pod);
        assert!(left().is_empty(), "{:?}", left());
    }
}

/// A container runtime that is restarted may use a name twice, and call DEL late.
fn a_pod_that_got_the_name_of_one_that_is_gone_is_another() {
    let machine = Lab::new();
    let node = CniNode::new();
    let name = Name::new();
    let (one, client, servers) = pod();
    name.name(&one);
    unname(&one);
    let (net1, late) = [(); 2]
        .map(|()| node.interface(&one, "net1", &open(8080)).at(&name.path()))
        .into();
    net1.add();
    let left = left_of(&node, &one);
    name.unname();
    drop((servers, client, one));
    assert!(left().len() >= 2, "{:?}", left());

    let (other, client, _servers) = pod();
    name.name(&other);
    unname(&other);
    let net1 = node
        .interface(&other, "net1", &open(22))
        .of_pod("core", "other")
        .at(&name.path());
    net1.add();
    late.del();
    only(&client, &[22]);
    net1.must("CHECK");
    soon("the former pod's remains are gone", || left().is_empty());

    let agent = node.agent(&machine, &spec(&["other"], &[80]));
    client
        .connect(crate::net::V4.main(80))
        .should_soon_reach("pod");
    late.del();
    only(&client, &[22, 80]);
    agent.kill();
    net1.del();
    only(&client, &[]);
}
