//! More leaks than the gate has room for: the oldest serve, and the rest is named.

use std::fmt::Write as _;

use crate::{
    leaks::open_tcp,
    net::{V4, V6},
    suite::tests,
};

tests! {
    "gate";
    once:
        of_1100_rules_in_20_leaks_those_that_fit_serve_their_clients_and_status_names_the_rest,
        what_a_leak_opens_by_one_name_is_one_rule_with_one_counter;
}

/// Leaks to BLUE with 55 rules each, one for each port from 2000 on.
fn leaks_of_55_rules(count: u16) -> String {
    let mut text = String::new();
    for leak in 0..count {
        let services: Vec<String> = (0..55)
            .map(|service| {
                let port = 2000 + leak * 55 + service;
                format!(
                    "{{name: s{port}, protocol: TCP, port: {port}, addresses: [{}, \"{}\"]}}",
                    V4.main_alone(),
                    V6.main_alone()
                )
            })
            .collect();
        let _ = write!(
            text,
            "---\napiVersion: vrfgate.dev/v1alpha1\nkind: VrfLeak\nmetadata: {{name: leak{leak:02}}}\n\
             spec: {{vrf: BLUE, services: [{}]}}\n",
            services.join(", ")
        );
    }
    text
}

fn of_1100_rules_in_20_leaks_those_that_fit_serve_their_clients_and_status_names_the_rest() {
    let (lab, client) = V4.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", "10.0.0.1/24")
        .client("10.0.0.2/24");
    let fits = [2000, 2000 + 17 * 55 + 54];
    let too_much = [2000 + 18 * 55, 2000 + 19 * 55 + 54];
    let _servers: Vec<_> = fits
        .iter()
        .chain(&too_much)
        .chain(&[22])
        .map(|port| lab.listen("server").tcp(V4.any(*port)))
        .collect();
    let mut vrfgate = lab.vrfgate();
    // Younger than all of them, of another VRF, and small.
    let younger = open_tcp("RED", &V4, &[22]);
    vrfgate.start(&(leaks_of_55_rules(20) + &younger));

    for port in fits {
        client.connect(V4.main(port)).should_reach("server");
    }
    for port in too_much {
        client.connect(V4.main(port)).should_be_refused();
    }
    red.connect(V4.main(22)).should_reach("server");
    let status = vrfgate.status();
    for leak in status["leaks"].as_array().into_iter().flatten() {
        let expected = match leak["name"].as_str() {
            Some("leak18" | "leak19") => ("Failed", Some("NoRoom")),
            _ => ("InForce", None),
        };
        let found = (
            leak["state"].as_str().unwrap_or_default(),
            leak["reason"].as_str(),
        );
        assert_eq!(found, expected, "{leak}");
    }
    let text = vrfgate.status_text();
    assert!(
        text.contains("Leak leak19 has no room beside older leaks"),
        "{text}"
    );
    assert!(!text.contains("Not in force"), "{text}");

    // What goes makes room for what waited.
    vrfgate.write(&(leaks_of_55_rules(20).split_off(leaks_of_55_rules(2).len()) + &younger));
    vrfgate.should_say("leak leak19 is in force");
    for port in too_much {
        client.connect(V4.main(port)).should_reach("server");
    }
    client.connect(V4.main(2000)).should_be_refused();
}

/// A range of ports on addresses of both families: many entries, and one line in `status`.
fn what_a_leak_opens_by_one_name_is_one_rule_with_one_counter() {
    let (lab, client) = V4.one_vrf();
    let _servers = [8000, 8001, 8010].map(|port| lab.listen("web").tcp(V4.any(port)));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&crate::leaks::leak(
        "BLUE",
        &format!(
            "services: [{{name: web, protocol: TCP, port: 8000, endPort: 8010, addresses: [{}, \"{}\"]}}]",
            V4.main_alone(),
            V6.main_alone()
        ),
    ));
    for port in [8000, 8001, 8010] {
        client.connect(V4.main(port)).should_reach("web");
    }
    let status = vrfgate.status();
    let rules = &status["gate"]["vrfs"][0]["rules"];
    assert_eq!(rules.as_array().map(Vec::len), Some(1), "{rules}");
    assert_eq!(rules[0]["opens"][0]["ports"]["start"], 8000, "{rules}");
    // A SYN that is sent again is looked up again.
    let passed = rules[0]["hits"]["passed"].as_u64();
    assert!(passed.is_some_and(|passed| passed >= 3), "{rules}");
}
