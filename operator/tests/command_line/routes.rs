//! Routes of ours among somebody else's, in a namespace without VRFs: a policy rule leads into the table in their place.

use std::{net::IpAddr, time::Duration};

use vrfgate_core::{NodeFacts, Prefix, RouteKey, WantedRoute, Way};
use vrfgate_operator::node::{Refusal, RouteOutcome, Watcher};

use crate::sandbox::Sandbox;

/// One address family's names for the same things.
struct Family {
    option: &'static str,
    address: &'static str,
    everything: &'static str,
    /// The end of duplicate address detection is news, a second or two after the address is there.
    nodad: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        option: "-4",
        address: "192.0.2.1",
        everything: "192.0.2.0/24",
        nodad: "",
    },
    Family {
        option: "-6",
        address: "2001:db8:a::1",
        everything: "2001:db8:a::/64",
        nodad: "nodad",
    },
];

const TABLE: u32 = 10;

struct Scene {
    sandbox: Sandbox,
    watcher: Watcher,
    facts: NodeFacts,
    wanted: Vec<WantedRoute>,
}

impl Scene {
    /// A device `lan` with an address, whose route in table 10 is ours.
    async fn new(family: &Family) -> Self {
        let sandbox = Sandbox::new();
        for command in [
            "link set lo up",
            "link add lan type veth peer name far",
            // An address that the kernel makes up is news, a second or two after the device is up.
            "link set lan addrgenmode none",
            "link set far addrgenmode none",
            "link set lan up",
            "link set far up",
            &format!(
                "{} address add {}/32 dev lan {}",
                family.option, family.address, family.nodad
            ),
            &format!(
                "{} rule add pref 10 to {} lookup 10",
                family.option, family.everything
            ),
            &format!("{} rule add pref 32765 lookup local", family.option),
            &format!("{} rule del pref 0", family.option),
        ] {
            sandbox.ip(command);
        }
        let watcher = Watcher::new(&sandbox.netns()).unwrap();
        let facts = watcher.facts().await.unwrap();
        let lan = facts.links.iter().find(|link| link.name == "lan").unwrap();
        let address: IpAddr = family.address.parse().unwrap();
        let wanted = vec![WantedRoute {
            leak: "ssh".parse().unwrap(),
            key: RouteKey {
                table: TABLE,
                prefix: Prefix::host(address),
                metric: None,
            },
            way: Way::Local {
                device: lan.ifindex,
            },
        }];
        let mut scene = Self {
            sandbox,
            watcher,
            facts,
            wanted,
        };
        // The kernel reports a carrier up to a second late.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        scene.hears().await;
        scene
    }

    async fn bring(&mut self) -> RouteOutcome {
        let routes = self.watcher.reconcile_routes(&self.wanted, &self.facts);
        routes.await.unwrap()
    }

    /// Whether there is word of a change, now or soon. Takes all there is.
    async fn hears(&mut self) -> bool {
        let mut heard = false;
        let a_moment = Duration::from_millis(300);
        while tokio::time::timeout(a_moment, self.watcher.changed())
            .await
            .is_ok()
        {
            heard = true;
        }
        heard
    }

    fn shown(&self, family: &Family) -> String {
        self.sandbox
            .ip(&format!("{} route show table 10", family.option))
    }
}

#[tokio::test]
async fn a_route_in_the_place_of_ours_is_heard_of_and_told_with_who_made_it() {
    for family in &FAMILIES {
        let Family {
            option, address, ..
        } = family;
        let mut scene = Scene::new(family).await;
        let key = scene.wanted[0].key;
        assert_eq!(scene.bring().await.made, [key].into());
        assert!(!scene.hears().await, "a route of ours is no news");
        let metric = if *option == "-6" { " metric 1" } else { "" };

        // Only RTM_NEWROUTE tells of it.
        scene.sandbox.ip(&format!(
            "{option} route replace {address} dev lan table 10 proto bgp{metric}"
        ));
        assert!(scene.hears().await, "{address}");
        let outcome = scene.bring().await;

        let Some(Refusal::SomebodyElses(theirs)) = outcome.refused.get(&key) else {
            panic!("{outcome:?} with {}", scene.shown(family));
        };
        assert!(
            theirs
                .text
                .contains(&format!("{address} dev lan table 10 proto bgp"))
        );
        assert_eq!((theirs.made_by.as_str(), theirs.is_local), ("bgp", false));

        scene
            .sandbox
            .ip(&format!("{option} route del {address} table 10 proto bgp"));
        assert!(scene.hears().await, "{address}");
        let outcome = scene.bring().await;
        assert_eq!(outcome.made, [key].into());
        assert_eq!((outcome.refused.len(), outcome.overruled.len()), (0, 0));
    }
}

#[tokio::test]
async fn a_route_that_wins_over_ours_is_heard_of_and_told_and_one_that_does_not_is_not_told() {
    let [ipv4, ipv6] = &FAMILIES;
    for (family, metric, loses, wins) in [
        (
            ipv4,
            None,
            "append 192.0.2.1 dev lan",
            "prepend 192.0.2.1 dev lan",
        ),
        (
            ipv4,
            None,
            "add 192.0.2.1 dev lan metric 20",
            "prepend unreachable 192.0.2.1",
        ),
        (
            ipv6,
            Some(30),
            "add 2001:db8:a::1 dev lan metric 40",
            "add 2001:db8:a::1 dev lan metric 20",
        ),
        (
            ipv6,
            Some(30),
            "add 2001:db8:a::1 dev lan metric 40",
            "add unreachable 2001:db8:a::1 metric 20",
        ),
    ] {
        let mut scene = Scene::new(family).await;
        let option = family.option;
        scene.wanted[0].key.metric = metric;
        let ours = scene.wanted[0].key;
        scene.bring().await;
        assert!(!scene.hears().await);

        scene
            .sandbox
            .ip(&format!("{option} route {loses} table 10 proto static"));
        assert!(scene.hears().await, "{loses}");
        let outcome = scene.bring().await;
        assert_eq!(
            (outcome.refused.len(), outcome.overruled.len()),
            (0, 0),
            "{loses}"
        );

        scene
            .sandbox
            .ip(&format!("{option} route {wins} table 10 proto bgp"));
        assert!(scene.hears().await, "{wins}");
        let outcome = scene.bring().await;
        let Some(theirs) = outcome.overruled.get(&ours) else {
            panic!("{wins}: {outcome:?} with {}", scene.shown(family));
        };
        assert_eq!(theirs.made_by, "bgp", "{wins}: {theirs:?}");
        assert!(theirs.text.contains(family.address), "{wins}: {theirs:?}");
    }
}

#[tokio::test]
async fn routes_of_a_routing_daemon_that_are_none_of_our_business_are_not_heard_of() {
    let mut scene = Scene::new(&FAMILIES[0]).await;
    scene.bring().await;
    scene.hears().await;

    for third in 0..100 {
        scene.sandbox.ip(&format!(
            "route add 198.18.{third}.0/24 dev lan table 10 proto bgp"
        ));
    }
    scene
        .sandbox
        .ip("route add 192.0.2.2 dev lan table 10 proto bgp");
    scene
        .sandbox
        .ip("route add 192.0.2.1 dev lan table 11 proto bgp");

    assert!(!scene.hears().await);
}

#[tokio::test]
async fn who_stands_in_our_place_is_told_where_another_table_answers_before() {
    for family in &FAMILIES {
        let Family {
            option, address, ..
        } = family;
        let mut scene = Scene::new(family).await;
        scene
            .sandbox
            .ip(&format!("{option} rule add pref 0 lookup local"));
        let metric = i32::from(*option == "-6");
        let theirs =
            format!("{option} route add {address} dev lan table 10 proto ospf metric {metric}");
        scene.sandbox.ip(&theirs);
        for _ in 0..2 {
            let outcome = scene.bring().await;
            let refused = &outcome.refused[&scene.wanted[0].key];
            assert!(
                matches!(refused, Refusal::SomebodyElses(theirs) if theirs.made_by == "ospf"),
                "{outcome:?}"
            );
        }
        scene.hears().await;

        // What is remembered of it is of no use any more.
        scene.sandbox.ip(&theirs
            .replace("route add", "route replace")
            .replace("ospf", "isis"));
        assert!(scene.hears().await);
        let outcome = scene.bring().await;
        let refused = &outcome.refused[&scene.wanted[0].key];
        assert!(
            matches!(refused, Refusal::SomebodyElses(theirs) if theirs.made_by == "isis"),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn local_ipv6_routes_win_over_what_a_routing_daemon_leaks_and_those_of_older_versions_go() {
    let ipv6 = &FAMILIES[1];
    let mut scene = Scene::new(ipv6).await;
    // As versions before made them.
    scene
        .sandbox
        .ip("-6 route add local 2001:db8:a::1 dev lan table 10 proto 118 metric 1024");
    // As FRR leaks them.
    scene
        .sandbox
        .ip("-6 route add 2001:db8:a::1 dev lo table 10 proto bgp metric 20");

    let outcome = scene.bring().await;

    assert_eq!((outcome.made.len(), outcome.removed), (1, 1));
    assert_eq!(
        (outcome.refused.len(), outcome.overruled.len()),
        (0, 0),
        "{outcome:?}"
    );
    let shown = scene.shown(ipv6);
    assert!(
        shown.contains("local 2001:db8:a::1 dev lan proto 118 metric 1 "),
        "{shown}"
    );
    assert!(!shown.contains("1024"), "{shown}");
    assert!(shown.contains("proto bgp"), "theirs is left alone: {shown}");
}
