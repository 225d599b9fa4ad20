//! One line for standard error, put together in a buffer of fixed size: whatever names it contains, it stays
//! one line without control characters, and what does not fit is left out.

/// The longest line, bytes.
const LONGEST: usize = 2048;

/// A line that is being written.
pub struct Line {
    text: [u8; LONGEST],
    used: usize,
}

impl Default for Line {
    fn default() -> Line {
        Line::new()
    }
}

impl Line {
    /// `xeno: `.
    pub fn new() -> Line {
        Line { text: [0; LONGEST], used: 0 }.say(b"xeno: ")
    }

    /// Adds text of ours.
    #[must_use]
    pub fn say(mut self, text: &[u8]) -> Line {
        text.iter().for_each(|byte| self.push(*byte));
        self
    }

    /// Adds a name from outside; what is no printable character of one byte or part of a longer one becomes `?`.
    #[must_use]
    pub fn name(mut self, name: &[u8]) -> Line {
        name.iter().for_each(|byte| self.push(if *byte < b' ' || *byte == 0x7f { b'?' } else { *byte }));
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, number: u32) -> Line {
        let mut divisor = 1_000_000_000;
        let mut begun = false;
        while divisor > 0 {
            let digit = number / divisor % 10;
            begun |= digit > 0 || divisor == 1;
            if begun {
                self.push(b'0' + digit as u8);
            }
            divisor /= 10;
        }
        self
    }

    fn push(&mut self, byte: u8) {
        // The last place is for the newline.
        if self.used + 1 < LONGEST
            && let Some(place) = self.text.get_mut(self.used)
        {
            *place = byte;
            self.used += 1;
        }
    }

    /// The line with its newline.
    pub fn end(&mut self) -> &[u8] {
        if let Some(place) = self.text.get_mut(self.used) {
            *place = b'\n';
        }
        self.text.get(..=self.used).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_whatever_it_names() {
        let mut line = Line::new().name(b"a\nb\x1b[31m\xc3\xa9").say(b": ").number(0).say(b" ").number(1907);
        assert_eq!(line.end(), b"xeno: a?b?[31m\xc3\xa9: 0 1907\n");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut line = Line::new().name(&[b'x'; 3 * LONGEST]);
        let text = line.end();
        assert_eq!((text.len(), text.last()), (LONGEST, Some(&b'\n')));
    }
}
