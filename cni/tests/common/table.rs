//! Every verb of CNI in every way that a runtime may come to use it, and what is answered: by vrfgate, and by the
//! reference plugins, which are written with the library of the specification's authors.

use serde_json::json;

use super::{Call, Plugin, Reply, Sandbox, VERSIONS};

/// How a verb is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Valid,
    NoPrevResult,
    BadJson,
    EmptyStdin,
    NoContainerId,
    NoNetns,
    NoIfname,
    NoPath,
    NoCommand,
    NoName,
    VanishedNetns,
    Repeated,
    /// Before anything: without an ADD, or after the DEL.
    OutOfOrder,
}

use Case::{
    BadJson, EmptyStdin, NoCommand, NoContainerId, NoIfname, NoName, NoNetns, NoPath, NoPrevResult,
    OutOfOrder, Repeated, Valid, VanishedNetns,
};

/// `None` is success.
type Code = Option<u64>;

/// One row: what vrfgate answers, and what a reference plugin does where that is something else, with the reason.
pub struct Row {
    pub verb: &'static str,
    pub case: Case,
    ours: Code,
    theirs: Option<(Code, &'static str)>,
}

const fn row(verb: &'static str, case: Case, ours: Code) -> Row {
    Row {
        verb,
        case,
        ours,
        theirs: None,
    }
}

impl Row {
    const fn but_reference(self, code: Code, why: &'static str) -> Self {
        Self {
            theirs: Some((code, why)),
            ..self
        }
    }

    pub const fn ours(&self) -> Code {
        self.ours
    }

    pub fn theirs(&self) -> Code {
        self.theirs.map_or(self.ours, |(code, _)| code)
    }
}

const OK: Code = None;
const ENVIRONMENT: Code = Some(4);
const DECODING: Code = Some(6);
const CONFIGURATION: Code = Some(7);
const INTERNAL: Code = Some(999);

const NO_OWN_CODE: &str = "the reference has one code for whatever a plugin returns without one";
const NETNS_IS_ENVIRONMENT: &str =
    "CNI_NETNS names no namespace: the specification's code for a variable that can't be used is 4";
const PATH_IS_OPTIONAL: &str =
    "the specification has CNI_PATH optional here, and vrfgate starts no other plugin";
const COMMAND_IS_REQUIRED: &str =
    "the specification says 4; the reference prints its name, and succeeds";

pub const TABLE: &[Row] = &[
    row("ADD", Valid, OK),
    row("ADD", NoPrevResult, CONFIGURATION).but_reference(INTERNAL, NO_OWN_CODE),
    row("ADD", BadJson, DECODING),
    row("ADD", EmptyStdin, DECODING),
    row("ADD", NoContainerId, ENVIRONMENT),
    row("ADD", NoNetns, ENVIRONMENT),
    row("ADD", NoIfname, ENVIRONMENT),
    row("ADD", NoPath, OK).but_reference(ENVIRONMENT, PATH_IS_OPTIONAL),
    row("ADD", NoCommand, ENVIRONMENT).but_reference(OK, COMMAND_IS_REQUIRED),
    row("ADD", NoName, CONFIGURATION),
    row("ADD", VanishedNetns, ENVIRONMENT).but_reference(INTERNAL, NETNS_IS_ENVIRONMENT),
    row("ADD", Repeated, OK),
    row("ADD", OutOfOrder, OK),
    row("DEL", Valid, OK),
    row("DEL", NoPrevResult, OK),
    row("DEL", BadJson, DECODING),
    row("DEL", EmptyStdin, DECODING),
    row("DEL", NoContainerId, ENVIRONMENT),
    row("DEL", NoNetns, OK),
    row("DEL", NoIfname, ENVIRONMENT),
    row("DEL", NoPath, OK).but_reference(ENVIRONMENT, PATH_IS_OPTIONAL),
    row("DEL", NoCommand, ENVIRONMENT).but_reference(OK, COMMAND_IS_REQUIRED),
    row("DEL", NoName, CONFIGURATION),
    row("DEL", VanishedNetns, OK),
    row("DEL", Repeated, OK),
    row("DEL", OutOfOrder, OK),
    row("CHECK", Valid, OK),
    row("CHECK", NoPrevResult, CONFIGURATION).but_reference(INTERNAL, NO_OWN_CODE),
    row("CHECK", BadJson, DECODING),
    row("CHECK", EmptyStdin, DECODING),
    row("CHECK", NoContainerId, ENVIRONMENT),
    row("CHECK", NoNetns, ENVIRONMENT),
    row("CHECK", NoIfname, ENVIRONMENT),
    row("CHECK", NoPath, OK).but_reference(ENVIRONMENT, PATH_IS_OPTIONAL),
    row("CHECK", NoCommand, ENVIRONMENT).but_reference(OK, COMMAND_IS_REQUIRED),
    row("CHECK", NoName, CONFIGURATION),
    row("CHECK", VanishedNetns, ENVIRONMENT).but_reference(INTERNAL, NETNS_IS_ENVIRONMENT),
    row("CHECK", Repeated, OK),
    row("CHECK", OutOfOrder, OK),
    row("GC", Valid, OK),
    row("GC", NoPrevResult, OK),
    row("GC", BadJson, DECODING),
    row("GC", EmptyStdin, DECODING),
    row("GC", NoContainerId, OK),
    row("GC", NoNetns, OK),
    row("GC", NoIfname, OK),
    row("GC", NoPath, ENVIRONMENT),
    row("GC", NoCommand, ENVIRONMENT).but_reference(OK, COMMAND_IS_REQUIRED),
    row("GC", NoName, CONFIGURATION),
    row("GC", VanishedNetns, OK),
    row("GC", Repeated, OK),
    row("GC", OutOfOrder, OK),
    row("STATUS", Valid, OK),
    row("STATUS", NoPrevResult, OK),
    row("STATUS", BadJson, DECODING),
    row("STATUS", EmptyStdin, DECODING),
    row("STATUS", NoContainerId, OK),
    row("STATUS", NoNetns, OK),
    row("STATUS", NoIfname, OK),
    row("STATUS", NoPath, OK).but_reference(ENVIRONMENT, PATH_IS_OPTIONAL),
    row("STATUS", NoCommand, ENVIRONMENT).but_reference(OK, COMMAND_IS_REQUIRED),
    row("STATUS", NoName, CONFIGURATION),
    row("STATUS", VanishedNetns, OK),
    row("STATUS", Repeated, OK),
    row("STATUS", OutOfOrder, OK),
    row("VERSION", Valid, OK),
    row("VERSION", NoPrevResult, OK),
    row("VERSION", BadJson, OK),
    row("VERSION", EmptyStdin, OK),
    row("VERSION", NoContainerId, OK),
    row("VERSION", NoNetns, OK),
    row("VERSION", NoIfname, OK),
    row("VERSION", NoPath, OK),
    row("VERSION", NoCommand, ENVIRONMENT).but_reference(OK, COMMAND_IS_REQUIRED),
    row("VERSION", NoName, OK),
    row("VERSION", VanishedNetns, OK),
    row("VERSION", Repeated, OK),
    row("VERSION", OutOfOrder, OK),
];

/// Runs every row in every version, and compares the code with the one that is expected. Each reply is handed on.
#[track_caller]
pub fn play(
    plugin_in: impl Fn(&Sandbox) -> Plugin,
    expected: impl Fn(&Row) -> Code,
    mut look: impl FnMut(&Row, &str, &Call, &Reply),
) {
    let mut wrong = Vec::new();
    for row in TABLE {
        for version in VERSIONS {
            let mut sandbox = Sandbox::new();
            let plugin = plugin_in(&sandbox);
            let call = prepare(&mut sandbox, &plugin, row, version);
            let reply = call.run();
            let (found, wanted) = (reply.code(), in_version(row, version, expected(row)));
            if found == wanted {
                look(row, version, &call, &reply);
            } else {
                wrong.push(format!(
                    "{} {:?} in {version}: {found:?} instead of {wanted:?}: {reply:?}",
                    row.verb, row.case
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A verb that its version doesn't have is refused as soon as the configuration is read.
fn in_version(row: &Row, version: &str, code: Code) -> Code {
    let since = match row.verb {
        "CHECK" => "0.4.0",
        "GC" | "STATUS" => "1.1.0",
        _ => return code,
    };
    let before_that = matches!(row.case, BadJson | EmptyStdin | NoCommand | NoName)
        || code == ENVIRONMENT && row.case != VanishedNetns;
    if version < since && !before_that {
        Some(1)
    } else {
        code
    }
}

/// The call of a row, with everything done that comes before it.
fn prepare(sandbox: &mut Sandbox, plugin: &Plugin, row: &Row, version: &str) -> Call {
    let add = sandbox.call(plugin, "ADD", version);
    let mut call = sandbox.call(plugin, row.verb, version);
    if row.verb == "GC" {
        let none: [(); 0] = [];
        call = call.set("cni.dev/valid-attachments", json!(none));
    }
    match (row.verb, row.case) {
        ("ADD", OutOfOrder) => {
            add.must();
            sandbox.call(plugin, "DEL", version).must();
        }
        (_, OutOfOrder) | ("ADD", Valid) => {}
        _ => drop(add.must()),
    }
    match row.case {
        Valid | OutOfOrder => {}
        NoPrevResult => call = call.unset("prevResult"),
        BadJson => call = call.saying("{\"cniVersion\": "),
        EmptyStdin => call = call.saying(""),
        NoContainerId => call = call.without("CNI_CONTAINERID"),
        NoNetns => call = call.without("CNI_NETNS"),
        NoIfname => call = call.without("CNI_IFNAME"),
        NoPath => call = call.without("CNI_PATH"),
        NoCommand => call = call.without("CNI_COMMAND"),
        NoName => call = call.unset("name"),
        VanishedNetns => sandbox.lose_namespace(),
        Repeated => drop(call.run()),
    }
    call
}
