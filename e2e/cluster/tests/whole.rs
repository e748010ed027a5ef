//! A whole cluster with a real node, and vrfgate as its Helm chart and its image: installed, used, upgraded and
//! uninstalled by helm, run by kubelet and container runtime, and judged by a client in a management VRF.

use std::{env, time::Duration};

use vrfgate_cluster::apply;

use crate::{
    chart::read,
    kit::{create, delete, eventually},
    kubelet::{LISTED, SERVED, browse, opening, starts, web_server},
    scene::{NEXT, REACHED_SSH, REFUSED, SSH, Scene, WEB},
    suite::{Suite, Test, tests},
    vm::said,
};

pub fn tests() -> Vec<Test> {
    tests![
        a_release_is_installed_used_upgraded_and_uninstalled_and_the_node_is_as_before,
        a_release_serves_pods_with_exactly_the_capabilities_it_needs,
    ]
}

/// How long to wait without changes before the memory of controller and agent is printed, from `IDLE`, in seconds.
fn idle() -> Option<Duration> {
    let seconds = env::var("IDLE").ok().filter(|idle| !idle.is_empty())?;
    let seconds = seconds.parse();
    Some(Duration::from_secs(seconds.expect("IDLE=SECONDS")))
}

async fn a_release_is_installed_used_upgraded_and_uninstalled_and_the_node_is_as_before(
    suite: &Suite,
) {
    let mut scene = Scene::new(suite).await;
    scene.vm.sees(SSH, REFUSED);
    scene.install(&[]).await;
    scene.helm(&["test", "vrfgate"]).await;

    apply(&scene.admin, &read("examples/management.yaml"))
        .await
        .unwrap();
    scene.leak_becomes("management", "InForce").await;
    scene.vm.sees(SSH, REACHED_SSH);
    scene.vm.sees(WEB, REFUSED);
    assert_ne!(scene.state(), scene.before);
    if let Some(idle) = idle() {
        tokio::time::sleep(idle).await;
        println!("idle: {}", scene.vm.tell("how much memory?"));
    }

    println!("{}", scene.time_edits("management").await);

    scene.vm.tell("talk to 192.0.2.1:22");
    scene.vm.tell("keep connecting to 192.0.2.1:22");
    scene
        .upgrade(&["--set", &format!("image.tag={NEXT}")])
        .await;
    scene.leak_becomes("management", "InForce").await;
    let attempts: u32 = scene.vm.tell("stop connecting").parse().unwrap();
    assert!(attempts > 100, "the client made {attempts} attempts only");
    println!("{attempts} connections while the release was upgraded: 0 failed");
    scene.vm.tell("still talk");
    scene.helm(&["test", "vrfgate"]).await;
    println!("after load: {}", scene.vm.tell("how much memory?"));

    scene.uninstall().await;
    scene.end();
}

async fn a_release_serves_pods_with_exactly_the_capabilities_it_needs(suite: &Suite) {
    let mut scene = Scene::new(suite).await;
    scene.install(&["--set=agent.hostPID=true"]).await;
    scene
        .may_do(&["NET_ADMIN", "SYS_PTRACE", "SYS_ADMIN"])
        .await;

    // The plugin is the one that the agent has installed.
    scene.vm.tell("attach pods to BLUE");
    create(&scene.pods, web_server("upf", "upf")).await;
    let address = starts(&scene.pods, "upf").await;
    let [listed, more] = [LISTED, 9090].map(|port| browse(&address, port));
    scene.vm.soon_sees(&listed, SERVED);
    scene.vm.sees(&more, REFUSED);
    scene.leak("more", &opening(9090)).await;
    scene.leak_becomes("more", "InForce").await;
    scene.vm.sees(&more, SERVED);

    let with_pods = ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"];
    scene
        .needs(
            &with_pods,
            "NET_ADMIN",
            "attach the gate to a network namespace",
        )
        .await;
    scene
        .needs(&with_pods, "SYS_ADMIN", "load the gate's BPF programs")
        .await;
    scene
        .needs(
            &with_pods,
            "SYS_PTRACE",
            "what pods leave that vanish isn't removed",
        )
        .await;
    // Whatever became of the agents.
    scene.vm.sees(&more, SERVED);
    delete(&scene.leaks, "more").await;
    delete(&scene.pods, "upf").await;
    // A runtime calls DEL of the plugins of the network that exists then.
    eventually("a pod that is gone", async || {
        match scene.pods.get_opt("upf").await.unwrap() {
            None => Ok(()),
            Some(pod) => Err(format!("{:?}\n{}", pod.status, said())),
        }
    })
    .await;
    scene.vm.tell("attach pods to no VRF");

    scene.upgrade(&["--set=agent.pods.enabled=false"]).await;
    scene.may_do(&["NET_ADMIN", "PERFMON", "BPF"]).await;
    let without_pods = ["NET_ADMIN", "BPF", "PERFMON"];
    scene
        .needs(&without_pods, "BPF", "load the gate's BPF programs")
        .await;
    scene.needs(&without_pods, "PERFMON", "trace sockets").await;

    scene.upgrade(&[]).await;
    scene.uninstall().await;
    scene.end();
}
