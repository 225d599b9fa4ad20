//! The seccomp programs of the profiles: interpreted here, instruction by instruction, for every machine, and
//! loaded into processes that then make the calls, each with the same call unfiltered as its control.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod scene;

use fhs_env::policy::{Machine, Profile, Rule, When, terminal_guard};
use scene::skip;
use std::fs;
use std::path::Path;
use std::process::Command;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;
const RISCV64: u32 = 0xc000_00f3;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const EPERM: u32 = 0x5_0000 | 1;
const ENOSYS: u32 = 0x5_0000 | 38;
const EAFNOSUPPORT: u32 = 0x5_0000 | 97;

const MACHINES: [Machine; 3] = [Machine::X86_64, Machine::Aarch64, Machine::Riscv64];

/// What the kernel's interpreter answers (`Documentation/networking/filter.rst`, `seccomp(2)`).
fn run(program: &[u8], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    data.extend(arguments.iter().flat_map(|a| a.to_le_bytes()));
    assert_eq!(program.len() % 8, 0);
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let one = &program[at * 8..at * 8 + 8];
        let code = u16::from_ne_bytes([one[0], one[1]]);
        let value = u32::from_ne_bytes([one[4], one[5], one[6], one[7]]);
        let to = |condition: bool| usize::from(if condition { one[2] } else { one[3] });
        at += 1;
        match code {
            0x20 => {
                let offset = value as usize;
                assert!(offset.is_multiple_of(4) && offset < 64, "a load the kernel refuses");
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            0x05 => at += value as usize,
            0x15 => at += to(accumulator == value),
            0x35 => at += to(accumulator >= value),
            0x45 => at += to(accumulator & value != 0),
            0x06 => return value,
            other => panic!("instruction {other:#x} at {at}"),
        }
    }
}

fn plain(program: &[u8], architecture: u32, number: u32) -> u32 {
    run(program, architecture, number, [0; 6])
}

fn with(program: &[u8], architecture: u32, number: u32, argument: usize, value: u64) -> u32 {
    let mut arguments = [0; 6];
    arguments[argument] = value;
    run(program, architecture, number, arguments)
}

fn strict(machine: Machine) -> Vec<u8> {
    Profile::FlatpakLike.program(machine, true).unwrap()
}

#[test]
fn the_strict_profile_refuses_what_desktop_sandboxes_refuse_by_the_numbers_of_each_machine() {
    // Call; x86_64, i386, aarch64, arm, riscv64 (the kernel's unistd.h of each); the answer.
    let rows: &[(&str, [u32; 5], u32)] = &[
        ("syslog", [103, 103, 116, 103, 116], EPERM),
        ("keyctl", [250, 288, 219, 311, 219], EPERM),
        ("unshare", [272, 310, 97, 337, 97], EPERM),
        ("mount", [165, 21, 40, 21, 40], EPERM),
        ("umount2", [166, 52, 39, 52, 39], EPERM),
        ("pivot_root", [155, 217, 41, 218, 41], EPERM),
        ("chroot", [161, 61, 51, 61, 51], EPERM),
        ("ptrace", [101, 26, 117, 26, 117], EPERM),
        ("perf_event_open", [298, 336, 241, 364, 241], EPERM),
        ("io_uring_setup", [425; 5], EPERM),
        ("clone3", [435; 5], ENOSYS),
        ("open_tree", [428; 5], ENOSYS),
        ("mount_setattr", [442; 5], ENOSYS),
        ("read", [0, 3, 63, 3, 63], ALLOW),
        ("execve", [59, 11, 221, 11, 221], ALLOW),
        ("openat2", [437; 5], ALLOW),
    ];
    let worlds = [
        (Machine::X86_64, X86_64),
        (Machine::X86_64, I386),
        (Machine::Aarch64, AARCH64),
        (Machine::Aarch64, ARM),
        (Machine::Riscv64, RISCV64),
    ];
    for (call, numbers, answer) in rows {
        for ((machine, architecture), number) in worlds.iter().zip(numbers) {
            assert_eq!(plain(&strict(*machine), *architecture, *number), *answer, "{call} on {architecture:#x}");
        }
    }
}

#[test]
fn arguments_are_compared_on_their_low_32_bits() {
    let filter = strict(Machine::X86_64);
    for (architecture, ioctl) in [(X86_64, 16), (I386, 54)] {
        for request in [0x5412, 0x541c, 0x1_0000_5412, 0xffff_ffff_0000_541c] {
            assert_eq!(with(&filter, architecture, ioctl, 1, request), EPERM, "{request:#x}");
        }
        assert_eq!(with(&filter, architecture, ioctl, 1, 0x5413), ALLOW, "TIOCGWINSZ");
        assert_eq!(with(&filter, architecture, ioctl, 0, 0x5412), ALLOW, "a descriptor of that number");
    }
    for (architecture, clone) in [(X86_64, 56), (I386, 120)] {
        assert_eq!(with(&filter, architecture, clone, 0, 0x1000_0011), EPERM, "CLONE_NEWUSER");
        assert_eq!(with(&filter, architecture, clone, 0, 0xabcd_0000_1000_0011), EPERM);
        assert_eq!(with(&filter, architecture, clone, 0, 0x2000_0011), EPERM, "CLONE_NEWPID");
        assert_eq!(with(&filter, architecture, clone, 0, 0x003d_0f00), ALLOW, "a thread, as C libraries make it");
        assert_eq!(with(&filter, architecture, clone, 0, 0x0120_0011), ALLOW, "fork(), as C libraries make it");
    }
    for family in [0, 1, 2, 10, 16, 0x1_0000_0001] {
        assert_eq!(with(&filter, X86_64, 41, 0, family), ALLOW, "{family}");
    }
    // AF_AX25, AF_PACKET, AF_CAN, AF_BLUETOOTH, AF_ALG, AF_VSOCK, and one that looks like AF_UNIX from above.
    for family in [3, 17, 29, 31, 38, 40, 0x1_0000_0028] {
        assert_eq!(with(&filter, X86_64, 41, 0, family), EAFNOSUPPORT, "{family}");
        assert_eq!(with(&filter, I386, 359, 0, family), EAFNOSUPPORT, "{family}");
    }
    for (personality, answer) in [(0, ALLOW), (8, ALLOW), (0xffff_ffff, ALLOW), (0x004_0000, EPERM), (0x040_0000, EPERM)] {
        assert_eq!(with(&filter, X86_64, 135, 0, personality), answer, "personality {personality:#x}");
    }
}

#[test]
fn x32_does_not_exist_for_a_filtered_program() {
    for filter in
        [strict(Machine::X86_64), Profile::ChromiumOk.program(Machine::X86_64, false).unwrap(), terminal_guard(Machine::X86_64).unwrap()]
    {
        for number in [0x4000_0000, 0x4000_0000 | 514, 0x4000_0000 | 165, 0x7fff_ffff, 512, 514, 521, 547] {
            assert_eq!(plain(&filter, X86_64, number), ENOSYS, "{number:#x}");
        }
        assert_eq!(plain(&filter, X86_64, 511), ALLOW);
        assert_eq!(plain(&filter, X86_64, 548), ALLOW);
    }
}

#[test]
fn a_call_of_another_instruction_set_ends_the_process() {
    for (machine, foreign) in [
        (Machine::X86_64, [AARCH64, RISCV64, 0]),
        (Machine::Aarch64, [X86_64, I386, RISCV64]),
        (Machine::Riscv64, [X86_64, ARM, 0xffff_ffff]),
    ] {
        for architecture in foreign {
            assert_eq!(plain(&strict(machine), architecture, 0), KILL_PROCESS);
        }
    }
    let single = Profile::FlatpakLike.program(Machine::X86_64, false).unwrap();
    assert_eq!(plain(&single, I386, 3), KILL_PROCESS);
    assert_eq!(plain(&single, X86_64, 154), EPERM, "modify_ldt");
    assert_eq!(plain(&strict(Machine::X86_64), X86_64, 154), ALLOW, "modify_ldt, with 32-bit programs");
}

#[test]
fn the_profile_for_nested_sandboxes_allows_them_and_nothing_else_more() {
    for machine in MACHINES {
        let strict: Vec<Rule> = Profile::FlatpakLike.rules(machine, true);
        let nested: Vec<Rule> = Profile::ChromiumOk.rules(machine, true);
        let more: Vec<&str> = strict.iter().filter(|rule| !nested.contains(rule)).map(|rule| rule.call).collect();
        assert_eq!(
            more.join(" "),
            "unshare setns mount umount2 pivot_root chroot clone clone3 ptrace process_vm_readv process_vm_writev pidfd_getfd",
            "{machine:?}"
        );
        assert!(nested.iter().all(|rule| strict.contains(rule)));
    }
    let filter = Profile::ChromiumOk.program(Machine::X86_64, true).unwrap();
    assert_eq!(with(&filter, X86_64, 56, 0, 0x1000_0011), ALLOW, "clone(CLONE_NEWUSER)");
    for (call, number, answer) in [("keyctl", 250, EPERM), ("bpf", 321, EPERM), ("io_uring_enter", 426, EPERM), ("fsopen", 430, ENOSYS)] {
        assert_eq!(plain(&filter, X86_64, number), answer, "{call}");
    }
    assert_eq!(with(&filter, X86_64, 16, 1, 0x5412), EPERM, "TIOCSTI");
}

/// What the list of rules says, without a program.
fn expected(rules: &[Rule], number: u32, arguments: [u64; 6]) -> u32 {
    let Some(rule) = rules.iter().find(|rule| rule.number == number) else { return ALLOW };
    let low = |argument: u8| arguments[usize::from(argument)] as u32;
    let refused = match rule.when {
        When::Always => true,
        When::AnyBit { argument, mask } => low(argument) & mask != 0,
        When::OneOf { argument, values } => values.contains(&low(argument)),
        When::NoneOf { argument, values } => !values.contains(&low(argument)),
    };
    if refused { 0x5_0000 | rule.errno as u32 } else { ALLOW }
}

#[test]
fn a_program_says_of_every_call_what_its_rules_say() {
    for profile in [Profile::FlatpakLike, Profile::ChromiumOk] {
        for (machine, own, companion) in
            [(Machine::X86_64, X86_64, Some(I386)), (Machine::Aarch64, AARCH64, Some(ARM)), (Machine::Riscv64, RISCV64, None)]
        {
            let program = profile.program(machine, true).unwrap();
            assert!(program.len() / 8 <= 4096, "the kernel takes no more");
            let worlds = [Some((own, profile.rules(machine, true))), companion.map(|c| (c, profile.rules_of_32_bit_programs(machine)))];
            for (architecture, rules) in worlds.into_iter().flatten() {
                let mut numbers: Vec<u32> = rules.iter().map(|rule| rule.number).collect();
                numbers.sort_unstable();
                numbers.dedup();
                assert_eq!(numbers.len(), rules.len(), "each call once");
                for number in (0..512).chain(548..1024) {
                    for value in [0, 1, 3, 8, 40, 0x5412, 0x541c, 0x1000_0000, 0x1200_0011, 0xffff_ffff, 0x5_0000_5412] {
                        let arguments = [value; 6];
                        assert_eq!(
                            run(&program, architecture, number, arguments),
                            expected(&rules, number, arguments),
                            "{profile} {architecture:#x} {number} {value:#x}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_terminal_guard_refuses_input_into_terminals_alone() {
    for (machine, architecture, ioctl) in
        [(Machine::X86_64, X86_64, 16), (Machine::X86_64, I386, 54), (Machine::Aarch64, ARM, 54), (Machine::Riscv64, RISCV64, 29)]
    {
        let guard = terminal_guard(machine).unwrap();
        for number in 0..500 {
            let refused = if number == ioctl { EPERM } else { ALLOW };
            assert_eq!(with(&guard, architecture, number, 1, 0x5412), refused);
            assert_eq!(with(&guard, architecture, number, 1, 0x5401), ALLOW);
        }
    }
}

#[test]
fn the_guard_of_socketcall_refuses_new_sockets_of_32_bit_programs_alone() {
    let guard = fhs_env::policy::socket_call_guard(Machine::X86_64).unwrap();
    for number in 0..500 {
        let refused = if number == 102 { 0x5_0061 } else { ALLOW };
        assert_eq!(with(&guard, I386, number, 0, 1), refused, "EAFNOSUPPORT, {number}");
        assert_eq!(with(&guard, I386, number, 0, 3), ALLOW, "connect, {number}");
        assert_eq!(with(&guard, X86_64, number, 0, 1), ALLOW, "{number}");
    }
    assert_eq!(fhs_env::policy::socket_call_guard(Machine::Aarch64), None);
}

#[test]
fn a_profile_is_chosen_by_name_and_a_wrong_name_says_what_there_is() {
    for profile in Profile::ALL {
        assert_eq!(profile.name().parse(), Ok(profile));
    }
    assert_eq!(
        "strict".parse::<Profile>().unwrap_err().to_string(),
        "choosing a seccomp profile: there is none named \"strict\"; take flatpak-like, chromium-ok or none"
    );
    assert_eq!(Profile::None.program(Machine::X86_64, true), None);
}

#[test]
fn a_rule_prints_itself() {
    let shown =
        |call: &str| Profile::FlatpakLike.rules(Machine::X86_64, true).into_iter().find(|rule| rule.call == call).unwrap().to_string();
    assert_eq!(shown("ioctl"), "ioctl (16): EPERM if argument 1 is one of 0x5412 0x541c");
    assert_eq!(shown("socket"), "socket (41): EAFNOSUPPORT if argument 0 is none of 0x0 0x1 0x2 0xa 0x10");
    assert_eq!(shown("clone"), "clone (56): EPERM if argument 0 has any bit of 0x7e020000");
    assert_eq!(shown("clone3"), "clone3 (435): ENOSYS");
}

/// The numbers in a header of the C library's kernel headers; a call that is newer than they is not in it.
fn header(path: &str) -> Option<Vec<(String, u32)>> {
    let text = fs::read_to_string(path).ok()?;
    let lines = text.lines().filter_map(|line| {
        let mut words = line.strip_prefix("#define __NR")?.split_whitespace();
        let name = words.next()?;
        let name = name.strip_prefix("3264_").or_else(|| name.strip_prefix('_'))?;
        Some((name.to_owned(), words.next()?.parse().ok()?))
    });
    Some(lines.collect())
}

#[test]
fn the_numbers_are_those_of_the_kernels_headers() {
    let here = Path::new("/usr/include/x86_64-linux-gnu/asm");
    let here = if here.is_dir() { here } else { Path::new("/usr/include/asm") };
    let tables = [
        (here.join("unistd_64.h"), Profile::FlatpakLike.rules(Machine::X86_64, false)),
        (here.join("unistd_32.h"), Profile::FlatpakLike.rules_of_32_bit_programs(Machine::X86_64)),
        ("/usr/include/asm-generic/unistd.h".into(), Profile::FlatpakLike.rules(Machine::Aarch64, false)),
        ("/usr/include/asm-generic/unistd.h".into(), Profile::FlatpakLike.rules(Machine::Riscv64, false)),
    ];
    for (path, rules) in tables {
        let Some(numbers) = header(path.to_str().unwrap()) else {
            skip(&format!("{} is not there", path.display()));
            continue;
        };
        let mut compared = 0;
        for rule in &rules {
            for (name, number) in numbers.iter().filter(|(name, _)| name == rule.call) {
                assert_eq!(*number, rule.number, "{name} in {}", path.display());
                compared += 1;
            }
        }
        assert!(compared > 40, "{}: {compared} of {}", path.display(), rules.len());
    }
}

/// Makes calls by number in a process that has loaded the filter first; `fixtures/src/escape/calls.c`.
struct Caller {
    dir: tempfile::TempDir,
}

impl Caller {
    fn new() -> Option<Caller> {
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/src/escape/calls.c");
        match Command::new("cc").args(["-O1", "-o"]).arg(dir.path().join("calls")).arg(source).output() {
            Err(_) => {
                skip("cc is not installed");
                None
            }
            Ok(out) => {
                assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
                Some(Caller { dir })
            }
        }
    }

    /// One line a call: `NAME ok` or `NAME ERRNO`.
    fn says(&self, filter: Option<&[u8]>, calls: &[&str]) -> Vec<String> {
        let file = self.dir.path().join("filter");
        fs::write(&file, filter.unwrap_or(&[])).unwrap();
        let out = Command::new(self.dir.path().join("calls")).arg(&file).args(calls).output().unwrap();
        assert!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_kernel_answers_filtered_calls_as_the_profile_says_and_others_as_before() {
    let (Some(caller), Some(machine)) = (Caller::new(), Machine::here()) else { return };
    // Each with arguments for which the bare kernel answers something else, or succeeds.
    let rows: &[(&str, &str, &str, &str)] = &[
        // name, bare, strict, nested
        ("keyctl", "ok", "EPERM", "EPERM"),
        ("add_key", "EFAULT", "EPERM", "EPERM"),
        ("unshare-user", "ok", "EPERM", "ok"),
        ("clone-user", "ok", "EPERM", "ok"),
        ("clone-plain", "ok", "ok", "ok"),
        ("clone3", "EINVAL", "ENOSYS", "EINVAL"),
        ("fsopen", "EFAULT", "ENOSYS", "ENOSYS"),
        ("open_tree", "ok", "ENOSYS", "ENOSYS"),
        ("mount_setattr", "EINVAL", "ENOSYS", "ENOSYS"),
        ("ptrace", "ok", "EPERM", "ok"),
        ("process_vm_readv", "ok", "EPERM", "ok"),
        ("io_uring_setup", "ok", "EPERM", "EPERM"),
        ("bpf", "EINVAL", "EPERM", "EPERM"),
        ("userfaultfd", "ok", "EPERM", "EPERM"),
        ("get_mempolicy", "ok", "EPERM", "EPERM"),
        ("personality-query", "ok", "ok", "ok"),
        ("personality-norandom", "ok", "EPERM", "EPERM"),
        ("socket-unix", "ok", "ok", "ok"),
        ("socket-inet", "ok", "ok", "ok"),
        ("socket-netlink", "ok", "ok", "ok"),
        ("socket-high-bits", "ok", "ok", "ok"),
        ("tiocsti", "ok", "EPERM", "EPERM"),
        ("tiocsti-high-bits", "ok", "EPERM", "EPERM"),
        ("tioclinux", "ENOTTY", "EPERM", "EPERM"),
        ("tiocgwinsz", "ok", "ok", "ok"),
        ("getpid", "ok", "ok", "ok"),
    ];
    let calls: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let (strict, nested) = (Profile::FlatpakLike.program(machine, true).unwrap(), Profile::ChromiumOk.program(machine, true).unwrap());
    let said = [caller.says(None, &calls), caller.says(Some(&strict), &calls), caller.says(Some(&nested), &calls)];
    for (at, (call, bare, strict, nested)) in rows.iter().enumerate() {
        let shown = [&said[0][at], &said[1][at], &said[2][at]];
        assert_eq!(shown, [&format!("{call} {bare}"), &format!("{call} {strict}"), &format!("{call} {nested}")]);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn thirty_two_bit_calls_do_not_lead_around_the_filter() {
    let Some(caller) = Caller::new() else { return };
    let calls = ["i386-getpid", "i386-unshare-user", "i386-tiocsti", "i386-socket-vsock", "i386-ptrace", "i386-clone3", "i386-open_tree"];
    let strict = Profile::FlatpakLike.program(Machine::X86_64, true).unwrap();
    let bare = caller.says(None, &calls);
    if bare[0] != "i386-getpid ok" {
        return skip("this kernel runs no 32-bit calls");
    }
    assert_eq!(bare[1..3], ["i386-unshare-user ok", "i386-tiocsti ok"], "the control");
    let expected = [
        "i386-getpid ok",
        "i386-unshare-user EPERM",
        "i386-tiocsti EPERM",
        "i386-socket-vsock EAFNOSUPPORT",
        "i386-ptrace EPERM",
        "i386-clone3 ENOSYS",
        "i386-open_tree ENOSYS",
    ];
    assert_eq!(caller.says(Some(&strict), &calls), expected);

    let single = Profile::FlatpakLike.program(Machine::X86_64, false).unwrap();
    // Each call is made in a child of its own; one that is ended by SIGSYS is told as such.
    assert_eq!(caller.says(Some(&single), &["i386-getpid", "getpid"]), ["i386-getpid SIGSYS", "getpid ok"]);
    assert_eq!(caller.says(Some(&strict), &["x32-getpid", "x32-plain-ioctl"]), ["x32-getpid ENOSYS", "x32-plain-ioctl ENOSYS"]);
}
