//! Turns rules about system calls into a classic BPF program, as `seccomp(2)` takes it: position-independent
//! blocks, a binary search over call numbers, arguments compared on their low 32 bits. Knows no profile.
//!
//! A hand-written emitter, because a filter here must judge two instruction sets at once (64-bit programs and
//! their 32-bit companions, each by its own numbers) and answer one call with one errno and another with another.

use super::rules::{Rule, When};

/// `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    when_true: u8,
    when_false: u8,
    value: u32,
}

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
pub(crate) const INSTRUCTIONS_MAX: usize = 4096;

// linux/bpf_common.h: class | size or operation | mode or source.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const IF_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// struct seccomp_data of linux/seccomp.h. The low half of an argument comes first: every machine that has a
// table is little-endian.
const AT_NUMBER: u32 = 0;
const AT_ARCHITECTURE: u32 = 4;
const AT_ARGUMENTS: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;

/// `ENOSYS`, what a kernel without x32 answers to it.
const NO_SUCH_CALL: u32 = ERRNO | 38;
/// `__X32_SYSCALL_BIT`: the x32 calls share the architecture value of the 64-bit ones.
const X32: u32 = 0x4000_0000;
/// Kernels before 5.4 take the x32 numbers without the bit, too (commit 6365b842aae4).
const X32_PLAIN: std::ops::RangeInclusive<u32> = 512..=547;

/// The calls of one instruction set.
pub(crate) struct World {
    /// `AUDIT_ARCH_*` of `linux/audit.h`.
    pub(crate) architecture: u32,
    /// Whether its numbers have x32's among them.
    pub(crate) has_x32: bool,
    /// What is refused, each call once.
    pub(crate) rules: Vec<Rule>,
}

fn op(code: u16, value: u32) -> Instruction {
    Instruction { code, when_true: 0, when_false: 0, value }
}

fn branch(code: u16, value: u32, when_true: u8, when_false: u8) -> Instruction {
    Instruction { code, when_true, when_false, value }
}

/// `test` falls through where it is true and jumps over `then` where it is not.
fn when(code: u16, value: u32, then: Vec<Instruction>) -> Vec<Instruction> {
    let mut out = match u8::try_from(then.len()) {
        Ok(short) => vec![branch(code, value, 0, short)],
        // A conditional jump reaches 255 instructions, the other kind any distance.
        Err(_) => vec![branch(code, value, 1, 0), op(JUMP, u32::try_from(then.len()).unwrap_or(u32::MAX))],
    };
    out.extend(then);
    out
}

/// The program, as bytes in the machine's order. A call of an instruction set that is not among the worlds ends
/// the process: nobody could tell what it asks for.
///
/// `None` for more rules than the kernel takes.
pub(crate) fn assemble(worlds: &[World]) -> Option<Vec<u8>> {
    let mut program = vec![op(LOAD, AT_ARCHITECTURE)];
    for world in worlds {
        program.extend(when(IF_EQUAL, world.architecture, judge(world)));
    }
    program.push(op(RETURN, KILL_PROCESS));
    (program.len() <= INSTRUCTIONS_MAX).then(|| program.iter().flat_map(bytes).collect())
}

fn bytes(instruction: &Instruction) -> [u8; 8] {
    let [a, b] = instruction.code.to_ne_bytes();
    let [e, f, g, h] = instruction.value.to_ne_bytes();
    [a, b, instruction.when_true, instruction.when_false, e, f, g, h]
}

fn judge(world: &World) -> Vec<Instruction> {
    let mut rules: Vec<&Rule> = world.rules.iter().collect();
    rules.sort_by_key(|rule| rule.number);
    let mut out = vec![op(LOAD, AT_NUMBER)];
    if world.has_x32 {
        out.extend(when(IF_AT_LEAST, X32, vec![op(RETURN, NO_SUCH_CALL)]));
        // Numbers from 512 on that are above x32's fall through to the search.
        let plain = vec![branch(IF_AT_LEAST, X32_PLAIN.end() + 1, 1, 0), op(RETURN, NO_SUCH_CALL)];
        out.extend(when(IF_AT_LEAST, *X32_PLAIN.start(), plain));
    }
    out.extend(search(&rules));
    out
}

/// Every path through it ends in a return.
fn search(rules: &[&Rule]) -> Vec<Instruction> {
    let middle = rules.len() / 2;
    match (rules, rules.split_at_checked(middle)) {
        ([], _) => vec![op(RETURN, ALLOW)],
        ([rule], _) => {
            let mut out = when(IF_EQUAL, rule.number, answer(rule));
            out.push(op(RETURN, ALLOW));
            out
        }
        (_, Some((low, high @ [first, ..]))) => {
            let mut out = when(IF_AT_LEAST, first.number, search(high));
            out.extend(search(low));
            out
        }
        // Not reached: two rules or more have a middle.
        (_, _) => vec![op(RETURN, KILL_PROCESS)],
    }
}

fn answer(rule: &Rule) -> Vec<Instruction> {
    let refuse = op(RETURN, ERRNO | rule.errno as u32 & 0xfff);
    let low = |argument: u8| op(LOAD, AT_ARGUMENTS + 8 * u32::from(argument));
    let any_of = |argument: u8, values: &[u32], then: Instruction, otherwise: Instruction| {
        let mut out = vec![low(argument)];
        for (at, value) in values.iter().enumerate() {
            // Over the comparisons that are left and the first return.
            out.push(branch(IF_EQUAL, *value, u8::try_from(values.len() - at).unwrap_or(0), 0));
        }
        out.extend([otherwise, then]);
        out
    };
    match rule.when {
        When::Always => vec![refuse],
        When::AnyBit { argument, mask } => {
            vec![low(argument), branch(IF_ANY_BIT, mask, 0, 1), refuse, op(RETURN, ALLOW)]
        }
        When::OneOf { argument, values } => any_of(argument, values, refuse, op(RETURN, ALLOW)),
        When::NoneOf { argument, values } => any_of(argument, values, op(RETURN, ALLOW), refuse),
    }
}
