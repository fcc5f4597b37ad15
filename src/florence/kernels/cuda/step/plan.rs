//! What a step is told: the bytes that the kernels read, and what its results mean. Nothing here touches a device.

use candle_core::{Result, bail};

/// One input of a step.
#[derive(Debug, Clone)]
pub struct StepInput<'a> {
    /// Address of `[layers, capacity, beams, 2 · d_model]`, the keys and values of its written tokens.
    pub own: u64,
    /// Address of `[layers, positions, 2 · d_model]`, those of the encoder's output.
    pub cross: u64,
    /// Tokens that `own` has room for.
    pub capacity: usize,
    /// Positions of `cross`.
    pub positions: usize,
    /// Tokens written so far, which is where the next one goes.
    pub length: usize,
    /// One for each beam.
    pub rows: Vec<StepRow<'a>>,
}

/// One beam of an input.
#[derive(Debug, Clone)]
pub struct StepRow<'a> {
    /// Its last token.
    pub token: u32,
    /// In which beam's place each earlier token was written, `length` of them.
    pub ancestry: &'a [u8],
    /// Sum of log-probabilities so far, by which continuations are ranked.
    pub score: f32,
    /// Continuations wanted.
    pub take: usize,
    /// Tokens that may not come.
    pub banned: &'a [u32],
}

/// The best continuations of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    /// Whether its logits were numbers; if not, the rest means nothing.
    pub is_finite: bool,
    /// Tokens with their log-probabilities, best first, of equals the lower token.
    pub best: Vec<(u32, f32)>,
}

/// Bytes of a row and of an input in the description.
const ROW: usize = 48;
const INPUT: usize = 48;
/// Bytes of the number of inputs, filled up.
const COUNT: usize = 16;
/// Token that stands where no continuation was left.
const NO_TOKEN: u32 = u32::MAX;

/// Where the parts of a description begin, for a number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    rows: usize,
    /// Tokens of an answer at most.
    tokens: usize,
}

impl Layout {
    /// The layout for so many rows, whose answers have at most so many tokens.
    pub const fn new(rows: usize, tokens: usize) -> Self {
        Self { rows, tokens }
    }

    /// Where the inputs begin; the rows are at the start.
    pub const fn inputs(self) -> usize {
        self.rows * ROW
    }

    /// Where the number of inputs is.
    pub const fn count(self) -> usize {
        self.inputs() + self.rows * INPUT
    }

    /// Where ancestry and bans begin, whose places the rows name.
    const fn tail(self) -> usize {
        self.count() + COUNT
    }

    /// Bytes of the longest description: of each row an ancestor and a ban for every token.
    pub const fn bytes(self) -> usize {
        self.tail() + self.rows * (self.tokens.next_multiple_of(4) + 4 * self.tokens)
    }

    /// Writes the description of a step into `bytes`, and says how many of them it takes.
    ///
    /// # Errors
    /// Inputs that do not fit, or make no sense.
    pub fn write(self, inputs: &[StepInput<'_>], bytes: &mut [u8]) -> Result<usize> {
        let mut writer = Writer { bytes, tail: self.tail() };
        let mut row = 0;
        for (number, input) in inputs.iter().enumerate() {
            self.check(input)?;
            let beams = input.rows.len();
            if beams == 0 || row + beams > self.rows {
                bail!("a step has no room for {beams} rows behind {row} rows");
            }
            let counts = [input.capacity, beams, input.length, input.positions, row];
            writer.input(self.inputs() + number * INPUT, input, counts)?;
            for (beam, of) in input.rows.iter().enumerate() {
                writer.row(row * ROW, of, [number, beam, input.length])?;
                row += 1;
            }
        }
        writer.word(self.count(), inputs.len() as u32)?;
        for unused in row..self.rows {
            writer.unused_row(unused * ROW)?;
        }
        Ok(writer.tail)
    }

    fn check(self, input: &StepInput<'_>) -> Result<()> {
        if input.length >= input.capacity || input.length >= self.tokens || input.positions == 0 {
            let (length, capacity) = (input.length, input.capacity);
            bail!("token {length} does not fit into a cache of {capacity} tokens or {} positions", self.tokens);
        }
        let beams = input.rows.len();
        let is_wrong = |row: &StepRow<'_>| {
            row.ancestry.len() != input.length
                || row.banned.len() > self.tokens
                || row.ancestry.iter().any(|beam| usize::from(*beam) >= beams)
        };
        if input.rows.iter().any(is_wrong) {
            bail!("the rows of an input of {} tokens and {beams} beams do not fit it", input.length);
        }
        Ok(())
    }
}

/// Puts numbers into the description.
struct Writer<'a> {
    bytes: &'a mut [u8],
    /// Where the next ancestry or ban goes.
    tail: usize,
}

impl Writer<'_> {
    fn put(&mut self, at: usize, value: &[u8]) -> Result<()> {
        match self.bytes.get_mut(at..at + value.len()) {
            Some(place) => {
                place.copy_from_slice(value);
                Ok(())
            }
            None => bail!("the description of a step has no byte {at}"),
        }
    }

    fn word(&mut self, at: usize, value: u32) -> Result<()> {
        self.put(at, &value.to_le_bytes())
    }

    fn words(&mut self, at: usize, values: &[u32]) -> Result<()> {
        values.iter().enumerate().try_for_each(|(index, value)| self.word(at + index * 4, *value))
    }

    fn input(&mut self, at: usize, input: &StepInput<'_>, counts: [usize; 5]) -> Result<()> {
        self.put(at, &input.own.to_le_bytes())?;
        self.put(at + 8, &input.cross.to_le_bytes())?;
        self.words(at + 16, &counts.map(|count| count as u32))
    }

    fn row(&mut self, at: usize, row: &StepRow<'_>, [number, beam, position]: [usize; 3]) -> Result<()> {
        let (bans, ancestry) = (self.tail, self.tail + row.banned.len() * 4);
        self.words(bans, row.banned)?;
        self.put(ancestry, row.ancestry)?;
        self.tail = (ancestry + row.ancestry.len()).next_multiple_of(4);
        let words = [
            row.token,
            position as u32,
            number as u32,
            beam as u32,
            row.score.to_bits(),
            row.take as u32,
            bans as u32,
            row.banned.len() as u32,
            ancestry as u32,
        ];
        self.words(at, &words)
    }

    /// A row that belongs to no input.
    fn unused_row(&mut self, at: usize) -> Result<()> {
        self.words(at, &[0, 0, u32::MAX, 0, 0, 0, 0, 0, 0])
    }
}

/// Reads a row of results: whether its logits are numbers, then tokens and log-probabilities in turn.
pub fn read_row(words: &[u32], take: usize) -> Candidates {
    let (is_finite, pairs) = words.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest));
    let (pairs, _) = pairs.as_chunks::<2>();
    let best = pairs.iter().take(take).take_while(|[token, _]| *token != NO_TOKEN);
    // Rows of which nothing was wanted were not looked at.
    let is_finite = take == 0 || is_finite != 0;
    Candidates { is_finite, best: best.map(|[token, log_prob]| (*token, f32::from_bits(*log_prob))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8], at: usize, count: usize) -> Vec<u32> {
        bytes[at..at + 4 * count].chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    #[test]
    fn rows_and_inputs_stand_where_the_kernels_look() {
        let layout = Layout::new(16, 20);
        let mut bytes = vec![0xff; layout.bytes()];
        let row = |token, ancestry, banned| StepRow { token, ancestry, score: -1.5, take: 6, banned };
        let inputs = [
            StepInput { own: 1 << 40, cross: 5, capacity: 9, positions: 300, length: 0, rows: vec![row(7, &[], &[])] },
            StepInput {
                own: 3,
                cross: 6,
                capacity: 4,
                positions: 128,
                length: 3,
                rows: vec![row(8, &[0, 1, 1], &[4, 5]), row(9, &[1, 0, 0], &[])],
            },
        ];
        let used = layout.write(&inputs, &mut bytes).unwrap();
        assert!(used <= layout.bytes());
        assert_eq!(words(&bytes, 0, 4), [7, 0, 0, 0]);
        let second = words(&bytes, 48, 9);
        assert_eq!(second[..4], [8, 3, 1, 0]);
        assert_eq!(f32::from_bits(second[4]), -1.5);
        assert_eq!(words(&bytes, second[6] as usize, second[7] as usize), [4, 5]);
        assert_eq!(bytes[second[8] as usize..][..3], [0, 1, 1]);
        assert_eq!(words(&bytes, 2 * 48, 4), [9, 3, 1, 1]);
        assert_eq!(words(&bytes, 3 * 48 + 8, 1), [u32::MAX], "the rest is nobody's");
        assert_eq!(words(&bytes, layout.inputs(), 4), [0, 256, 5, 0]);
        assert_eq!(words(&bytes, layout.inputs() + 48 + 16, 5), [4, 2, 3, 128, 1]);
        assert_eq!(words(&bytes, layout.count(), 1), [2]);
    }

    #[test]
    fn the_longest_description_fits() {
        let layout = Layout::new(16, 5);
        let mut bytes = vec![0; layout.bytes()];
        let row = StepRow { token: 0, ancestry: &[0; 4], score: 0., take: 2, banned: &[1; 5] };
        let input = StepInput { own: 0, cross: 0, capacity: 5, positions: 9, length: 4, rows: vec![row] };
        assert!(layout.write(&vec![input.clone(); 16], &mut bytes).unwrap() <= bytes.len());
        for wrong in [
            StepInput { length: 5, ..input.clone() },
            StepInput { positions: 0, ..input.clone() },
            StepInput { rows: vec![], ..input.clone() },
            StepInput { rows: vec![StepRow { ancestry: &[1; 4], ..input.rows[0].clone() }], ..input.clone() },
        ] {
            assert!(layout.write(&[wrong], &mut bytes).is_err());
        }
        assert!(layout.write(&vec![input; 17], &mut bytes).is_err());
    }

    #[test]
    fn results_end_where_no_token_was_left() {
        let log_prob = (-0.5f32).to_bits();
        let row = read_row(&[1, 8, log_prob, 9, log_prob, NO_TOKEN, 0, 77, 0], 4);
        assert_eq!(row, Candidates { is_finite: true, best: vec![(8, -0.5), (9, -0.5)] });
        assert!(!read_row(&[0, 8, 0], 1).is_finite);
        assert!(read_row(&[0, 8, 0], 0).is_finite);
    }
}
