//! Finds location tokens in a text, once, so that each parser runs in time linear in it.

/// A `<loc_N>` in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    /// N, where 0 is the left or upper border and 999 the last thousandth.
    pub bin: f64,
    /// Byte offset of its `<`.
    pub start: usize,
    /// Byte offset behind its `>`.
    pub end: usize,
}

/// All location tokens of a text, in order.
#[derive(Debug)]
pub struct Locations {
    all: Vec<Location>,
}

impl Locations {
    /// Finds them.
    pub fn find(text: &str) -> Self {
        let starts = text.match_indices("<loc_").map(|(start, _)| start);
        let all = starts.filter_map(|start| location_at(text, start)).collect();
        Self { all }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The indices of locations that follow one another without a gap from the one that begins at byte `start` on;
    /// empty if none begins there.
    pub fn run_from(&self, start: usize) -> std::ops::Range<usize> {
        let first = self.all.partition_point(|location| location.start < start);
        let mut next = start;
        let length = self.all.iter().skip(first).take_while(|location| {
            let follows = location.start == next;
            next = location.end;
            follows
        });
        first..first + length.count()
    }

    /// The locations with these indices.
    pub fn slice(&self, range: std::ops::Range<usize>) -> &[Location] {
        self.all.get(range).unwrap_or_default()
    }
}

/// The location token that begins at this byte.
pub fn location_at(text: &str, start: usize) -> Option<Location> {
    let digits = text.get(start..)?.strip_prefix("<loc_")?;
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    let bin = digits.get(..length)?.parse().ok()?;
    let end = start + "<loc_".len() + length + ">".len();
    digits.get(length..)?.starts_with('>').then_some(Location { bin, start, end })
}

/// White space as Python's `str.strip` and `\s` understand it, which includes four control characters more than Rust's.
pub fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The label that a text before locations gives: leading white space skipped, nothing if a line ends inside it.
pub fn label_before(text: &str) -> Option<&str> {
    let label = text.trim_start_matches(is_python_space);
    (!label.contains('\n')).then(|| label.trim_end_matches(is_python_space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_found_between_anything() {
        let text = "a<loc_1><loc_22>b<loc_><loc_3<loc_4>é<loc_5>";
        let locations = Locations::find(text);
        let bins: Vec<_> = locations.slice(0..locations.count()).iter().map(|location| location.bin).collect();
        assert_eq!(bins, [1., 22., 4., 5.]);
        assert_eq!(locations.run_from(1), 0..2);
        assert_eq!(locations.run_from(8), 1..2);
        assert!(locations.run_from(2).is_empty());
        assert!(locations.run_from(text.len()).is_empty());
    }

    #[test]
    fn labels_end_with_their_line() {
        assert_eq!(label_before(" \n a dog "), Some("a dog"));
        assert_eq!(label_before("a\ndog"), None);
        assert_eq!(label_before("dog\n"), None);
        assert_eq!(label_before("\u{1c}x\u{1f}"), Some("x"));
        assert_eq!(label_before("  "), Some(""));
    }
}
