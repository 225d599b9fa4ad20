//! One line for standard error, put together in a buffer of fixed size: whatever names it contains, it stays
//! one line without control characters, and what does not fit is left out.

/// The longest line, bytes.
const LONGEST: usize = 1536;
/// The most bytes of one name: whatever is named, the remedy at the end of the line has room.
const NAME_MAX: usize = 256;

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
        let mut line = Line { text: [0; LONGEST], used: 0 };
        line.say(b"xeno: ");
        line
    }

    /// Adds text of ours.
    #[inline(never)]
    pub fn say(&mut self, text: &[u8]) -> &mut Line {
        text.iter().for_each(|byte| self.push(*byte));
        self
    }

    /// Adds a name from outside; what is no printable character of one byte or part of a longer one becomes `?`.
    #[inline(never)]
    pub fn name(&mut self, name: &[u8]) -> &mut Line {
        let shown = name.get(..NAME_MAX).unwrap_or(name);
        shown.iter().for_each(|byte| self.push(if *byte < b' ' || *byte == 0x7f { b'?' } else { *byte }));
        if shown.len() < name.len() { self.say(b"...") } else { self }
    }

    /// Adds a number.
    pub fn number(&mut self, number: u32) -> &mut Line {
        if number >= 10 {
            self.number(number / 10);
        }
        self.push(b'0' + (number % 10) as u8);
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
        let mut line = Line::new();
        line.name(b"a\nb\x1b[31m\xc3\xa9").say(b": ").number(0).say(b" ").number(1907);
        assert_eq!(line.end(), b"xeno: a?b?[31m\xc3\xa9: 0 1907\n");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut line = Line::new();
        line.name(&[b'x'; 3 * LONGEST]).say(b"; try");
        let text = line.end();
        assert!(text.ends_with(b"xx...; try\n") && text.len() < NAME_MAX + 20);
        let mut line = Line::new();
        line.say(&[b'x'; 3 * LONGEST]);
        assert_eq!((line.end().len(), line.end().last()), (LONGEST, Some(&b'\n')));
    }
}
