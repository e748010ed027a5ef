use super::*;
use crate::install::ChainConfig;

fn entry(config: &str) -> Entry {
    Entry::new(&config.parse::<ChainConfig>().unwrap())
}

fn with(text: &str, entry: &Entry) -> Result<Change, String> {
    Conflist::parse(text.as_bytes())?.with(entry)
}

fn without(text: &str) -> Option<String> {
    Conflist::parse(text.as_bytes()).unwrap().without()
}

const OURS_TEXT: &str = r#"{"type": "vrfgate", "managedBy": "vrfgate"}"#;

#[test]
fn an_entry_is_the_last_plugin_and_looks_like_its_neighbours() {
    for (list, place) in [
        (r#"{"cniVersion":"1.0.0","plugins":[{"type":"a"}@]}"#, ","),
        (
            r#"{"cniVersion":"1.0.0","plugins":[{"type":"a"}, {"type":"b"}@ ]}"#,
            ", ",
        ),
        (
            "{\"cniVersion\":\"1.0.0\",\"plugins\":[\n\t{\"type\":\"a\"}@\n]}\n",
            ",\n\t",
        ),
        (
            "{\"cniVersion\":\"1.0.0\",\"plugins\":[\r\n  {\"a\":[{}]}@\r\n]}",
            ",\r\n  ",
        ),
    ] {
        let before = list.replace('@', "");
        let after = list.replace('@', &format!("{place}{OURS_TEXT}"));
        let change = with(&before, &entry("{}"));
        assert_eq!(change, Ok(Change::Add(after.clone())), "{list}");
        assert_eq!(with(&after, &entry("{}")), Ok(Change::None), "{list}");
        assert_eq!(without(&after), Some(before), "{list}");
    }
}

#[test]
fn an_entry_that_says_something_else_is_replaced_where_it_is() {
    let list = |ours: &str| {
        format!(
            r#"{{"cniVersion": "1.0.0", "plugins": [{{"type": "a"}}, {ours}, {{"type": "b"}}]}}"#
        )
    };
    let blue = entry(r#"{"vrf": "BLUE"}"#);
    let change = with(&list(OURS_TEXT), &blue);
    assert_eq!(change, Ok(Change::Replace(list(blue.text()))));
    let the_same = "{ \"vrf\":\"BLUE\",\n\"managedBy\":\"vrfgate\", \"type\":\"vrfgate\" }";
    assert_eq!(with(&list(the_same), &blue), Ok(Change::None));
}

#[test]
fn an_entry_that_somebody_else_wrote_is_left_alone() {
    for by_hand in [
        r#"{"type": "vrfgate"}"#,
        r#"{"type": "vrfgate", "managedBy": "ansible"}"#,
        r#"{"type": "vrfgate"}, {"type": "vrfgate", "managedBy": "vrfgate"}"#,
    ] {
        let list = format!(r#"{{"cniVersion": "1.0.0", "plugins": [{{"type": "a"}}, {by_hand}]}}"#);
        assert_eq!(with(&list, &entry("{}")), Ok(Change::ByHand), "{list}");
    }
    let by_hand = r#"{"plugins": [{"type": "a"}, {"type": "vrfgate"}]}"#;
    assert_eq!(without(by_hand), None);
    let list = Conflist::parse(by_hand.as_bytes()).unwrap();
    assert!(list.uses_us());
}

#[test]
fn what_is_ours_goes_wherever_others_have_moved_it() {
    let list = |plugins: &str| format!(r#"{{"plugins": [ {plugins} ]}}"#);
    for (before, after) in [
        (
            format!(r#"{OURS_TEXT}, {{"type": "a"}}"#),
            r#"{"type": "a"}"#,
        ),
        (
            format!(r#"{{"type": "a"}}, {OURS_TEXT} ,{{"type": "b"}}"#),
            r#"{"type": "a"} ,{"type": "b"}"#,
        ),
        (
            format!(r#"{{"type": "a"}}, {OURS_TEXT}, {OURS_TEXT}"#),
            r#"{"type": "a"}"#,
        ),
        (OURS_TEXT.to_owned(), ""),
    ] {
        assert_eq!(without(&list(&before)), Some(list(after)), "{before}");
    }
    assert_eq!(without(&list(r#"{"type": "a"}"#)), None);
}

#[test]
fn an_entry_that_would_keep_pods_from_starting_is_not_put_in() {
    for (list, why) in [
        (
            r#"{"cniVersion": "0.3.0", "plugins": [{}]}"#,
            "cniVersion: 0.3.0",
        ),
        (r#"{"plugins": [{}]}"#, "cniVersion: 0.1.0"),
        (
            r#"{"cniVersions": ["1.0.0", "1.2.0"], "plugins": [{}]}"#,
            "cniVersion: 1.2.0",
        ),
        (
            r#"{"cniVersion": "1.0.0", "plugins": []}"#,
            "plugins: there is none",
        ),
        (r#"{"cniVersion": "1.0.0"}"#, "plugins: there is none"),
        (
            r#"{"cniVersion": "1.0.0", "plugins": {}}"#,
            "plugins: invalid type",
        ),
        (
            r#"{"cniVersion": "1.0.0", "plugins": [{}"#,
            "is no JSON object",
        ),
        ("", "is no JSON object"),
    ] {
        let refused = with(list, &entry("{}")).unwrap_err();
        assert!(refused.starts_with(why), "{list}: {refused}");
    }
    let several = r#"{"cniVersions": ["1.0.0", "1.1.0"], "plugins": [{}]}"#;
    assert!(matches!(with(several, &entry("{}")), Ok(Change::Add(_))));
}
