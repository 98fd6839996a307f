//! The one order in which a cache is written, so that the same cache has the same digest every time: BuildKit's order, and
//! where that leaves two things equal, the order of what lies below them.

use std::cmp::Ordering;

use super::document::{CacheConfig, ConfigChain, ConfigLink, ConfigRecord, ConfigResult};
use crate::image::{Digest, Hasher};

impl CacheConfig {
    /// Brings layers and records into their order, and makes one of those that say the same. What leads nowhere goes.
    pub fn normalize(&mut self) {
        let layers = self.order_layers();
        let records = self.order_records();
        self.renumber(&layers, &records);
    }

    /// The same for records alone: layers stay where they are.
    pub(super) fn normalize_records(&mut self) {
        let layers: Vec<usize> = (0..self.layers.len()).collect();
        let records = self.order_records();
        self.renumber(&layers, &records);
    }

    /// Leaves out records, and all links to them.
    pub(super) fn keep_records(&mut self, keep: &[bool]) {
        let mut kept = 0;
        let mut places = Vec::with_capacity(keep.len());
        for keep in keep {
            places.push(keep.then_some(kept));
            kept += usize::from(*keep);
        }
        let place = |link: usize| places.get(link).copied().flatten();
        let mut keep = keep.iter();
        self.records.retain(|_| keep.next() == Some(&true));
        for slot in self.records.iter_mut().flat_map(|record| &mut record.inputs) {
            slot.retain(|link| place(link.link).is_some());
            slot.iter_mut().for_each(|link| link.link = place(link.link).unwrap_or(link.link));
        }
    }

    /// The new places of layers: by blob, then by the layer below. Each round compares chains of twice the length, so that
    /// there are few however long chains are.
    fn order_layers(&self) -> Vec<usize> {
        let count = self.layers.len();
        let mut places = dense(count, |a, b| self.layers[a].blob.cmp(&self.layers[b].blob));
        let mut below: Vec<Option<usize>> =
            self.layers.iter().map(|layer| layer.parent.filter(|parent| *parent < count)).collect();
        // More rounds than this only a loop would have.
        for _ in 0..=usize::BITS - count.leading_zeros() {
            let key = |layer: usize| (places[layer], below[layer].map(|below| places[below]));
            places = dense(count, |a, b| key(a).cmp(&key(b)));
            below = below.iter().map(|place| place.and_then(|place| below[place])).collect();
        }
        places
    }

    /// The new places of records: by digest, then by what they were built upon.
    fn order_records(&self) -> Vec<usize> {
        let identities = self.identities();
        let digest_of = |link: &ConfigLink| self.records[link.link].digest;
        let slots: Vec<Vec<Vec<&ConfigLink>>> =
            self.records.iter().map(|record| self.sorted_slots(record, &identities)).collect();
        let by_links = |a: &[&ConfigLink], b: &[&ConfigLink]| {
            let pairs = a
                .iter()
                .zip(b)
                .map(|(a, b)| a.selector.cmp(&b.selector).then_with(|| digest_of(a).cmp(&digest_of(b))));
            a.len().cmp(&b.len()).then_with(|| first_difference(pairs))
        };
        dense(self.records.len(), |a, b| {
            let (one, other) = (&slots[a], &slots[b]);
            (self.records[a].digest.cmp(&self.records[b].digest))
                .then_with(|| one.len().cmp(&other.len()))
                .then_with(|| first_difference(one.iter().zip(other).map(|(a, b)| by_links(a, b))))
                .then_with(|| identities[a].cmp(&identities[b]))
        })
    }

    /// The links of a record that lead somewhere, in an order that does not depend on where they stand.
    fn sorted_slots<'a>(&self, record: &'a ConfigRecord, identities: &[Digest]) -> Vec<Vec<&'a ConfigLink>> {
        let sorted = |slot: &'a Vec<ConfigLink>| {
            let mut links: Vec<&ConfigLink> =
                slot.iter().filter(|link| link.link < self.records.len()).collect();
            links.sort_by_key(|link| (self.records[link.link].digest, identities[link.link], link.selector));
            links.dedup_by_key(|link| (identities[link.link], link.selector));
            links
        };
        record.inputs.iter().map(sorted).collect()
    }

    /// A digest over each record with all that it was built upon.
    fn identities(&self) -> Vec<Digest> {
        // Within a loop a record is its own digest; none that is written has one.
        let mut identities: Vec<Digest> = self.records.iter().map(|record| record.digest).collect();
        for place in bottom_up(&self.records) {
            let record = &self.records[place];
            let mut hasher = Hasher::new();
            hasher.update(record.digest.as_bytes());
            for slot in self.sorted_slots(record, &identities) {
                hasher.update(&slot.len().to_le_bytes());
                for link in slot {
                    hasher.update(&link.selector.map_or([0; 32], |selector| *selector.as_bytes()));
                    hasher.update(identities[link.link].as_bytes());
                }
            }
            identities[place] = hasher.finish();
        }
        identities
    }

    fn renumber(&mut self, layers: &[usize], records: &[usize]) {
        let mut new = Self { layers: placed(&self.layers, layers), records: placed(&self.records, records) };
        for layer in &mut new.layers {
            layer.parent = layer.parent.and_then(|parent| layers.get(parent).copied());
        }
        for record in &mut new.records {
            (record.results, record.chains) = (Vec::new(), Vec::new());
            for slot in &mut record.inputs {
                slot.retain_mut(|link| match records.get(link.link) {
                    Some(place) => {
                        link.link = *place;
                        true
                    }
                    None => false,
                });
                slot.sort_by_key(|link| (link.link, link.selector));
                slot.dedup();
            }
        }
        for (old, place) in self.records.iter().zip(records) {
            let record = &mut new.records[*place];
            let results = old.results.iter().filter_map(|result| {
                Some(ConfigResult { layer: *layers.get(result.layer)?, created: result.created })
            });
            let chains = old.chains.iter().filter_map(|chain| {
                let layers =
                    chain.layers.iter().map(|layer| layers.get(*layer).copied()).collect::<Option<_>>()?;
                Some(ConfigChain { layers, created: chain.created })
            });
            record.results.extend(results);
            record.chains.extend(chains);
        }
        for record in &mut new.records {
            record.results.sort_by_key(|result| (result.layer, result.created));
            record.results.dedup();
            record.chains.sort_by(|a, b| (&a.layers, a.created).cmp(&(&b.layers, b.created)));
            record.chains.dedup();
        }
        *self = new;
    }
}

/// The places of records, each after those that it was built upon, as far as there is no loop.
pub(super) fn bottom_up(records: &[ConfigRecord]) -> Vec<usize> {
    let mut order = Vec::with_capacity(records.len());
    let mut seen = vec![false; records.len()];
    // Not by recursion: a chain of steps may be longer than a stack.
    let mut open = Vec::new();
    for start in 0..records.len() {
        enter(records, start, &mut seen, &mut open);
        while let Some((place, links)) = open.last_mut() {
            let place = *place;
            match links.next() {
                Some(link) => enter(records, link.link, &mut seen, &mut open),
                None => {
                    order.push(place);
                    open.pop();
                }
            }
        }
    }
    order
}

type Links<'a> = std::iter::Flatten<std::slice::Iter<'a, Vec<ConfigLink>>>;

fn enter<'a>(
    records: &'a [ConfigRecord],
    place: usize,
    seen: &mut [bool],
    open: &mut Vec<(usize, Links<'a>)>,
) {
    if let Some(record) = records.get(place)
        && !std::mem::replace(&mut seen[place], true)
    {
        open.push((place, record.inputs.iter().flatten()));
    }
}

/// For each thing how many different ones come before it.
fn dense(count: usize, compare: impl Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| compare(*a, *b));
    let (mut places, mut place) = (vec![0; count], 0);
    for (index, thing) in order.iter().enumerate() {
        if index > 0 && compare(order[index - 1], *thing) != Ordering::Equal {
            place += 1;
        }
        places[*thing] = place;
    }
    places
}

fn first_difference(mut comparisons: impl Iterator<Item = Ordering>) -> Ordering {
    comparisons.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}

/// Things at their places, one of those that have the same.
fn placed<T: Clone>(things: &[T], places: &[usize]) -> Vec<T> {
    let mut pairs: Vec<(usize, &T)> = places.iter().copied().zip(things).collect();
    pairs.sort_by_key(|(place, _)| *place);
    pairs.dedup_by_key(|(place, _)| *place);
    pairs.into_iter().map(|(_, thing)| thing.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::document::ConfigLayer;

    impl CacheConfig {
        /// The same cache with everything in another place.
        pub(crate) fn shuffled(&self, seed: u64) -> Self {
            let mixed = |count: usize| {
                let mut order: Vec<usize> = (0..count).collect();
                order.sort_by_key(|place| Digest::of(format!("{seed} {place}").as_bytes()));
                let mut places = vec![0; count];
                order.iter().enumerate().for_each(|(place, thing)| places[*thing] = place);
                places
            };
            let (layers, records) = (mixed(self.layers.len()), mixed(self.records.len()));
            let mut other =
                Self { layers: placed(&self.layers, &layers), records: placed(&self.records, &records) };
            for layer in &mut other.layers {
                layer.parent = layer.parent.map(|parent| layers[parent]);
            }
            for record in &mut other.records {
                record.results.iter_mut().for_each(|result| result.layer = layers[result.layer]);
                record
                    .chains
                    .iter_mut()
                    .flat_map(|chain| &mut chain.layers)
                    .for_each(|layer| *layer = layers[*layer]);
                for slot in &mut record.inputs {
                    slot.iter_mut().for_each(|link| link.link = records[link.link]);
                    slot.reverse();
                }
            }
            other
        }
    }

    #[test]
    fn buildkits_order_is_found_again() {
        for bytes in crate::cache::vectors::CONFIGS {
            let config = CacheConfig::parse(bytes).unwrap();
            for seed in 0..20 {
                let mut other = config.shuffled(seed);
                assert_ne!(other.to_bytes(), bytes, "{seed}");
                other.normalize();
                assert_eq!(
                    String::from_utf8(other.to_bytes()).unwrap(),
                    str::from_utf8(bytes).unwrap(),
                    "{seed}"
                );
            }
        }
    }

    /// Two towers of the same steps and the same blobs, on different ground.
    fn towers(height: usize) -> CacheConfig {
        let mut config = CacheConfig::default();
        for ground in ["one", "two"] {
            let first = config.records.len();
            for step in 0..height {
                let name = if step == 0 { ground.to_owned() } else { format!("step {step}") };
                let below = (step > 0).then(|| first + step - 1);
                config.layers.push(ConfigLayer {
                    blob: Digest::of(name.as_bytes()),
                    parent: below,
                    annotations: None,
                });
                let link = |link| vec![ConfigLink { selector: None, link }];
                config.records.push(ConfigRecord {
                    results: vec![ConfigResult { layer: first + step, created: None }],
                    chains: Vec::new(),
                    digest: Digest::of(name.as_bytes()),
                    inputs: below.into_iter().map(link).collect(),
                });
            }
        }
        config
    }

    #[test]
    fn what_differs_only_far_below_has_an_order() {
        let config = towers(50);
        let mut first = config.clone();
        first.normalize();
        assert_eq!((first.layers.len(), first.records.len()), (100, 100));
        for seed in 0..5 {
            let mut other = config.shuffled(seed);
            other.normalize();
            assert_eq!(other, first, "{seed}");
        }
    }

    #[test]
    fn what_says_the_same_becomes_one() {
        let mut config = towers(3);
        let mut twice = config.clone();
        twice.layers.extend(config.layers.iter().cloned().map(|mut layer| {
            layer.parent = layer.parent.map(|parent| parent + 6);
            layer
        }));
        twice.records.extend(config.records.iter().cloned().map(|mut record| {
            record.results[0].layer += 6;
            record.inputs.iter_mut().flatten().for_each(|link| link.link += 6);
            record
        }));
        twice.normalize();
        config.normalize();
        assert_eq!(twice, config);
    }

    #[test]
    fn a_large_cache_takes_little_time() {
        let mut config = towers(20_000);
        let begun = std::time::Instant::now();
        config.normalize();
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
        assert_eq!(config.records.len(), 40_000);
    }

    #[test]
    fn loops_and_dead_ends_are_survived() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"layers":[{{"blob":"{digest}","parent":1}},{{"blob":"{digest}"}}],"records":[{{"digest":"{digest}","layers":[{{"layer":9}}],"inputs":[[{{"link":1}},{{"link":-1}}]]}},{{"digest":"{digest}","inputs":[[{{"link":0}},{{"link":1}}]]}}]}}"#
        );
        let mut config = CacheConfig::parse(text.as_bytes()).unwrap();
        config.normalize();
        assert!(config.records.iter().all(|record| record.results.is_empty()));
    }
}
