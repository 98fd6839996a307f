//! What stages start from.

use super::WantedImage;
use super::contexts::Named;
use super::lint::Noticed;
use super::origin::Origin;
use super::refusal::{Outcome, Refusal};
use super::scope::GlobalScope;
use super::stage::{Built, Planner};
use super::target::by_name;
use crate::dockerfile::{Diagnostic, Rule, Span, Stage, Word, nearest};
use crate::graph::{ImageOp, Op, Vertex};
use crate::image::{Config, DEFAULT_PATH, Platform, PlatformError, Reference};

/// What a stage is built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// An earlier stage.
    Stage(usize),
    Scratch,
    Image(WantedImage),
    /// The files of a named context.
    Files {
        context: String,
        platform: Platform,
    },
    /// A named context that stands for the whole stage: its instructions are not executed.
    Instead {
        context: Named,
        platform: Platform,
    },
    /// The FROM is wrong.
    Unknown,
}

impl Planner<'_> {
    /// Makes out every FROM, also of stages that nothing needs: what is wrong with one is wrong in any case.
    pub(super) fn find_bases(&mut self) {
        for index in 0..self.file.stages.len() {
            let base = self.find_base(index);
            let stage = &self.file.stages[index];
            let base = base.unwrap_or_else(|refusal| {
                match refusal {
                    Refusal::Wrong(error) => self.errors.push(error),
                    Refusal::Later(error) => self.refused.push((index, error)),
                    Refusal::Unknown => {}
                }
                Base::Unknown
            });
            self.settle_from(stage);
            self.bases.push(base);
        }
    }

    fn find_base(&mut self, index: usize) -> Outcome<Base> {
        let stage = &self.file.stages[index];
        let from = &stage.from.node;
        let platform = self.platform(stage)?.unwrap_or_else(|| self.request.platform.clone());
        if let Some(context) = from.stage_name().and_then(|name| self.named_context(&name)) {
            return Ok(Base::Instead { context, platform });
        }
        if self.global.is_broken(&from.image) {
            return Err(Refusal::Unknown);
        }
        let expanded = self.global.expand(&from.image)?;
        self.noticed.undefined_in_from(&expanded.unset, &self.global, from.image.span);
        if expanded.text.is_empty() {
            return Err(self.blank(&from.image, &expanded.unset).into());
        }
        let name = expanded.text;
        if let Some(earlier) = by_name(self.file, &name, index) {
            return Ok(Base::Stage(earlier));
        }
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        Ok(match self.named_context(&name) {
            Some(Named::Image(name)) => Base::Image(WantedImage { name, platform }),
            Some(Named::Files(context)) => Base::Files { context, platform },
            Some(Named::Nothing) => Base::Scratch,
            None => Base::Image(WantedImage { name: self.reference(name, from.image.span)?, platform }),
        })
    }

    /// The platform that a FROM names; scratch and stages have their own, whatever it says.
    fn platform(&mut self, stage: &Stage) -> Outcome<Option<Platform>> {
        let Some(word) = &stage.from.node.platform else { return Ok(None) };
        if self.global.is_broken(word) {
            return Err(Refusal::Unknown);
        }
        let expanded = self.global.expand(word)?;
        self.noticed.undefined_in_from(&expanded.unset, &self.global, word.span);
        if expanded.text.is_empty() {
            let message = match word.text.trim_matches(['"', '\'']) {
                "" => "the value of --platform is empty".to_owned(),
                _ => format!("empty platform value from expression {}", word.text),
            };
            let error = Diagnostic::new(message, word.span);
            return Err(self.with_unset(error, &expanded.unset).into());
        }
        let platform = expanded.text.parse();
        let wrong = |error: PlatformError| {
            self.with_unset(Diagnostic::new(error.to_string(), word.span), &expanded.unset).into()
        };
        platform.map(Some).map_err(wrong)
    }

    fn blank(&self, image: &Word, unset: &[String]) -> Diagnostic {
        let error = Diagnostic::new(format!("base name ({}) should not be blank", image.text), image.span);
        self.with_unset(error, unset)
    }

    /// Says what to do about variables that have no value.
    fn with_unset(&self, error: Diagnostic, unset: &[String]) -> Diagnostic {
        unset.iter().fold(error, |error, name| {
            let near = nearest(name, self.global.names());
            error.hint(match near {
                Some(near) => format!("${name} has no value; did you mean ${near}?"),
                None if self.global.is_declared(name) => {
                    format!("${name} has no value: give it with --build-arg {name}=…, or a default")
                }
                None => format!("${name} has no value: declare it before the first FROM, ARG {name}=…"),
            })
        })
    }

    pub(super) fn reference(&self, name: String, span: Span) -> Outcome<String> {
        match name.parse::<Reference>() {
            Ok(_) => Ok(name),
            Err(error) => {
                let error = Diagnostic::new(error.to_string(), span);
                Err(match self.near_stage(&name) {
                    Some(near) => error.hint(format!("did you mean the stage {near}?")),
                    None => error,
                }
                .into())
            }
        }
    }

    fn near_stage(&self, name: &str) -> Option<String> {
        let names: Vec<String> =
            self.file.stages.iter().filter_map(|stage| stage.from.node.stage_name()).collect();
        nearest(&name.to_lowercase(), names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The state in which a stage begins, without the vertex of an image.
    pub(super) fn start(&mut self, index: usize) -> Built {
        match self.bases[index].clone() {
            Base::Stage(earlier) => self.build(earlier),
            Base::Scratch => {
                Built::new(Config::scratch(&self.request.platform), self.request.platform.clone())
            }
            Base::Files { platform, .. }
            | Base::Instead { context: Named::Files(_) | Named::Nothing, platform } => {
                Built::new(Config::scratch(&platform), platform)
            }
            Base::Unknown => Built::unknown(&self.request.platform),
            Base::Image(wanted) => self.start_with(wanted, index),
            Base::Instead { context: Named::Image(name), platform } => {
                self.start_with(WantedImage { name, platform }, index)
            }
        }
    }

    fn start_with(&mut self, wanted: WantedImage, index: usize) -> Built {
        let span = self.file.stages[index].from.span;
        let Some(image) = self.images.get(&wanted) else {
            let unknown = Built::unknown(&wanted.platform);
            self.missing.entry(wanted).or_insert(span);
            return unknown;
        };
        let mut config = image.config.clone();
        config.created = None;
        config.cache = None;
        if config.config.working_dir.is_empty() {
            "/".clone_into(&mut config.config.working_dir);
        }
        if config.config.variable("PATH").is_none() {
            config.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        self.noticed.base_platform(&self.file.stages[index], &wanted, &config.platform());
        Built::new(config, wanted.platform)
    }

    /// The vertex of an image; asked for if it is not known yet.
    pub(super) fn image(&mut self, wanted: &WantedImage, headline: Option<&str>, span: Span) -> Origin {
        let Some(image) = self.images.get(wanted) else {
            self.missing.entry(wanted.clone()).or_insert(span);
            return Origin::Empty;
        };
        if image.config.rootfs.diff_ids.is_empty() {
            return Origin::Empty;
        }
        if let Some(vertex) = self.image_vertices.get(wanted) {
            return Origin::Vertex(*vertex);
        }
        let diff_ids = image.config.rootfs.diff_ids.clone();
        let op = Op::Image(ImageOp {
            name: image.name.clone(),
            digest: image.digest,
            platform: wanted.platform.clone(),
            diff_ids,
        });
        let headline = headline.map(|label| format!("{label} ")).unwrap_or_default();
        let name_shown = format!("{headline}FROM {}", image.name);
        let (inputs, origin) = (Vec::new(), Some(span));
        let vertex = self.graph.add(Vertex { op, inputs, name: name_shown, origin, forced: false });
        self.image_vertices.insert(wanted.clone(), vertex);
        Origin::Vertex(vertex)
    }

    /// Says where default values alone would make a FROM that cannot be.
    pub(super) fn check_defaults(&mut self, target: &str) {
        let Some(defaults) = GlobalScope::of_defaults(self.file, self.request, target) else { return };
        for (index, stage) in self.file.stages.iter().enumerate() {
            let image = &stage.from.node.image;
            let Ok(expanded) = defaults.expand(image) else { return };
            let is_stage = by_name(self.file, &expanded.text, index).is_some();
            if !is_stage && expanded.text.parse::<Reference>().is_err() {
                let message = format!(
                    "Default value for ARG {} results in empty or invalid base image name",
                    image.text
                );
                self.noticed.add(Rule::InvalidDefaultArgInFrom, message, image.span);
            }
            self.settle_from(stage);
        }
    }

    fn settle_from(&mut self, stage: &Stage) {
        let noticed = std::mem::take(&mut self.noticed);
        self.lints.extend(noticed.kept(|rule| stage.from.skips(rule), None));
    }
}

impl Noticed {
    fn undefined_in_from(&mut self, unset: &[String], global: &GlobalScope<'_>, span: Span) {
        for name in unset.iter().filter(|name| !global.names().any(|known| known == **name)) {
            let near = nearest(name, global.names());
            let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let message = format!("FROM argument '{name}' is not declared{near}");
            self.add(Rule::UndefinedArgInFrom, message, span);
        }
    }

    fn base_platform(&mut self, stage: &Stage, wanted: &WantedImage, found: &Platform) {
        let WantedImage { name, platform } = wanted;
        if (&found.os, &found.architecture) != (&platform.os, &platform.architecture) {
            let message = format!(
                "Base image {name} was pulled with platform \"{found}\", expected \"{platform}\" for current build"
            );
            self.add(Rule::InvalidBaseImagePlatform, message, stage.from.node.image.span);
        }
    }
}
