#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kombi_gate_fuzz::answer(input));
