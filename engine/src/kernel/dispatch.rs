//! Runs code compiled for one set of vector instructions.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calling a function that needs CPU features is unsafe")
)]

use crate::kernel::Backend;
use crate::kernel::arithmetic::Arithmetic;
use crate::kernel::baseline::Baseline;
#[cfg(target_arch = "x86_64")]
use crate::kernel::loops::Loops;

/// The kernels of one backend; that there is one proves that the CPU has its instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernels {
    /// Private to this file, and set by [`Kernels::new`] alone: `run` relies on it.
    backend: Backend,
}

/// A computation to be compiled for each backend. `run` must be `#[inline(always)]`: only
/// what is inlined into a function with target features is compiled for them.
pub(super) trait Computation {
    /// Computes with the arithmetic of one backend.
    fn run<A: Arithmetic>(self);
}

impl Kernels {
    /// Takes a backend that this CPU has; `None` for any other.
    #[must_use]
    pub fn new(backend: Backend) -> Option<Self> {
        let present = match backend {
            Backend::Baseline => true,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Backend::Avx2 | Backend::Avx512 => false,
        };
        present.then_some(Self { backend })
    }

    /// Takes the fastest backend that this CPU has.
    #[must_use]
    pub fn detect() -> Self {
        let fastest = Backend::ALL.into_iter().rev().find_map(Self::new);
        fastest.unwrap_or(Self { backend: Backend::Baseline })
    }

    /// Which instructions these kernels use.
    #[must_use]
    pub fn backend(self) -> Backend {
        self.backend
    }

    /// Runs a computation compiled for the backend.
    #[inline]
    pub(super) fn run<C: Computation>(self, computation: C) {
        match self.backend {
            // SAFETY: `new` makes a value with this backend only where the CPU has AVX2.
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => unsafe { avx2(computation) },
            // SAFETY: `new` makes a value with this backend only where the CPU has all four.
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => unsafe { avx512(computation) },
            _ => computation.run::<Baseline>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<C: Computation>(computation: C) {
    computation.run::<Loops<false>>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<C: Computation>(computation: C) {
    computation.run::<Loops<true>>();
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use super::*;

    /// Notes which arithmetic it runs with.
    struct Note<'a>(&'a mut Option<TypeId>);

    impl Computation for Note<'_> {
        #[inline(always)]
        fn run<A: Arithmetic>(self) {
            *self.0 = Some(TypeId::of::<A>());
        }
    }

    #[test]
    fn each_backend_runs_its_own_arithmetic() {
        for backend in Backend::available() {
            let expected = match backend {
                Backend::Baseline => TypeId::of::<Baseline>(),
                #[cfg(target_arch = "x86_64")]
                Backend::Avx2 => TypeId::of::<Loops<false>>(),
                #[cfg(target_arch = "x86_64")]
                Backend::Avx512 => TypeId::of::<Loops<true>>(),
                #[cfg(not(target_arch = "x86_64"))]
                Backend::Avx2 | Backend::Avx512 => unreachable!("it is of another architecture"),
            };
            let mut ran = None;
            Kernels::new(backend).expect("it is available").run(Note(&mut ran));
            assert_eq!(ran, Some(expected), "{backend}");
        }
    }
}
