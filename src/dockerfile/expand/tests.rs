use super::*;

fn home(name: &str) -> Option<String> {
    match name {
        "PWD" => Some("/home".to_owned()),
        "TWO" => Some("a b".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

#[test]
fn unset_variables_are_reported_where_nothing_provides_for_them() {
    let expanded = expand("$A ${B} ${C:-x} ${D+y} ${E#z} $A ${PWD+$F} ${PWD-$G}", '\\', &home).unwrap();
    assert_eq!(expanded.unset, ["A", "B", "E", "F"]);
}

#[test]
fn a_word_that_is_not_used_does_not_fail() {
    assert_eq!(expand("${PWD:-${B:?no}}", '\\', &home).unwrap().text, "/home");
    let error = expand("a${A:-${B:?no}}", '\\', &home).unwrap_err();
    assert_eq!((error.message.as_str(), error.offset), ("B: no", 6));
}

#[test]
fn nesting_and_growth_are_bounded() {
    let deep = "${A:-".repeat(100_000);
    assert!(expand(&deep, '\\', &home).unwrap_err().message.contains("nested too deeply"));
    let large = |_: &str| Some("x".repeat(1 << 20));
    assert!(expand(&"$A".repeat(100), '\\', &large).unwrap_err().message.contains("64 MiB"));
}

#[test]
fn names_of_variables_are_collected() {
    assert_eq!(variables("$A '$B' \"${C:+$D}\" \\$E $A", '\\'), ["A", "C", "D"]);
    assert_eq!(constant("'a b'c", '\\').as_deref(), Some("a bc"));
    assert_eq!(constant("$A", '\\'), None);
}
