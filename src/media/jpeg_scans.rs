//! A look at a JPEG's segments before it is decoded: how many scans it has.
//!
//! Each scan passes over all blocks of the picture, however few bytes it has, so a small file of thousands of scans would
//! keep a core busy for minutes. libjpeg knows no limit of its own.

const START_OF_FRAME_PROGRESSIVE: [u8; 2] = [0xC2, 0xCA];
const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;

/// Scans of the first picture in the file, and whether decoding keeps all coefficients between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scans {
    /// How many; of a file that needs one only, not more than that are counted.
    pub count: usize,
    /// Whether the file is progressive or has its channels in separate scans.
    pub are_several: bool,
    /// Width and height, where the file says.
    pub size: Option<(u32, u32)>,
}

impl Scans {
    /// Walks over the segments, as far as they make sense.
    pub fn of(bytes: &[u8]) -> Self {
        let mut scans = Self::default();
        let mut channels = 0;
        let mut rest = bytes.get(2..).unwrap_or_default();
        while let Some((marker, after)) = next_marker(rest) {
            rest = after;
            let is_single = matches!(marker, 0x01 | 0xD0..=0xD8);
            if is_single {
                continue;
            }
            if marker == END_OF_IMAGE {
                break;
            }
            let Some((length, _)) = rest.split_first_chunk::<2>() else { break };
            let Some((segment, after)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
            rest = after;
            if is_frame(marker) {
                channels = segment.get(7).copied().unwrap_or_default();
                scans.size = frame_size(segment);
                scans.are_several |= START_OF_FRAME_PROGRESSIVE.contains(&marker);
            } else if marker == START_OF_SCAN {
                scans.count += 1;
                scans.are_several |= segment.get(2).is_some_and(|own| *own < channels);
                // Most files end here, and their pixels need not be walked over.
                if !scans.are_several {
                    break;
                }
            }
        }
        scans
    }
}

/// Behind the segment's length and the bits of a sample stand height and width.
fn frame_size(segment: &[u8]) -> Option<(u32, u32)> {
    let [height, width] = segment.get(3..)?.first_chunk::<4>().map(|bytes| {
        let [height_high, height_low, width_high, width_low] = *bytes;
        [[height_high, height_low], [width_high, width_low]].map(|side| u32::from(u16::from_be_bytes(side)))
    })?;
    Some((width, height))
}

fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

/// The next marker and what follows it. Between the segments of a scan lie pixels, in which 0xFF is followed by 0.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = bytes;
    loop {
        let at = rest.iter().position(|byte| *byte == 0xFF)?;
        rest = rest.get(at + 1..)?;
        match rest.split_first()? {
            (0 | 0xFF, _) => {}
            (marker, after) => return Some((*marker, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_are_counted() {
        let frame = |marker: u8| [0xFF, marker, 0, 11, 8, 0, 1, 0, 1, 3, 0, 0, 0];
        let scan = |channels: u8| [&[0xFF, 0xDA, 0, 3, channels][..], b"pixels \xff\0 \xff\xd0 more"].concat();
        let end = [0xFF, 0xD9, 0xFF, 0xDA];
        let file = |marker, scans: &[Vec<u8>]| [&[0xFF, 0xD8][..], &frame(marker), &scans.concat(), &end].concat();
        assert_eq!(Scans::of(&file(0xC0, &[scan(3)])), Scans { count: 1, are_several: false, size: Some((1, 1)) });
        assert_eq!(
            Scans::of(&file(0xC0, &[scan(1), scan(1), scan(1)])),
            Scans { count: 3, are_several: true, size: Some((1, 1)) }
        );
        assert_eq!(
            Scans::of(&file(0xC2, &vec![scan(3); 700])),
            Scans { count: 700, are_several: true, size: Some((1, 1)) }
        );
        assert_eq!(Scans::of(b"\xff\xd8"), Scans::default());
        assert_eq!(Scans::of(b""), Scans::default());
    }
}
