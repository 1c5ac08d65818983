#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| entrepot_fuzz::try_on("image_name", data));
