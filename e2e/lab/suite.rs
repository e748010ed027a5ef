//! Tests as values: a function's name is the sentence, its group comes before it, its family after it.

use std::{
    any::Any,
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError, RwLock},
};

use libtest_mimic::{Failed, Trial};
pub use vrfgate_e2e::soon;

use crate::net::{Net, V4, V6};

/// Makes [`Trial`]s of functions: those under `each family` take a [`Net`] and run once for IPv4 and once
/// for IPv6, those under `once` take nothing, and while one under `alone` runs, no other does: it changes something that
/// all have in common.
macro_rules! tests {
    (
        $group:literal;
        $(each family: $($each:ident),+ $(,)?;)?
        $(once: $($once:ident),+ $(,)?;)?
        $(alone: $($alone:ident),+ $(,)?;)?
    ) => {
        /// The tests of this file.
        pub fn tests() -> Vec<libtest_mimic::Trial> {
            let each: &[$crate::suite::EachFamily] = &[$($((stringify!($each), $each)),+)?];
            let once: &[$crate::suite::Once] = &[$($((stringify!($once), $once)),+)?];
            let alone: &[$crate::suite::Once] = &[$($((stringify!($alone), $alone)),+)?];
            $crate::suite::trials($group, each, once, alone)
        }
    };
}
pub(crate) use tests;

/// A test that runs once for each family, by name.
pub type EachFamily = (&'static str, fn(&Net));
/// A test that has no family, or both, by name.
pub type Once = (&'static str, fn());

/// Held by every test that runs, and by one that runs alone as the only one.
static COMMON: RwLock<()> = RwLock::new(());

/// One trial for each family, then those that have none or both.
pub fn trials(group: &str, each: &[EachFamily], once: &[Once], alone: &[Once]) -> Vec<Trial> {
    let each = each.iter().flat_map(|&(name, test)| {
        [&V4, &V6].map(|net| {
            trial(format!("{group}::{name}::{}", net.name), move || {
                beside_others(|| test(net));
            })
        })
    });
    let once = once
        .iter()
        .map(|&(name, test)| trial(format!("{group}::{name}"), move || beside_others(test)));
    let alone = alone.iter().map(|&(name, test)| {
        trial(format!("{group}::{name}"), move || {
            let _common = COMMON.write().unwrap_or_else(PoisonError::into_inner);
            test();
        })
    });
    each.chain(once).chain(alone).collect()
}

/// A test while which no other may run alone.
pub fn beside_others(test: impl FnOnce()) {
    let _common = COMMON.read().unwrap_or_else(PoisonError::into_inner);
    test();
}

/// Tests that failed once, and why.
static TRIED_TWICE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Tests that failed once, whatever became of them then, and why.
pub fn tried_twice() -> Vec<String> {
    let tried = TRIED_TWICE.lock().unwrap_or_else(PoisonError::into_inner);
    tried.clone()
}

/// An emulated machine that is busy with other tests misses a deadline at times: what fails is tried once more,
/// and told. What fails twice has failed.
pub fn trial(name: String, test: impl Fn() + Send + 'static) -> Trial {
    let title = name.clone();
    Trial::test(name, move || {
        let Err(story) = attempt(&test) else {
            return Ok(());
        };
        eprintln!("{title} is tried once more, because: {story}");
        TRIED_TWICE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{title}, because: {story}"));
        attempt(&test).map_err(Failed::from)
    })
}

fn attempt(test: &impl Fn()) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(test)).map_err(|panicked| story(&*panicked))
}

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Replaces the panic message that would be printed at once, amid other tests' lines, by a note of its place.
pub fn remember_where_tests_fail() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        PLACE.with(|remembered| *remembered.borrow_mut() = place);
    }));
}

fn story(panicked: &(dyn Any + Send)) -> String {
    let message = panicked
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panicked.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without words".to_owned());
    match PLACE.with(|place| place.borrow_mut().take()) {
        Some(place) => format!("{place}: {message}"),
        None => message,
    }
}
