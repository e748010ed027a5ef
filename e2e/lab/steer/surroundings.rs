//! What is reported.

use super::{both, nft, two_vrfs};
use crate::{net::V4, suite::tests};

tests! {
    "steer";
    once:
        nft_shows_what_vrfgate_does_as_people_would_write_it,
        status_tells_marks_and_services,
        status_tells_when_the_main_table_knows_no_way_to_the_clients,
        doctor_tells_of_others_who_use_the_same_bits,
        a_mask_without_room_for_every_vrf_leaves_the_last_out_and_says_so;
}

fn nft_shows_what_vrfgate_does_as_people_would_write_it() {
    let (lab, _blue, _red) = two_vrfs(&V4);
    lab.vrfgate().apply(&both(&V4));

    let shown = nft(&lab, "list table inet vrfgate");

    for words in [
        "type filter hook prerouting priority raw",
        "meta l4proto udp iif \"blue1\" jump vrf-",
        "ip daddr 192.0.2.1 udp dport 53 ct original zone set 30209 accept comment \"blue/dns\"",
        "type route hook output priority mangle",
        "ct direction reply ct original zone 30209 meta mark set meta mark | 0x0000007f",
    ] {
        assert!(shown.contains(words), "no {words:?} in\n{shown}");
    }
}

fn status_tells_marks_and_services() {
    let (lab, _blue, _red) = two_vrfs(&V4);
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&both(&V4));

    let steered = &vrfgate.status()["steering"]["vrfs"][0];
    assert_eq!(steered["vrf"], "BLUE");
    assert_eq!(steered["mark"], "0x7f");
    assert_eq!(steered["services"][0], "blue/dns");
    let text = vrfgate.status_text();
    assert!(text.contains("0x7e/0x7f"), "{text}");
}

fn status_tells_when_the_main_table_knows_no_way_to_the_clients() {
    let (lab, blue, _red) = two_vrfs(&V4);
    let _dns = lab.listen("dns").udp(V4.main(53));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&both(&V4));
    let told = |text: &str| text.contains("VRF BLUE near 10.0.0.1 fail");
    let text = vrfgate.status_text();
    assert!(!told(&text), "{text}");

    lab.ip("route del default");
    vrfgate.apply(&both(&V4));

    blue.ask(V4.main(53)).should_time_out();
    let text = vrfgate.status_text();
    assert!(told(&text), "{text}");
}

fn doctor_tells_of_others_who_use_the_same_bits() {
    let (lab, _blue, _red) = two_vrfs(&V4);
    let vrfgate = lab.vrfgate();
    let doctor = |mask: &str| {
        let output = vrfgate.call(&["doctor", "--steer-mask", mask]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let clean = doctor("0x7f");
    assert!(clean.contains("nothing else"), "{clean}");

    lab.ip("rule add pref 100 fwmark 0x10/0xf0 lookup main");
    let _ = nft(&lab, "add table ip theirs");
    let _ = nft(
        &lab,
        "add chain ip theirs out { type route hook output priority 0 ; }",
    );
    let _ = nft(
        &lab,
        "add rule ip theirs out meta mark set meta mark & 0xfffffff0 | 0x5",
    );

    let told = doctor("0x7f");
    assert!(told.contains("pref 100 fwmark 0x10/0xf0"), "{told}");
    assert!(told.contains("nft list chain ip theirs out"), "{told}");
    let elsewhere = doctor("0xff0000");
    assert!(elsewhere.contains("nothing else"), "{elsewhere}");
    // vrfgate's own table is no clash.
    vrfgate.apply(&both(&V4));
    let told = doctor("0x7f");
    assert!(
        !told.contains("inet vrfgate") && !told.contains("pref 900"),
        "{told}"
    );
}

fn a_mask_without_room_for_every_vrf_leaves_the_last_out_and_says_so() {
    let (lab, blue, red) = two_vrfs(&V4);
    let _dns = lab.listen("dns").udp(V4.main(53));
    let vrfgate = lab.vrfgate();
    vrfgate.write(&both(&V4));
    let leaks = vrfgate.leaks();

    let output = vrfgate.call(&[
        "run",
        "--once",
        "--steer-mask",
        "0x10",
        "-f",
        &leaks.to_string_lossy(),
    ]);

    assert!(output.status.success(), "{output:?}");
    blue.ask(V4.main(53)).should_reach("dns");
    red.ask(V4.main(53)).should_time_out();
    let text = vrfgate.status_text();
    assert!(
        text.contains("VRF RED are not steered: --steer-mask 0x10"),
        "{text}"
    );
}
