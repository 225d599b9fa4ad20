//! Any bytes are a file, the last of them ask for edits of it. Invariants, of every plan there is:
//! 1. It is carried out, proven, and the new file says what was asked for; see `proof::prove`.
//! 2. What is written fresh in place is read by nobody before the commit, and the commit lies in one page.
//! 3. A file that had no record of an edit is given back byte for byte, if the record was asked for and had room.
#![no_main]

use libfuzzer_sys::fuzz_target;
use patcher::{plan_with, undo};
use xeno_fuzz::ask::{ask, split};
use xeno_fuzz::proof::prove;

fuzz_target!(|input: &[u8]| {
    let (file, mut request) = split(input);
    let Ok(ask) = ask(&mut request) else { return };
    let Ok(plan) = plan_with(file, &ask.edits, &ask.options) else { return };
    let Some(after) = prove(&plan, file, &ask) else { return };
    let kept = ask.options.undo && !plan.remarks().iter().any(|r| r.contains("cannot be undone"));
    if kept && !plan.is_empty() && undo(file).is_err() {
        let back = undo(&after).unwrap_or_else(|error| panic!("not undone: {error}: {ask:?}\n{plan}"));
        assert!(back.apply(&after).as_deref() == Ok(file), "not the original: {ask:?}\n{plan}\n{back}");
    }
});
