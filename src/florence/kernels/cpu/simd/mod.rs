//! Vectors of floats of whatever width the processor has.
//!
//! A kernel is a [`Kernel`] whose `run` is generic over [`Simd`] and always inlined. [`InstructionSet::run`] inlines it into a
//! function that is compiled for that instruction set, where the operations below become single instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::sync::OnceLock;

pub use math::{exp, gelu};
pub use portable::Portable;

/// Elements of the widest vectors.
pub const MOST_LANES: usize = 16;

/// Vectors of one instruction set. All pointers are to memory of the caller's, unaligned.
///
/// # Safety
/// Operations may only be called where the instruction set is enabled, which [`InstructionSet::run`] sees to, and on memory
/// that is valid for as many elements as each says.
#[allow(clippy::missing_safety_doc, reason = "what the trait asks for holds for each operation")]
pub unsafe trait Simd: Copy + 'static {
    /// Floats.
    type F32: Copy;
    /// 32-bit integers, as many.
    type I32: Copy;
    /// Elements of a vector.
    const LANES: usize;
    /// Rows of a tile of a product: as many as the registers hold with two vectors each.
    const TILE_ROWS: usize;

    /// `value` in every lane.
    unsafe fn splat(value: f32) -> Self::F32;
    /// Reads [`Self::LANES`] elements.
    unsafe fn load(from: *const f32) -> Self::F32;
    /// Reads `count` elements, fewer than [`Self::LANES`], and zeros behind them.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::F32;
    /// Writes [`Self::LANES`] elements.
    unsafe fn store(to: *mut f32, value: Self::F32);
    /// Writes the first `count` elements, fewer than [`Self::LANES`].
    unsafe fn store_first(to: *mut f32, value: Self::F32, count: usize);
    /// Reads up to [`Self::LANES`] elements, as many as there are, and zeros behind them.
    #[inline(always)]
    unsafe fn load_up_to(from: *const f32, count: usize) -> Self::F32 {
        // SAFETY: the caller's promise.
        unsafe { if count >= Self::LANES { Self::load(from) } else { Self::load_first(from, count) } }
    }
    /// Writes up to [`Self::LANES`] elements, as many as there is room for.
    #[inline(always)]
    unsafe fn store_up_to(to: *mut f32, value: Self::F32, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { if count >= Self::LANES { Self::store(to, value) } else { Self::store_first(to, value, count) } }
    }
    /// Writes [`Self::LANES`] elements of as many rows column by column: element `i` of every row to the vector `i * stride` floats
    /// behind `to`.
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; MOST_LANES], to: *mut f32, stride: usize) {
        for (lane, row) in rows.iter().enumerate().take(Self::LANES) {
            for element in 0..Self::LANES {
                // SAFETY: the caller's promise.
                unsafe { *to.add(element * stride + lane) = *row.add(element) };
            }
        }
    }
    /// Has the line of memory fetched that an address lies in, wherever that is.
    #[inline(always)]
    fn prefetch(_at: *const u32) {}
    /// `a + b`.
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`.
    unsafe fn sub(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`.
    unsafe fn mul(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`.
    unsafe fn div(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once.
    unsafe fn mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The greater of each pair; of a pair with something that is no number, either.
    unsafe fn max(a: Self::F32, b: Self::F32) -> Self::F32;
    /// The lesser of each pair.
    unsafe fn min(a: Self::F32, b: Self::F32) -> Self::F32;
    /// The nearest whole number.
    unsafe fn round(value: Self::F32) -> Self::F32;
    /// `value * 2^exponent`, the exponent a whole number between -126 and 127.
    unsafe fn scale(value: Self::F32, exponent: Self::F32) -> Self::F32;
    /// The sign of `sign` on the magnitude of `value`, which has none of its own.
    unsafe fn copy_sign(value: Self::F32, sign: Self::F32) -> Self::F32;
    /// The magnitude.
    unsafe fn abs(value: Self::F32) -> Self::F32;
    /// Sum of all lanes.
    unsafe fn sum(value: Self::F32) -> f32;
    /// Greatest of all lanes.
    unsafe fn greatest(value: Self::F32) -> f32;
    /// Whether any lane of `a` is greater than that of `b`.
    unsafe fn any_greater(a: Self::F32, b: Self::F32) -> bool;

    /// Lower and upper halves of words, which are bf16, as floats.
    unsafe fn split_bf16(words: Self::F32) -> (Self::F32, Self::F32);
    /// The products of a pair of bf16 with the pairs in `words`, added to `c`.
    #[inline(always)]
    unsafe fn dot_bf16(pair: u32, words: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: the caller's promise.
        unsafe { dot_bf16_in_floats::<Self>(pair, words, c) }
    }
    /// Whether [`Self::dot_bf16`] is one instruction. Where it is not, the other factor better stays in f32.
    const HAS_BF16_DOT: bool;

    /// Signed bytes, four a lane, ready for [`Self::dot_i8`].
    type Bytes: Copy;
    /// Reads a vector of words of four bytes.
    unsafe fn load_bytes(from: *const u32) -> Self::Bytes;
    /// For each lane, the sum of products of four signed bytes with four values of the other factor, added to `c`.
    ///
    /// The values are unsigned bytes in one word where [`Self::HAS_BYTE_DOT`], else signed 16-bit values in two words: the first
    /// and third, the second and fourth.
    unsafe fn dot_i8(values: *const u32, bytes: Self::Bytes, c: Self::I32) -> Self::I32;
    /// Whether [`Self::dot_i8`] is one instruction that takes bytes on both sides.
    const HAS_BYTE_DOT: bool;
    /// Zeros.
    unsafe fn zero_i32() -> Self::I32;
    /// As floats.
    unsafe fn to_f32(value: Self::I32) -> Self::F32;
}

/// [`Simd::dot_bf16`] where there is no instruction for it.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn dot_bf16_in_floats<S: Simd>(pair: u32, words: S::F32, c: S::F32) -> S::F32 {
    // SAFETY: the caller's promise.
    unsafe {
        let (lows, highs) = S::split_bf16(words);
        let low = S::splat(f32::from_bits(pair << 16));
        let high = S::splat(f32::from_bits(pair & 0xffff_0000));
        S::mul_add(high, highs, S::mul_add(low, lows, c))
    }
}

/// Something to compute with vectors.
pub trait Kernel {
    /// What comes out.
    type Output;

    /// Whether it multiplies bytes or bf16 by [`Simd::dot_i8`] or [`Simd::dot_bf16`]. What does not is compiled once for all kinds
    /// of AVX-512.
    const HAS_DOTS: bool = false;

    /// Computes it. Implementations are `#[inline(always)]`, so that they are compiled for the instruction set.
    ///
    /// # Safety
    /// Called only where the instruction set is enabled.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstructionSet {
    /// What every processor of the architecture has.
    Portable,
    /// AVX2 with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 (F, BW, DQ, VL).
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-512 with VNNI and BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// Arm's Advanced SIMD.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// Names a set lower than the processor's best: `portable`, `avx2`, `avx512`, `avx512-vnni`, `avx512-bf16` or `neon`.
pub const INSTRUCTION_SET_VARIABLE: &str = "FLORENCE_CPU";

impl InstructionSet {
    /// Every set of the architecture, the simplest first.
    pub const ALL: &'static [Self] = &[
        Self::Portable,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512Vnni,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512Bf16,
        #[cfg(target_arch = "aarch64")]
        Self::Neon,
    ];

    /// Its name, as [`INSTRUCTION_SET_VARIABLE`] takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => "avx512-bf16",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
        }
    }

    /// Whether this processor has it.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_supported()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Self::Avx512.is_supported() && is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512Vnni.is_supported() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
        }
    }

    /// Whether it is of use where it is supported. Intel's processors take two cycles for a product of bf16 pairs (measured: 80
    /// GFLOP/s where floats make 130), so there weights become floats on the way; AMD's take one.
    fn is_quick(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx512Bf16 {
            let vendor = std::arch::x86_64::__cpuid(0);
            return [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD";
        }
        true
    }

    /// Those that this processor has, the simplest first.
    pub fn supported() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|set| set.is_supported())
    }

    /// The one that is used: the best, or that which the environment names.
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<InstructionSet> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let wanted = std::env::var(INSTRUCTION_SET_VARIABLE).ok();
            let named = Self::supported().find(|set| Some(set.name()) == wanted.as_deref());
            named.or_else(|| Self::supported().filter(|set| set.is_quick()).last()).unwrap_or(Self::Portable)
        })
    }

    /// Elements of a vector.
    pub const fn lanes(self) -> usize {
        match self {
            Self::Portable => <Portable>::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Vnni | Self::Avx512Bf16 => <avx512::Avx512>::LANES,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::Neon::LANES,
        }
    }

    /// Runs a kernel, compiled for this instruction set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        assert!(self.is_supported(), "this processor has no {}", self.name());
        // SAFETY: the processor was asked.
        unsafe {
            match self {
                Self::Portable => kernel.run::<Portable>(),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => avx2::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Vnni if K::HAS_DOTS => avx512::run_bytes(kernel),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Bf16 if K::HAS_DOTS => avx512::run_pairs(kernel),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 | Self::Avx512Vnni | Self::Avx512Bf16 => avx512::run(kernel),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => neon::run(kernel),
            }
        }
    }
}

#[cfg(test)]
mod tests;
