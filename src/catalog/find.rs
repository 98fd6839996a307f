//! Which image somebody means: by name, by id, or by the beginning of an id.

use super::{Catalog, Image};
use crate::dockerfile::nearest;
use crate::image::{Digest, Reference, ReferenceError};

/// An image, and how it was pointed at.
#[derive(Debug, Clone)]
pub struct Pointed<'a> {
    pub image: &'a Image,
    /// The name that was given; none if it was an id.
    pub name: Option<Reference>,
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("there is no image {text} in the store")]
    Unknown {
        text: String,
        /// Names that are nearly this one.
        near: Vec<String>,
    },
    #[error("{text} is the beginning of several image ids")]
    Ambiguous {
        text: String,
        /// Each as short id and names.
        candidates: Vec<String>,
    },
    #[error(transparent)]
    Name(#[from] ReferenceError),
}

impl FindError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { near, .. } if near.is_empty() => None,
            Self::Unknown { near, .. } => Some(format!("there is {}", near.join(", "))),
            Self::Ambiguous { candidates, .. } => Some(format!("it may be {}", candidates.join(", "))),
            Self::Name(_) => None,
        }
    }
}

/// Shorter beginnings of ids are too easily meant as names.
const SHORTEST_PREFIX: usize = 4;
/// How many names or ids a hint lists.
const MOST_LISTED: usize = 5;

impl Catalog {
    /// Finds an image. Names come before ids: `cafe` is the image of that name if there is one.
    pub fn find(&self, text: &str) -> Result<Pointed<'_>, FindError> {
        let reference = text.parse::<Reference>();
        if let Ok(name) = &reference
            && let Some(image) = self.named(name)
        {
            return Ok(Pointed { image, name: Some(name.clone()) });
        }
        let matching = self.by_id(text);
        match (&matching[..], reference) {
            ([image], _) => Ok(Pointed { image, name: None }),
            ([], Ok(name)) => Err(FindError::Unknown { text: text.to_owned(), near: self.near(&name) }),
            ([], Err(_)) if text.parse::<Digest>().is_ok() => {
                Err(FindError::Unknown { text: text.to_owned(), near: Vec::new() })
            }
            ([], Err(error)) => Err(error.into()),
            ([_, _, ..], _) => {
                let candidates = matching.iter().take(MOST_LISTED).map(|image| image.described());
                Err(FindError::Ambiguous { text: text.to_owned(), candidates: candidates.collect() })
            }
        }
    }

    /// By a name in the store, or by one with the digest that a registry has it under.
    fn named(&self, name: &Reference) -> Option<&Image> {
        let has = |image: &&Image| image.names.contains(name);
        let place = name.digest.map(|digest| format!("{}@{digest}", name.name()));
        let is_there =
            |image: &&Image| place.as_ref().is_some_and(|place| image.record.places.contains(place));
        self.images().find(has).or_else(|| self.images().find(is_there))
    }

    fn by_id(&self, text: &str) -> Vec<&Image> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hexadecimal = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() < SHORTEST_PREFIX || !is_hexadecimal {
            return Vec::new();
        }
        let by_id: Vec<&Image> = self.images().filter(|image| image.id.0.hex().starts_with(digits)).collect();
        if !by_id.is_empty() {
            return by_id;
        }
        // What a push has printed is the digest of a manifest.
        let manifest = |image: &&Image| {
            image.record.manifest.as_ref().is_some_and(|manifest| manifest.digest.hex() == digits)
        };
        self.images().filter(manifest).collect()
    }

    /// Other tags of the repository, else the name that is nearest.
    fn near(&self, name: &Reference) -> Vec<String> {
        let siblings: Vec<String> = self.names_in(&name.name()).iter().map(Reference::familiar).collect();
        if !siblings.is_empty() {
            return siblings.into_iter().take(MOST_LISTED).collect();
        }
        let known: Vec<String> =
            self.images().flat_map(|image| &image.names).map(Reference::familiar).collect();
        nearest(&name.familiar(), known.iter().map(String::as_str)).map(str::to_owned).into_iter().collect()
    }
}

impl Image {
    fn described(&self) -> String {
        let names: Vec<String> = self.names.iter().map(Reference::familiar).collect();
        if names.is_empty() {
            self.id.0.short()
        } else {
            format!("{} ({})", self.id.0.short(), names.join(", "))
        }
    }
}
