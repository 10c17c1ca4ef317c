//! Stores that go around the cache, and prefetches: plain Rust can express neither.
//!
//! A store to memory that is not in the cache first reads the line that it overwrites. When more is
//! written than the cache holds, that is a third of the traffic for nothing.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "stores around the cache and prefetches are unsafe")
)]

use std::marker::PhantomData;

use bytemuck::{Pod, Zeroable};

use crate::kernel::{Backend, Kernels};

/// One line of the cache.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line([u16; Line::WORDS]);

impl Line {
    pub(super) const WORDS: usize = 32;
}

/// Stores lines around the cache. A fence on drop makes them visible to every thread.
///
/// Lines are borrowed for `'a`, which outlives this value: nothing else can touch them before
/// the fence.
pub(super) struct Stream<'a> {
    /// Private to this file, and true only where [`Stream::new`] got kernels for AVX-512.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "there are no such stores")
    )]
    whole_lines: bool,
    lines: PhantomData<&'a mut [Line]>,
}

impl<'a> Stream<'a> {
    /// Stores whole lines with the kernels for AVX-512, else quarters of a line.
    #[inline(always)]
    pub(super) fn new(kernels: Kernels) -> Self {
        Self { whole_lines: kernels.backend() == Backend::Avx512, lines: PhantomData }
    }

    #[inline(always)]
    pub(super) fn store(&mut self, line: &'a mut Line, words: [u16; Line::WORDS]) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{__m128i, _mm_stream_si128};
            if self.whole_lines {
                // SAFETY: such kernels exist only where the CPU has AVX-512 F.
                unsafe { store_whole(line, words) };
                return;
            }
            let vectors: [__m128i; 4] = bytemuck::cast(words);
            let target: *mut __m128i = line.0.as_mut_ptr().cast();
            for (i, vector) in vectors.into_iter().enumerate() {
                // SAFETY: the four vectors fill the line, which is borrowed mutably and aligned
                // to 64 bytes. x86-64 has SSE2. The fence that such a store must have before
                // any other access is in `drop`, and until then the line stays borrowed.
                unsafe { _mm_stream_si128(target.add(i), vector) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            line.0 = words;
        }
    }
}

/// Stores a whole line. As for quarters, the fence is in `drop`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
fn store_whole(line: &mut Line, words: [u16; Line::WORDS]) {
    use std::arch::x86_64::{_mm512_loadu_si512, _mm512_stream_si512};
    // SAFETY: both are 64 bytes long, and a line is aligned to as many.
    unsafe {
        let vector = _mm512_loadu_si512(words.as_ptr().cast());
        _mm512_stream_si512(line.0.as_mut_ptr().cast(), vector);
    }
}

impl Drop for Stream<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: x86-64 has SSE.
        #[allow(unused_unsafe, reason = "it is safe in newer compilers")]
        unsafe {
            std::arch::x86_64::_mm_sfence();
        }
    }
}

/// Prefetches lines that will be read soon.
#[inline(always)]
pub(super) fn prefetch(words: &[u16]) {
    #[cfg(target_arch = "x86_64")]
    for line in words.chunks(Line::WORDS) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect that the program can see, and the address is inside a
        // slice. x86-64 has SSE.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = words;
}
