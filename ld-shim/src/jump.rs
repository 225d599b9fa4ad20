//! The instruction that goes over a loader's `_dl_debug_state`, so that whoever waits at another function of that
//! name hears of it, too. Works out bytes; writes none. Functions lie where they say: the code is given with its
//! address.

/// x86's `ret`.
pub const RET_X86: u8 = 0xc3;
/// AArch64's `ret`.
pub const RET_AARCH64: u32 = 0xd65f_03c0;

/// `jmp`, of x86 and x86-64, at `at`, where `function` stands. `None` if `target` is too far away, or there is no
/// room: the function has to be `endbr` and `ret`, or a `ret` and padding.
pub fn x86(function: &[u8], at: usize, target: usize) -> Option<[u8; 5]> {
    // What assemblers fill with: operand-size prefixes and `nop`s, `lea` of a register into itself, `int3`. No
    // function begins so.
    let padded = *function.first()? == RET_X86 && matches!(*function.get(1)?, 0x66 | 0x0f | 0x8d | 0x90 | 0xcc);
    let endbr = function.get(..3) == Some(&[0xf3, 0x0f, 0x1e]) && function.get(4) == Some(&RET_X86);
    let distance = target.wrapping_sub(at.wrapping_add(5)) as isize;
    let [a, b, c, d] = i32::try_from(distance).ok().filter(|_| padded || endbr)?.to_le_bytes();
    Some([0xe9, a, b, c, d])
}

/// AArch64's `b` at `at`; every function has room for it. `None` if `target` is too far away.
pub fn aarch64(at: usize, target: usize) -> Option<[u8; 4]> {
    let distance = target.wrapping_sub(at) as isize;
    // 26 bits of words.
    let reachable = (-(1 << 27)..1 << 27).contains(&distance);
    reachable.then(|| (0x1400_0000 | (distance >> 2) as u32 & 0x03ff_ffff).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOPW: [u8; 5] = [0xc3, 0x66, 0x66, 0x2e, 0x0f];

    #[test]
    fn a_jump_is_counted_from_its_end() {
        assert_eq!(x86(&NOPW, 0x1000, 0x2000), Some([0xe9, 0xfb, 0x0f, 0, 0]));
        assert_eq!(x86(&NOPW, 0x2000, 0x1000), Some([0xe9, 0xfb, 0xef, 0xff, 0xff]));
        assert_eq!(aarch64(0x1000, 0x2000), Some(0x1400_0400_u32.to_le_bytes()));
        assert_eq!(aarch64(0x2000, 0x1000), Some(0x17ff_fc00_u32.to_le_bytes()));
    }

    #[test]
    fn a_function_without_room_stays_as_it_is() {
        let at = |function: &[u8]| x86(function, 0x1000, 0x2000).is_some();
        assert!(at(&[0xf3, 0x0f, 0x1e, 0xfa, 0xc3]) && at(&[0xf3, 0x0f, 0x1e, 0xfb, 0xc3]), "endbr64, endbr32");
        assert!(at(&[0xc3, 0x8d, 0xb4, 0x26, 0]) && at(&[0xc3, 0x90]) && at(&[0xc3, 0xcc]) && at(&[0xc3, 0x0f, 0x1f]), "padding");
        assert!(!at(&[0xc3, 0x55, 0x48]) && !at(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55]), "another function follows, or goes on");
        assert!(!at(&[0xc3]) && !at(&[]), "cut off");
    }

    #[test]
    fn what_is_too_far_away_is_not_reached() {
        assert_eq!(aarch64(0, 1 << 27), None);
        assert!(aarch64(0, (1 << 27) - 4).is_some());
        #[cfg(target_pointer_width = "64")]
        assert_eq!(x86(&NOPW, 0, 1 << 32), None);
    }
}
