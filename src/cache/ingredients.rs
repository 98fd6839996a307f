//! A definition taken apart: what it is made of, by names that people understand.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// What kind of operation a definition is of, and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ingredients {
    pub kind: Kind,
    pub values: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Run,
    Files,
    Other,
}

impl Ingredients {
    pub(super) fn of(definition: &str) -> Self {
        let Ok(Value::Object(whole)) = serde_json::from_str(definition) else {
            let values = BTreeMap::from([("definition".to_owned(), definition.to_owned())]);
            return Self { kind: Kind::Other, values };
        };
        let mut ingredients = Self { kind: Kind::Other, values: BTreeMap::new() };
        if let Some(Value::Object(exec)) = whole.get("Exec") {
            ingredients.kind = Kind::Run;
            ingredients.exec(exec);
            let part = |name| whole.get(name).and_then(Value::as_str);
            let platform: Vec<&str> = ["OS", "Arch", "Variant"].into_iter().filter_map(part).collect();
            ingredients.set("platform", platform.join("/"));
        } else if let Some(Value::Array(actions)) = whole.get("Actions") {
            ingredients.kind = Kind::Files;
            ingredients.actions(actions);
        } else {
            ingredients.set("definition", definition.to_owned());
        }
        ingredients
    }

    fn set(&mut self, name: impl Into<String>, value: String) {
        self.values.insert(name.into(), value);
    }

    fn exec(&mut self, exec: &Map<String, Value>) {
        for (name, value) in exec {
            match (name.as_str(), value) {
                ("meta", Value::Object(meta)) => self.meta(meta),
                ("mounts", Value::Array(mounts)) => {
                    for mount in mounts {
                        let target = mount.get("dest").and_then(Value::as_str).unwrap_or_default();
                        self.set(format!("mount {target}"), mount.to_string());
                    }
                }
                ("network", value) => self.set("network", choice(value, &["default", "host", "none"])),
                ("security", value) => self.set("security", choice(value, &["sandbox", "insecure"])),
                ("secretenv", value) => self.set("secret variables", value.to_string()),
                (name, value) => self.set(name, plain(value)),
            }
        }
    }

    fn meta(&mut self, meta: &Map<String, Value>) {
        for (name, value) in meta {
            match (name.as_str(), value) {
                ("args", Value::Array(words)) => {
                    let words: Vec<String> = words.iter().map(plain).collect();
                    // Whoever wrote the script did not write the shell before it.
                    let text = match &words[..] {
                        [shell, option, script] if shell == "/bin/sh" && option == "-c" => script.clone(),
                        words => words.join(" "),
                    };
                    self.set("command", text);
                }
                ("env", Value::Array(variables)) => {
                    for variable in variables {
                        let text = plain(variable);
                        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                        self.set(format!("env {name}"), value.to_owned());
                    }
                }
                ("cwd", value) => self.set("directory", plain(value)),
                ("extraHosts", value) => self.set("hosts", value.to_string()),
                ("ulimit", value) => self.set("ulimits", value.to_string()),
                ("removeMountStubsRecursive", _) => {}
                (name, value) => self.set(name, plain(value)),
            }
        }
    }

    fn actions(&mut self, actions: &[Value]) {
        let decode = |action: &Value| -> Option<Map<String, Value>> {
            serde_json::from_slice(&STANDARD.decode(action.as_str()?).ok()?).ok()
        };
        let mut sources = Vec::new();
        for action in actions.iter().filter_map(decode) {
            for (name, value) in &action {
                match name.as_str() {
                    "src" => sources.push(plain(value)),
                    "dest" => self.set("destination", plain(value)),
                    "mode" => {
                        let mode = value.as_i64().filter(|mode| *mode >= 0);
                        self.set(
                            "mode",
                            mode.map_or_else(|| "as it is".to_owned(), |mode| format!("{mode:04o}")),
                        );
                    }
                    "modeStr" => self.set("mode", plain(value)),
                    "owner" => self.set("owner", owner(value)),
                    "exclude_patterns" => self.set("excludes", value.to_string()),
                    "include_patterns" => self.set("parents", value.to_string()),
                    "data" => self.set("content of the file", plain(value)),
                    "timestamp" => self.set("time", plain(value)),
                    name => self.set(name, plain(value)),
                }
            }
        }
        if !sources.is_empty() {
            self.set("sources", sources.join(" "));
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn choice(value: &Value, names: &[&str]) -> String {
    let index = value.as_u64().and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| names.get(index)).map_or_else(|| value.to_string(), |name| (*name).to_owned())
}

/// `user:group`, as it was written.
fn owner(value: &Value) -> String {
    let account = |which: &str| -> Option<String> {
        let account = value.get(which)?.get("User")?;
        let name = account.get("byName").and_then(|named| named.get("name")).and_then(Value::as_str);
        let id = account.get("byId").and_then(Value::as_u64).unwrap_or(0);
        Some(name.map_or_else(|| id.to_string(), str::to_owned))
    };
    let parts: Vec<String> = ["user", "group"].into_iter().filter_map(account).collect();
    parts.join(":")
}
