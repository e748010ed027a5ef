//! `vrfgate monitor` shows refusals as they happen, beside a running vrfgate.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use vrfgate_e2e::{Started, Vrfgate};

use crate::{
    leaks::{leak, open_tcp, service},
    net::{Net, V4},
    suite::tests,
};

tests! {
    "monitor";
    each family:
        refusals_are_shown_with_names_beside_a_running_vrfgate;
    once:
        drops_and_vrf_choose_what_is_shown,
        a_gate_that_is_made_anew_is_watched_on,
        without_a_gate_it_says_so;
}

/// How long a line may take.
const SOON: Duration = Duration::from_mins(1);

/// A running monitor, which ends when this is dropped.
struct Monitor {
    child: Child,
    lines: Receiver<String>,
}

impl Monitor {
    #[track_caller]
    fn start(vrfgate: &Vrfgate, options: &[&str]) -> Self {
        let mut arguments = vec!["monitor"];
        arguments.extend(options);
        let child = vrfgate
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .started();
        let mut child = child.unwrap_or_else(|error| panic!("{error}"));
        let mut said = String::new();
        if let Some(stderr) = child.stderr.take() {
            // It says so once it watches.
            let _ = BufReader::new(stderr).read_line(&mut said);
        }
        assert!(said.contains("watching the gate"), "it said {said:?}");
        let (tell, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            });
        }
        Self { child, lines }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines
            .recv_timeout(SOON)
            .unwrap_or_else(|error| panic!("nothing is shown: {error}"))
    }

    #[track_caller]
    fn event(&self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Ends it with Ctrl-C, which is a success. Returns what it has shown beyond the lines read.
    #[track_caller]
    fn interrupt(mut self) -> Vec<String> {
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        let ended = pid
            .map_err(std::io::Error::other)
            .and_then(|pid| Ok(kill(pid, Signal::SIGINT)?))
            .and_then(|()| self.child.wait());
        let status = ended.unwrap_or_else(|error| panic!("{error}"));
        assert!(status.success(), "{status}");
        self.lines.iter().collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refusals_are_shown_with_names_beside_a_running_vrfgate(net: &Net) {
    let (lab, client) = net.one_vrf();
    let stranger = net.add_client_address(&client, 3);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&leak(
        "BLUE",
        &format!(
            "services: [{{name: ssh, protocol: TCP, port: 22, addresses: [\"{}\"], sources: [\"{}/{}\"]}}]",
            net.main_alone(),
            net.client,
            net.bits(),
        ),
    ));
    let monitor = Monitor::start(&vrfgate, &["-o", "json"]);

    client
        .connect(net.main(80))
        .from(net.client)
        .should_be_refused();
    let event = monitor.event();
    assert_eq!(event["vrf"], "BLUE", "{event:#}");
    assert_eq!(event["protocol"], "TCP", "{event:#}");
    assert_eq!(event["to"], net.main(80).to_string(), "{event:#}");
    assert_eq!(event["verdict"], "Refused", "{event:#}");
    assert_eq!(event["reason"], "NotListed", "{event:#}");
    let from = event["from"].as_str().unwrap_or_default();
    assert!(from.contains(&net.client.to_string()), "{event:#}");
    let year = event["time"]
        .as_str()
        .and_then(|time| time.get(..4)?.parse().ok());
    assert!(year.is_some_and(|year: u32| year > 2020), "{event:#}");

    client
        .connect(net.main(22))
        .from(stranger)
        .should_be_refused();
    let event = monitor.event();
    assert_eq!(event["rule"], "blue/ssh", "{event:#}");
    assert_eq!(event["reason"], "SourceNotAllowed", "{event:#}");

    let more = monitor.interrupt();
    assert!(more.is_empty(), "shown twice: {more:?}");
    client
        .connect(net.main(22))
        .from(net.client)
        .should_reach("ssh");
}

fn drops_and_vrf_choose_what_is_shown() {
    let (lab, blue) = V4.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", "10.0.0.1/24")
        .client("10.0.0.2/24");
    let _web = lab.listen("web").tcp(V4.any(80));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(
        &(leak(
            "BLUE",
            &format!("mode: Audit, services: [{}]", service(&V4, "TCP", 22)),
        ) + &open_tcp("RED", &V4, &[22])),
    );
    let all = |options: &[&str]| {
        let monitor = Monitor::start(&vrfgate, options);
        blue.connect(V4.main(80)).should_reach("web");
        red.connect(V4.main(80)).should_be_refused();
        monitor
    };

    let text = all(&["--drops"]);
    let line = text.line();
    assert!(line.contains("RED TCP 10.0.0.2:"), "{line}");
    assert!(line.contains("refused: no rule lists it"), "{line}");
    assert!(text.interrupt().is_empty());

    let text = all(&["--vrf", "BLUE"]);
    let line = text.line();
    assert!(line.contains("BLUE TCP"), "{line}");
    assert!(line.contains("would refuse"), "{line}");
}

fn a_gate_that_is_made_anew_is_watched_on() {
    let (lab, client) = V4.one_vrf();
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));
    let monitor = Monitor::start(&vrfgate, &["-o", "json"]);
    vrfgate.clear();

    vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));

    client.connect(V4.main(81)).should_be_refused();
    assert_eq!(monitor.event()["to"], "192.0.2.1:81");
}

fn without_a_gate_it_says_so() {
    let (lab, _client) = V4.one_vrf();
    let output = lab.vrfgate().call(&["monitor"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no gate to watch"), "{said}");
}
