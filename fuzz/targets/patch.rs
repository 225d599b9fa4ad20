//! A program is built from the input, some of its fields lie, and it is edited one to six times, in either
//! way each time. Invariants:
//! 1. Each plan keeps its promises; see `proof::{most, prove}`.
//! 2. A program without lies is never refused an edit that its texts allow.
//! 3. After every edit, undoing gives the first file byte for byte.
//! 4. The file has not grown by more than all its edits at once would need.
#![no_main]

use libfuzzer_sys::fuzz_target;
use patcher::{Edit, Kind, Options, Way, plan_with, undo};
use xeno_fuzz::ask::{Ask, edit};
use xeno_fuzz::base::file;
use xeno_fuzz::proof::{most, prove};

fuzz_target!(|input: &[u8]| {
    let mut u = arbitrary::Unstructured::new(input);
    let Ok((first, true_throughout)) = file(&mut u) else { return };
    let count = u.int_in_range(1..=6).unwrap_or(1);
    let (mut now, mut original, mut all): (_, _, Vec<Edit>) = (first.clone(), first.clone(), Vec::new());
    for _ in 0..count {
        let Ok(edit) = edit(&mut u) else { return };
        let way = if u.arbitrary().unwrap_or(false) { Way::InPlace } else { Way::Replace };
        let ask = Ask { edits: vec![edit], options: Options { way, ..Options::default() } };
        let plan = match plan_with(&now, &ask.edits, &ask.options) {
            Ok(plan) => plan,
            Err(error) => {
                let symbols = matches!(ask.edits[..], [Edit::ClearSymbolVersion(_) | Edit::RenameSymbols(_)]);
                let texts = [Kind::Absent, Kind::BadEdit].contains(&error.kind()) || error.to_string().contains("use a shorter text");
                assert!(!true_throughout || texts || symbols, "{error}: {ask:?} after {all:?}");
                continue;
            }
        };
        if undo(&now).is_err() {
            original = now.clone();
        }
        let Some(after) = prove(&plan, &now, &ask) else { return };
        now = after;
        all.extend(ask.edits);
        assert!(now.len() as u64 <= most(&first, &all), "{} bytes of {} after {all:?}", now.len(), first.len());
        if now == original || plan.is_empty() || plan.remarks().iter().any(|r| r.contains("cannot be undone")) {
            continue;
        }
        let back = undo(&now).unwrap_or_else(|error| panic!("not undone: {error}: {all:?}\n{plan}"));
        assert!(back.apply(&now).as_deref() == Ok(&original[..]), "not the original after {all:?}\n{plan}\n{back}");
    }
});
