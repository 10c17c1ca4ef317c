//! Stores that go around the cache, and prefetches: what plain Rust cannot say about memory.
//!
//! A store into memory that is not in the cache first reads the line that it overwrites. Where
//! more is written than a cache holds, that is a third of the traffic for nothing.

#![expect(unsafe_code, reason = "stores around the cache and prefetches are unsafe")]

use std::marker::PhantomData;

use bytemuck::{Pod, Zeroable};

/// One line of the cache.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line([u16; Line::WORDS]);

impl Line {
    pub(super) const WORDS: usize = 32;
}

/// Stores lines around the cache, and when dropped sees to it that they are in memory for all.
///
/// Lines are borrowed for `'a`, which outlives this value: nothing else can touch them before
/// the fence.
pub(super) struct Stream<'a>(PhantomData<&'a mut [Line]>);

impl<'a> Stream<'a> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }

    #[inline(always)]
    pub(super) fn store(&mut self, line: &'a mut Line, words: [u16; Line::WORDS]) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{__m128i, _mm_stream_si128};
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

/// Asks for lines that will be read soon.
#[inline(always)]
pub(super) fn prefetch(words: &[u16]) {
    #[cfg(target_arch = "x86_64")]
    for line in words.chunks(Line::WORDS) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program could see, and this address is one
        // of a slice. x86-64 has SSE.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = words;
}
