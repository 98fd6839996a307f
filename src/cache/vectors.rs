//! The documents of the caches in `testdata/cache`, which BuildKit wrote.

macro_rules! blob {
    ($vector:literal, $digest:literal) => {
        include_bytes!(concat!("../../testdata/cache/", $vector, "/cache/blobs/sha256/", $digest))
    };
}

pub(super) const CONFIGS: [&[u8]; 2] = [
    blob!("a", "aaf85fd059481c99c92e7d33142214d71cfc26fb502286d7d0632e6369574192"),
    blob!("b", "4c959e6b0870888bfe3a043551021118339448525dd39dfeb05ee984a434df02"),
];

pub(super) const MANIFESTS: [&[u8]; 2] = [
    blob!("a", "ed40ce9368edb23252440b6bada9f8602805236b0413c0652ace07f82c481857"),
    blob!("b", "7c93492b16183e3de21d79ae750fe4a9246fce9a68b76d63c39e2994ea2c6382"),
];
