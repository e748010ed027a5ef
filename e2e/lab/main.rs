//! `vrfgate-lab`: what the kernel does with VRF packets, and what vrfgate makes of it, shown in this kernel.
//!
//! The tests are behaviours, named by sentences, in groups: `kernel::` holds without vrfgate and is what its
//! design rests on; `gate::` is who gets in; `host::` is what else happens around it; `steer::` is how answers of
//! UDP servers come back into VRFs; `state::` is what survives whom; `input::` is what bad input does; `explain::`,
//! `monitor::`, `doctor::`, `closings::` and `clashes::` are how one sees why; `shared::` is what must not be while a
//! sysctl changes; `cni::` is the gate in pods; `package::` is the Debian package, where `--deb` names it; `locked::` is a
//! kernel that is locked down, where `--groups` names it: it stays so.

mod clashes;
mod closings;
mod cni;
mod doctor;
mod examples;
mod explain;
mod gate;
mod host;
mod input;
mod kernel;
mod leaks;
mod locked;
mod monitor;
mod net;
mod package;
mod routes;
mod shared;
mod state;
mod steer;
mod suite;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Parser;
use libtest_mimic::Trial;
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    utsname::uname,
};
use vrfgate_e2e::{Netns, Started};

/// Shows, in the kernel that runs it, what vrfgate and the kernel do with VRF packets.
#[derive(Debug, Parser)]
struct Options {
    /// The program that the tests are about.
    #[arg(long, env = "VRFGATE", value_name = "PATH", default_value = "vrfgate")]
    vrfgate: PathBuf,

    /// The CNI plugin.
    #[arg(long, value_name = "PATH", default_value = "vrfgate-cni")]
    cni: PathBuf,

    /// Where the reference plugins of CNI are, and cnitool.
    #[arg(
        long,
        env = "CNI_PLUGINS",
        value_name = "DIR",
        default_value = "/usr/lib/cni"
    )]
    cni_plugins: PathBuf,

    /// The Debian package; without it, the tests of `package::` are left out.
    #[arg(long, value_name = "PATH", requires = "next_deb")]
    deb: Option<PathBuf>,

    /// A later version of it.
    #[arg(long, value_name = "PATH", requires = "deb")]
    next_deb: Option<PathBuf>,

    /// Only tests of these groups, such as `kernel,gate`.
    #[arg(long, value_delimiter = ',', value_name = "GROUPS")]
    groups: Vec<String>,

    #[command(flatten)]
    tests: libtest_mimic::Arguments,
}

/// Tests wait more than they work, so a few more at a time than a small machine has processors.
const AT_A_TIME: usize = 4;

fn main() -> ExitCode {
    let Options {
        vrfgate,
        cni,
        cni_plugins,
        deb,
        next_deb,
        groups,
        mut tests,
    } = Options::parse();
    if let Err(error) = prepare() {
        eprintln!("vrfgate-lab: {error}");
        return ExitCode::FAILURE;
    }
    let chosen = tests.filter.iter().chain(&groups);
    let lock_down = chosen.into_iter().any(|name| name.starts_with("locked"));
    if lock_down && let Err(error) = locked::lock() {
        eprintln!("vrfgate-lab: locking the kernel down: {error}");
        return ExitCode::FAILURE;
    }
    vrfgate_e2e::use_vrfgate(vrfgate);
    vrfgate_e2e::use_cni(cni, cni_plugins);
    let packages = deb.zip(next_deb);
    let with_packages = packages.is_some();
    if let Some((now, next)) = packages {
        package::use_packages(package::Packages { now, next });
    }
    let all = match of_groups(all_tests(with_packages, lock_down), &groups) {
        Ok(all) => all,
        Err(error) => {
            eprintln!("vrfgate-lab: {error}");
            return ExitCode::FAILURE;
        }
    };
    suite::remember_where_tests_fail();
    tests.test_threads.get_or_insert(AT_A_TIME);

    // The machine's first sk_lookup program and its last one to go have the kernel patch its own code, as its first
    // and last netfilter hooks do, and emulated processors that run it just then don't always survive that: one gate
    // and hooks stay for as long as the tests.
    let lab = vrfgate_e2e::Lab::new();
    let gate = lab.vrfgate();
    gate.apply(&leaks::open_tcp("BLUE", &net::V4, &[22]));
    if let Err(error) = keep_hooks(&lab) {
        eprintln!("vrfgate-lab: nft, for hooks that stay: {error}");
        return ExitCode::FAILURE;
    }

    let conclusion = libtest_mimic::run(&tests, all);
    drop(gate);
    for title in suite::tried_twice() {
        println!(
            "lab {}: passed or failed at the second try: {title}",
            release()
        );
    }
    println!(
        "lab {}: {} passed, {} failed",
        release(),
        conclusion.num_passed,
        conclusion.num_failed
    );
    conclusion.exit_code()
}

/// A chain at every hook that IPv4 and IPv6 have, in a namespace of its own.
fn keep_hooks(lab: &vrfgate_e2e::Lab) -> Result<(), String> {
    let chains: String = ["prerouting", "input", "forward", "output", "postrouting"]
        .iter()
        .fold(String::new(), |chains, hook| {
            chains + "chain " + hook + " { type filter hook " + hook + " priority 0; }\n"
        });
    let mut nft = Command::new("nft");
    nft.arg(format!("table inet stays {{\n{chains}}}"));
    let output = lab
        .netns()
        .enter(|| nft.finished())
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The tests of these groups, which are the first part of a name; of all, where none is named.
fn of_groups(mut tests: Vec<Trial>, groups: &[String]) -> Result<Vec<Trial>, String> {
    let group = |test: &Trial| test.name().split("::").next().map(ToOwned::to_owned);
    let known = |named: &&String| {
        *named == "package" || tests.iter().any(|test| group(test).as_ref() == Some(named))
    };
    if let Some(unknown) = groups.iter().find(|named| !known(named)) {
        return Err(format!("--groups: there is no group {unknown}"));
    }
    if !groups.is_empty() {
        tests.retain(|test| group(test).is_some_and(|group| groups.contains(&group)));
    }
    Ok(tests)
}

fn all_tests(with_packages: bool, locked_down: bool) -> Vec<Trial> {
    let only_where =
        |is_so: bool, tests: fn() -> Vec<Trial>| if is_so { tests() } else { Vec::new() };
    [
        kernel::tests(),
        gate::tests(),
        host::tests(),
        routes::tests(),
        state::tests(),
        steer::tests(),
        input::tests(),
        examples::tests(),
        explain::tests(),
        monitor::tests(),
        clashes::tests(),
        shared::tests(),
        closings::tests(),
        cni::tests(),
        doctor::tests(),
        only_where(with_packages, package::tests),
        only_where(locked_down, locked::tests),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Makes sure that this kernel can tell us anything at all.
fn prepare() -> Result<(), String> {
    let netns = Netns::create(format!("lab{}-probe", std::process::id()))
        .map_err(|error| format!("can't make network namespaces: {error} (run as root)"))?;
    netns
        .try_ip("link add probe type vrf table 10")
        .map_err(|error| {
            format!(
                "kernel {} has no VRFs, so nothing can be shown here: {error}",
                release()
            )
        })?;
    // Listeners, clients and namespaces of four tests at a time are more than a shell's limit, 60 pods alone are.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
        .map_err(|error| format!("raising the limit of open files to {most}: {error}"))?;
    // The kernel's limit on ICMP errors is for the whole machine, and refused datagrams are many here.
    for name in ["icmp_msgs_per_sec", "icmp_msgs_burst"] {
        let path = Path::new("/proc/sys/net/ipv4").join(name);
        fs::write(&path, "100000").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn release() -> String {
    uname().map_or_else(
        |error| error.to_string(),
        |names| names.release().to_string_lossy().into_owned(),
    )
}
