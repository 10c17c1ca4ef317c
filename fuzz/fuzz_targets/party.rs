#![no_main]
#![expect(missing_docs, reason = "see the module of the same name")]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    reshare_fuzz::party::check(data);
});
