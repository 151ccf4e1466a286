//! SHA-1 compression of many messages side by side, a message in each 32-bit lane of wide registers (FIPS 180-4 section 6.1.2), over
//! any unit that has such lanes.
//! Safe code, inlined whole into entries compiled for the unit's CPU features.

use crate::sha1::{BLOCK_BYTES, State};

/// Words of a block.
pub(super) const WORDS: usize = BLOCK_BYTES / 4;

/// What the compression asks of a unit with `LANES` lanes: every operation acts on each lane by itself. A value is the proof that
/// this CPU has its instructions.
pub(super) trait Lanes<const LANES: usize>: Copy {
    /// A word of every message.
    type Register: Copy;

    /// `word` in every lane.
    fn splat(self, word: u32) -> Self::Register;

    /// A word for each lane.
    fn gather(self, words: [u32; LANES]) -> Self::Register;

    /// The word of each lane.
    fn scatter(self, register: Self::Register) -> [u32; LANES];

    /// The big-endian words of a block of each message, a register for each word.
    fn words(self, blocks: [&[u8; BLOCK_BYTES]; LANES]) -> [Self::Register; WORDS];

    /// Sum modulo 2^32.
    fn add(self, a: Self::Register, b: Self::Register) -> Self::Register;

    /// Rotation to the left by `LEFT`, which is 32 - `RIGHT`.
    fn rotate<const LEFT: i32, const RIGHT: i32>(self, x: Self::Register) -> Self::Register;

    /// `c` where `b` has ones, `d` elsewhere.
    fn choose(self, b: Self::Register, c: Self::Register, d: Self::Register) -> Self::Register;

    /// Sum modulo 2 of each bit.
    fn parity(self, b: Self::Register, c: Self::Register, d: Self::Register) -> Self::Register;

    /// What most have in each bit.
    fn majority(self, b: Self::Register, c: Self::Register, d: Self::Register) -> Self::Register;
}

/// Hashes `blocks[lane]` into `states[lane]`; all lanes have the same number of blocks.
#[inline(always)]
pub(super) fn compress<U: Lanes<LANES>, const LANES: usize>(
    unit: U,
    states: &mut [State; LANES],
    blocks: [&[[u8; BLOCK_BYTES]]; LANES],
) {
    let mut words: [U::Register; 5] =
        std::array::from_fn(|word| unit.gather(std::array::from_fn(|lane| states[lane][word])));
    let count = blocks[0].len();
    let blocks = blocks.map(|blocks| &blocks[..count]);
    for index in 0..count {
        // Word `t` of every message at `schedule[t % 16]`.
        let mut schedule = unit.words(blocks.map(|blocks| &blocks[index]));
        let [mut a, mut b, mut c, mut d, mut e] = words;
        // Written out, so that the schedule stays in registers.
        macro_rules! rounds {
            ($constant:literal, $mix:ident, $($t:literal)*) => {
                let constant = unit.splat($constant);
                $(
                    if $t >= WORDS {
                        let [x, y, z] = [$t + 13, $t + 8, $t + 2].map(|t| schedule[t % WORDS]);
                        let sum = unit.parity(unit.parity(x, y, z), schedule[$t % WORDS], unit.splat(0));
                        schedule[$t % WORDS] = unit.rotate::<1, 31>(sum);
                    }
                    let sum = unit.add(
                        unit.add(unit.rotate::<5, 27>(a), unit.$mix(b, c, d)),
                        unit.add(unit.add(e, constant), schedule[$t % WORDS]),
                    );
                    (a, b, c, d, e) = (sum, a, unit.rotate::<30, 2>(b), c, d);
                )*
            };
        }
        rounds!(0x5a82_7999, choose, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        rounds!(0x6ed9_eba1, parity, 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
        rounds!(0x8f1b_bcdc, majority, 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
        rounds!(0xca62_c1d6, parity, 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
        for (word, sum) in words.iter_mut().zip([a, b, c, d, e]) {
            *word = unit.add(*word, sum);
        }
    }
    for (word, values) in words.into_iter().enumerate() {
        for (state, value) in states.iter_mut().zip(unit.scatter(values)) {
            state[word] = value;
        }
    }
}
