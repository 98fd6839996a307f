//! No word panics, whatever its mode of expansion and the values of its variables.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild::dockerfile::expand;

fuzz_target!(|input: (&str, &str)| {
    let (word, value) = input;
    let lookup = |name: &str| (!name.starts_with('u')).then(|| value.to_owned());
    for escape in ['\\', '`'] {
        let _ = expand::expand(word, escape, &lookup);
        let _ = expand::expand_words(word, escape, &lookup);
        let _ = expand::display(word, escape, &lookup);
    }
    let _ = expand::expand_heredoc(word, &lookup);
});
