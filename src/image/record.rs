//! What is known of an image, as image.json holds it, and the id that follows from its content.

use super::digest::Digest;
use super::reference::{Reference, is_hex};
use crate::error::{Error, Result};
use crate::sys::{proc, time};
use miniserde::{Deserialize, Serialize, json};
use std::collections::BTreeMap;

/// How the programs of an image are started, unless the command line says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub stop_signal: String,
    pub labels: BTreeMap<String, String>,
    pub exposed_ports: Vec<String>,
    pub volumes: Vec<String>,
}

/// One layer: the directory `layers/DIGEST` of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// 64 hexadecimal digits.
    pub digest: String,
    /// Bytes of its regular files, each inode once.
    pub size: u64,
}

/// An image under one of its names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub name: String,
    pub tag: String,
    /// 64 hexadecimal digits, from layers and configuration only.
    pub id: String,
    /// Sum of the layers' sizes.
    pub size: u64,
    /// RFC 3339, UTC, to the nanosecond: which of two images is the newer one.
    pub created_time: String,
    /// The same in whole seconds since the epoch.
    pub created: i64,
    /// The boot in which it was made, from `/proc/sys/kernel/random/boot_id`. Older records have none.
    pub boot_id: Option<String>,
    /// The time above in nanoseconds since that boot, by the clock that nobody sets.
    pub created_uptime: Option<i64>,
    /// The lowest first.
    pub layers: Vec<LayerInfo>,
    pub config: ImageConfig,
    pub comment: String,
    pub author: String,
}

/// What every image with content of its own is made from.
pub struct Contents {
    pub layers: Vec<LayerInfo>,
    pub config: ImageConfig,
    pub comment: String,
    pub author: String,
}

impl Image {
    /// A new image, made now.
    pub fn new(reference: &Reference, contents: Contents) -> Self {
        let Contents { layers, config, comment, author } = contents;
        let created = time::now();
        // Without it only ages depend on the time of day.
        let boot_id = proc::read("sys/kernel/random/boot_id").ok();
        let boot_id = boot_id.map(|text| text.trim().to_owned());
        Self {
            name: reference.name.clone(),
            tag: reference.tag.clone(),
            id: id(&layers, &config),
            size: layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size)),
            created_time: time::utc(created),
            created: created / time::SECOND,
            created_uptime: boot_id.is_some().then(time::since_boot),
            boot_id,
            layers,
            config,
            comment,
            author,
        }
    }

    pub fn reference(&self) -> Reference {
        Reference { name: self.name.clone(), tag: self.tag.clone() }
    }

    /// When it was made, in nanoseconds since the boot, where that was in this one.
    pub fn uptime_in(&self, boot: &str) -> Option<i64> {
        self.created_uptime.filter(|_| self.boot_id.as_deref() == Some(boot))
    }

    /// Reads image.json. What it names becomes part of paths, so it is checked here.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::new(format!("image.json is damaged: {what}"));
        let text = std::str::from_utf8(text).map_err(|_| damaged("it is no text"))?;
        let image: Self =
            json::from_str(text).map_err(|_| damaged("it is no record of an image"))?;
        Reference::parse(&format!("{}:{}", image.name, image.tag))
            .map_err(|_| damaged("its name"))?;
        if !is_digest(&image.id) {
            return Err(damaged("its id"));
        }
        if image.layers.is_empty() || !image.layers.iter().all(|layer| is_digest(&layer.digest)) {
            return Err(damaged("its layers"));
        }
        Ok(image)
    }

    pub fn to_json(&self) -> String {
        let mut text = json::to_string(self);
        text.push('\n');
        text
    }
}

/// Whether the text is a digest as the store writes it.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_hex)
}

/// The id: SHA-256 of a text of length-prefixed fields. Same content, same id; neither the time
/// nor the name nor the comment is part of it.
fn id(layers: &[LayerInfo], config: &ImageConfig) -> String {
    let mut text = Digest::new();
    let mut list = |what: &str, values: &mut dyn Iterator<Item = &str>| {
        text.field(what.as_bytes());
        for value in values {
            text.field(value.as_bytes());
        }
        text.end_of_list();
    };
    list("rocker image 1", &mut layers.iter().map(|layer| layer.digest.as_str()));
    list("env", &mut config.env.iter().map(String::as_str));
    list("entrypoint", &mut config.entrypoint.iter().map(String::as_str));
    list("cmd", &mut config.cmd.iter().map(String::as_str));
    let single = [&config.working_dir, &config.user, &config.stop_signal];
    list("working_dir user stop_signal", &mut single.into_iter().map(String::as_str));
    let labels = config.labels.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
    list("labels", &mut labels.into_iter());
    list("exposed_ports", &mut config.exposed_ports.iter().map(String::as_str));
    list("volumes", &mut config.volumes.iter().map(String::as_str));
    text.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, config: ImageConfig) -> Image {
        let layers = vec![LayerInfo { digest: "0".repeat(64), size: 5 }];
        let contents = Contents { layers, config, comment: "c".into(), author: String::new() };
        Image::new(&Reference::parse(name).unwrap(), contents)
    }

    #[test]
    fn the_id_follows_from_content_and_configuration_only() {
        let config = ImageConfig { cmd: vec!["/bin/sh".into()], ..Default::default() };
        let plain = image("a", Default::default());
        assert_eq!(plain.id, image("b:c", Default::default()).id);
        assert_ne!(plain.id, image("a", config.clone()).id);
        // The border between two lists is part of the text.
        let moved = ImageConfig { cmd: vec![], entrypoint: config.cmd.clone(), ..config.clone() };
        assert_ne!(image("a", config).id, image("a", moved).id);
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut config = ImageConfig { env: vec!["A=\"\n\u{1}é".into()], ..Default::default() };
        config.labels.insert("k".into(), "v".into());
        let image = image("a", config);
        assert_eq!(Image::from_json(image.to_json().as_bytes()).unwrap(), image);
    }

    #[test]
    fn a_record_of_before_the_boot_was_noted_is_read_and_keeps_its_id() {
        let image = image("a", Default::default());
        let (boot_id, uptime) = (image.boot_id.clone().unwrap(), image.created_uptime.unwrap());
        assert_eq!(image.uptime_in(&boot_id), Some(uptime));
        assert_eq!(image.uptime_in("another"), None);
        let noted = format!("\"boot_id\":\"{boot_id}\",\"created_uptime\":{uptime},");
        let text = image.to_json();
        assert!(text.contains(&noted), "{text}");
        let read = Image::from_json(text.replace(&noted, "").as_bytes()).unwrap();
        assert_eq!((read.uptime_in(&boot_id), read.uptime_in("")), (None, None));
        assert_eq!(read, Image { boot_id: None, created_uptime: None, ..image });
    }

    #[test]
    fn a_record_that_names_paths_is_refused() {
        let good = image("a", Default::default()).to_json();
        let bad = [
            good.replace("\"name\":\"a\"", "\"name\":\"../a\""),
            good.replace("\"id\":\"", "\"id\":\"../"),
            good.replace(&"0".repeat(64), "../../etc"),
            good.replace("\"layers\"", "\"other\""),
            good[..good.len() / 2].to_owned(),
        ];
        for text in bad {
            assert!(Image::from_json(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Image::from_json(b"\xff").is_err());
    }
}
