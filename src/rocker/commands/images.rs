//! `images`: the images.

use super::Globals;
use crate::container::store::boot_id;
use crate::error::{Result, warn};
use crate::image::Image;
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::json::{self, Part};
use crate::rocker::list::{self, Filter};
use crate::rocker::when::{self, Now};
use crate::rocker::{print, units};
use crate::sys::time::SECOND;
use miniserde::json::Value;

#[derive(Default)]
pub struct Options {
    wanted: Option<String>,
    all: bool,
    quiet: bool,
    full: bool,
    filters: Vec<String>,
    format: Option<String>,
}

const FILTERS: &[&str] = &["reference", "label", "dangling", "before", "since"];

pub static COMMAND: Command<Options> = Command {
    name: "images",
    aliases: "image ls, image list",
    words: "[IMAGE]",
    about: "List the images.",
    more: "\
Filters: reference (a pattern), label, before and since (an image), dangling.
Fields of a template: .Repository .Tag .ID .Size .CreatedAt .CreatedSince

Examples:
  rocker images
  rocker images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
",
    rules: Rules::Usual,
    flags: &[
        flag("-a, --all", "Show all images (always so)", |o, value| value.set(&mut o.all)),
        flag("-q, --quiet", "Show only ids", |o, value| value.set(&mut o.quiet)),
        flag("--no-trunc", "Show whole ids", |o, value| value.set(&mut o.full)),
        flag("-f, --filter KEY=VALUE", "Show only what this holds for", |o, value| {
            value.set(&mut o.filters)
        }),
        flag("--format FORMAT", "Show each by a template, or as json", |o, value| {
            value.set(&mut o.format)
        }),
    ],
    word: |o, word| {
        o.wanted = Some(word);
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let format = list::format(options.format.as_deref())?;
    let mut filters = list::filters(&options.filters, FILTERS)?;
    let engine = globals.engine()?;
    // An image that is named is looked up once: what counts is when it was made.
    for filter in &mut filters {
        if matches!(&*filter.key, "before" | "since") {
            filter.value = engine.images.find(&filter.value)?.created_time;
        }
    }
    let mut images = engine.images.list_all(&mut |error| warn(error))?;
    images.retain(|image| {
        let wanted = options.wanted.as_deref().is_none_or(|wanted| named(image, wanted));
        wanted && list::passes(&filters, |filter| holds(image, filter))
    });
    let text = match format {
        Some(format) => {
            let rows: Vec<Value> = images.iter().map(|image| row(image, options.full)).collect();
            let headers =
                [("ID", "IMAGE ID"), ("CreatedAt", "CREATED AT"), ("CreatedSince", "CREATED")];
            list::show(&format, &rows, &headers, &row(&Image::default(), false))?
        }
        None if options.quiet => {
            let mut ids: Vec<String> =
                images.iter().map(|image| shown_id(image, options.full) + "\n").collect();
            // An image with several names is still one.
            let mut seen = Vec::new();
            ids.retain(|id| {
                !seen.contains(id) && {
                    seen.push(id.clone());
                    true
                }
            });
            ids.concat()
        }
        None => table(&images, options.full),
    };
    print::out(&text)?;
    Ok(0)
}

fn table(images: &[Image], full: bool) -> String {
    let header = ["REPOSITORY", "TAG", "IMAGE ID", "SIZE", "CREATED"];
    let mut rows = vec![header.map(str::to_string).to_vec()];
    for image in images {
        rows.push(vec![
            image.name.clone(),
            image.tag.clone(),
            shown_id(image, full),
            units::size(image.size),
            when::local_text(image.created),
        ]);
    }
    print::table(&rows)
}

fn shown_id(image: &Image, full: bool) -> String {
    match full {
        true => format!("sha256:{}", image.id),
        false => image.id.get(..8).unwrap_or(&image.id).to_string(),
    }
}

/// Whether an image is called by `NAME` or `NAME:TAG`, `*` and `?` standing for anything but `/`.
fn named(image: &Image, wanted: &str) -> bool {
    let whole = format!("{}:{}", image.name, image.tag);
    glob(wanted.as_bytes(), image.name.as_bytes()) || glob(wanted.as_bytes(), whole.as_bytes())
}

/// Whether the text fits the pattern. Goes back to the last `*` only, so it is never slow.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star = None;
    while place < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(byte) if *byte == text[place] || *byte == b'?' && text[place] != b'/' => {
                at += 1;
                place += 1;
            }
            _ => match star {
                // No earlier star could take a `/` either.
                Some((before, from)) if text[from] != b'/' => {
                    star = Some((before, from + 1));
                    at = before + 1;
                    place = from + 1;
                }
                _ => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

fn holds(image: &Image, filter: &Filter) -> bool {
    match &*filter.key {
        "reference" => named(image, &filter.value),
        "label" => list::has_label(&image.config.labels, &filter.value),
        "before" => image.created_time < filter.value,
        "since" => image.created_time > filter.value,
        // Each image that is kept has a name.
        "dangling" => filter.value != "true",
        _ => false,
    }
}

/// How long ago an image was made.
fn age(image: &Image, boot: &str, now: Now) -> String {
    let wall = image.created.saturating_mul(SECOND);
    now.since(wall, image.uptime_in(boot).unwrap_or(0))
}

/// One image under docker's keys.
fn row(image: &Image, full: bool) -> Value {
    let ago = age(image, &boot_id().unwrap_or_default(), Now::read()) + " ago";
    let size = units::size(image.size);
    json::object(&mut [
        ("Containers", Part::Text("N/A")),
        ("CreatedAt", Part::Text(&when::local_text_with_zone(image.created))),
        ("CreatedSince", Part::Text(&ago)),
        ("Digest", Part::Text("<none>")),
        ("ID", Part::Text(&shown_id(image, full))),
        ("Repository", Part::Text(&image.name)),
        ("SharedSize", Part::Text("N/A")),
        ("Size", Part::Text(&size)),
        ("Tag", Part::Text(&image.tag)),
        ("UniqueSize", Part::Text("N/A")),
        ("VirtualSize", Part::Text(&size)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Image {
        Image {
            name: "local/app".into(),
            tag: "1.2".into(),
            id: "b38350bbd27a0000".into(),
            size: 1_240_000,
            created_time: String::new(),
            created: 1_768_381_637,
            boot_id: None,
            created_uptime: None,
            layers: Vec::new(),
            config: Default::default(),
            comment: String::new(),
            author: String::new(),
        }
    }

    #[test]
    fn the_table_has_the_columns_of_the_seed() {
        let text = table(&[sample()], false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "REPOSITORY  TAG  IMAGE ID  SIZE    CREATED");
        assert!(lines[1].starts_with("local/app   1.2  b38350bb  1.24MB  2026-01-1"));
    }

    #[test]
    fn the_age_of_an_image_of_this_boot_does_not_follow_the_clock_that_is_set() {
        let made = sample();
        let noted =
            Image { boot_id: Some("this".into()), created_uptime: Some(60 * SECOND), ..sample() };
        let at = |wall| Now { wall: (made.created + wall) * SECOND, uptime: 360 * SECOND };
        for (image, boot, expected) in [
            (&noted, "this", "5 minutes"),
            (&noted, "another", "2 hours"),
            (&made, "this", "2 hours"),
        ] {
            assert_eq!(age(image, boot, at(7200)), expected);
        }
        // The clock was set back meanwhile.
        assert_eq!(age(&noted, "this", at(-7200)), "5 minutes");
    }

    #[test]
    fn an_image_is_found_by_name_reference_and_pattern() {
        for wanted in ["local/app", "local/app:1.2", "local/*", "l*/a*p", "*/*:1.?", "*l/?pp"] {
            assert!(named(&sample(), wanted), "{wanted}");
        }
        for wanted in [
            "app",
            "local/app:1",
            "local",
            "",
            "*x",
            "local/app:1.2?",
            "*",
            "l*",
            "local?app",
            "*:1.2",
            "*/*/*",
        ] {
            assert!(!named(&sample(), wanted), "{wanted}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        assert!(!glob("*a".repeat(40).as_bytes(), "a".repeat(39).as_bytes()));
    }
}
